"""What the pages tell a reader to type or to open is there: commands, options, scripts, paths."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from dataclasses import fields
from functools import cache
from itertools import pairwise, takewhile
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from negalign_train.cases.jsonl import read_cases
from negalign_train.cases.source import file_cases
from negalign_train.commands import cli
from negalign_train.recipe.cycle import CasesSettings
from negalign_train.vocabulary.records import Case, Finding

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "recipes").rglob("*.md")),
]
RECIPES = sorted((ROOT / "recipes").rglob("*.yaml"))
GROUP: Any = get_command(cli.app)
_FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`([^`\n]+(?:\n[^`\n]+)?)`")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_FOLDERS = ("data", "docs", "negalign_train", "recipes", "scripts", "tests")
_PATH = re.compile(rf"(?:{'|'.join(_FOLDERS)})(?:/[\w.+*<>-]+)+/?")


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def commands_of(text: str) -> Iterator[str]:
    """Command lines: those of code blocks, a backslash joining lines, and those in backticks."""
    for language, block in _FENCE.findall(text):
        if language in ("bash", "sh", "console"):
            yield from block.replace("\\\n", " ").splitlines()
    for span in _SPAN.findall(_FENCE.sub("", text)):
        yield " ".join(span.split())


def recipe_commands(text: str) -> Iterator[str]:
    """Command lines in the comments of a recipe."""
    comments = "\n".join(line[1:] for line in text.splitlines() if line.startswith("#"))
    for line in comments.replace("\\\n", " ").splitlines():
        yield line.strip().removeprefix("Launch:").strip()


def words_of(line: str) -> list[str]:
    try:
        return shlex.split(line.removeprefix("$ "), comments=True)
    except ValueError:  # prose with an apostrophe
        return []


def invocations(line: str) -> Iterator[list[str]]:
    """The simple commands of a shell line, environment variables before them left out."""
    words: list[str] = []
    for word in [*words_of(line), ";"]:
        if word in (";", "&&", "||", "|"):
            while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                words = words[1:]
            if words:
                yield words
            words = []
        else:
            words.append(word)


def problem_of(words: list[str]) -> str | None:
    """What is wrong with one command; None where nothing is, or where it is none of ours."""
    if words[0] == "negalign":
        return negalign_problem(words[1:])
    if words[0] == "make":
        return make_problem(words[1:])
    script = next((word for word in words[1:3] if word.startswith("scripts/")), None)
    if script is not None and words[0].endswith("python"):
        return script_problem(script, words[words.index(script) + 1 :])
    if script is None and words[:2] == ["accelerate", "launch"]:
        return launch_problem(words)
    return None


def negalign_problem(words: list[str]) -> str | None:
    command: Any = GROUP
    while hasattr(command, "commands") and words and not words[0].startswith("-"):
        name, *words = words
        if name == "...":
            return None
        if name not in command.commands:
            return f"no such command {name}"
        command = command.commands[name]
    known = {option for part in command.params for option in (*part.opts, *part.secondary_opts)}
    return unknown_options(words, known | {"--help"})


def unknown_options(words: list[str], known: set[str]) -> str | None:
    options = [word.split("=")[0] for word in words if re.match(r"--?[a-z]", word)]
    unknown = [option for option in options if option not in known]
    return f"no such option {', '.join(unknown)}" if unknown else None


@cache
def script_options(script: str) -> frozenset[str]:
    """Options of a program, read from its ``add_argument`` calls without running it."""
    tree = ast.parse((ROOT / script).read_text(encoding="utf-8"))
    found = {"--help", "-h"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            literals = [each.value for each in node.args if isinstance(each, ast.Constant)]
            options = {str(each) for each in literals if re.match(r"--?[a-z]", str(each))}
            kinds = [ast.unparse(each.value) for each in node.keywords if each.arg == "action"]
            boolean = any(kind.endswith("BooleanOptionalAction") for kind in kinds)
            found |= options | ({f"--no-{each[2:]}" for each in options} if boolean else set())
    return frozenset(found)


def script_problem(script: str, words: list[str]) -> str | None:
    if not (ROOT / script).is_file():
        return f"no such script {script}"
    return unknown_options(words, set(script_options(script)))


def make_problem(words: list[str]) -> str | None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    asked = takewhile(lambda word: re.fullmatch(r"[a-z-]+", word), words)
    unknown = [word for word in asked if word not in targets]
    return f"no such target {', '.join(unknown)}" if unknown else None


def launch_problem(words: list[str]) -> str | None:
    for option, value in pairwise(words):
        placeholder = value.isupper() or value.startswith("X.")
        if option == "--config_file" and not placeholder and not (ROOT / value).is_file():
            return f"no such launch file {value}"
        if option == "-m" and not (ROOT / f"{value.replace('.', '/')}.py").is_file():
            return f"no such module {value}"
    return None


def checked(lines: Iterator[str]) -> tuple[int, list[str]]:
    """How many commands of ours the lines hold, and what is wrong with them."""
    count, problems = 0, []
    for line in lines:
        for words in invocations(line):
            count += words[0] in ("negalign", "make") or "scripts/" in " ".join(words[:3])
            if (problem := problem_of(words)) is not None:
                problems.append(f"{' '.join(words)}: {problem}")
    return count, problems


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_every_command_on_a_page_exists_with_its_options(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    count, problems = checked(commands_of(text))
    assert problems == []
    assert count > 0 or "negalign " not in re.sub(r"[^`]*`([^`]*)`", r"\1\n", text)


@pytest.mark.parametrize("path", RECIPES, ids=relative)
def test_every_command_in_a_recipe_s_comments_exists(path: Path) -> None:
    assert checked(recipe_commands(path.read_text(encoding="utf-8")))[1] == []


def test_every_example_in_a_help_text_is_a_command_with_its_options() -> None:
    def helps(command: Any) -> Iterator[str]:
        yield command.help or ""
        for inner in getattr(command, "commands", {}).values():
            yield from helps(inner)

    count, problems = checked(line for text in helps(GROUP) for line in commands_of(text))
    assert problems == []
    assert count > 20


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_every_link_on_a_page_leads_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in _LINK.findall(text):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        place = (page.parent / name) if name else page
        assert place.exists(), f"{target} is not there"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", place.read_text(encoding="utf-8"), re.MULTILINE)
            slugs = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in headings}
            assert anchor in slugs, f"{target}: no such heading"


# A changelog names what was.
@pytest.mark.parametrize("page", [p for p in PAGES if p.name != "CHANGELOG.md"], ids=relative)
def test_every_path_on_a_page_is_there(page: Path) -> None:
    missing = []
    for path in set(_PATH.findall(page.read_text(encoding="utf-8"))):
        plain = path.rstrip("./")
        if "<" in plain:
            continue
        if not any(ROOT.glob(plain)) and not any(page.parent.glob(plain)):
            missing.append(plain)
    assert missing == []


def test_every_module_that_contributing_names_is_there() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    names = re.findall(r"`([\w/*]+\.py)`", text)
    assert len(names) > 15
    assert [name for name in names if not any(ROOT.rglob(f"**/{name}"))] == []


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["negalign", "feedbak", "stats"], "no such command feedbak"),
        (["negalign", "feedback", "stats", "--workspac", "w"], "no such option --workspac"),
        (["python", "scripts/ablation.py", "--arm", "x"], "no such option --arm"),
        (["python", "scripts/nothing.py"], "no such script scripts/nothing.py"),
        (["make", "cyle"], "no such target cyle"),
        (["accelerate", "launch", "--config_file", "no.yaml"], "no such launch file no.yaml"),
        (["negalign", "feedback", "stats", "-w", "w", "--json"], None),
        (["python", "scripts/build_embedded.py", "--no-bf16"], None),
    ],
)
def test_this_check_finds_what_is_wrong(words: list[str], problem: str | None) -> None:
    assert problem_of(words) == problem


def test_the_example_of_a_case_file_is_one(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "cases.md").read_text(encoding="utf-8")
    blocks = dict(_FENCE.findall(text))
    path = tmp_path / "my-cases.jsonl"
    path.write_text(blocks["json"], encoding="utf-8")
    cases = read_cases(path)
    assert [case.group for case in cases] == ["study-2001", "patient-77", "patient-77"]
    described = set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE))
    assert described == {field.name for field in fields(Case)}
    assert all(f"`{field.name}`" in text for field in fields(Finding))
    settings = yaml.safe_load(blocks["yaml"])["cases"] | {"path": path, "num_evaluation_cases": 0}
    assert file_cases(CasesSettings.model_validate(settings)) == tuple(cases)
