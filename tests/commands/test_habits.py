"""The habits of the command line: help, version, suggestions, tables, colours and exit codes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from rich.table import Table
from typer.main import get_command
from typer.testing import CliRunner

from negalign_train.commands import cli
from negalign_train.commands.support.output import print_table
from negalign_train.registry.adapters import Registry
from negalign_train.storage.database import open_database
from negalign_train.storage.workspace import Workspace
from tests.registries import RECORD
from tests.registry.test_weights import candidate

ROOT = Path(__file__).resolve().parents[2]
GROUP: Any = get_command(cli.app)
WRITING = {
    ("init",), ("feedback", "import"), ("feedback", "export"), ("feedback", "schema"), ("unlock",),
    ("adapters", "promote"), ("adapters", "rollback"), ("adapters", "approve"),
}  # fmt: skip
"""Commands without ``--json``: what they do is not something to read."""


def commands(
    group: Any = GROUP, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command and group of the command line."""
    yield path, group
    for name, command in getattr(group, "commands", {}).items():
        yield from commands(command, (*path, name))


COMMANDS = dict(commands())
LEAVES = {path: each for path, each in COMMANDS.items() if not hasattr(each, "commands")}


def run(*arguments: str, **environment: str) -> Any:
    return CliRunner().invoke(cli.app, list(arguments), env=environment or None)


@pytest.mark.parametrize("path", COMMANDS, ids=lambda path: " ".join(path) or "negalign")
def test_every_command_answers_help_with_a_sentence(path: tuple[str, ...]) -> None:
    done = run(*path, "--help", TERMINAL_WIDTH="100")
    assert done.exit_code == 0
    assert "Usage:" in done.stdout
    sentence = (COMMANDS[path].help or "").strip().split("\n")[0]
    assert re.match(r"[A-Z].{15,}", sentence), f"{path}: {sentence!r}"
    for option in COMMANDS[path].params:
        assert getattr(option, "help", None), f"{path}: {option.name} has no help"


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_every_command_gives_an_example_that_is_its_own(path: tuple[str, ...]) -> None:
    assert f"`negalign {' '.join(path)}" in (LEAVES[path].help or "")


@pytest.mark.parametrize("path", [path for path in LEAVES if path not in WRITING], ids=" ".join)
def test_every_reading_command_prints_json(path: tuple[str, ...]) -> None:
    assert "--json" in {name for option in LEAVES[path].params for name in option.opts}


def test_the_entry_point_answers_help_and_version() -> None:
    script = Path(sys.executable).with_name("negalign")
    for option, shown in (("--help", "Usage: negalign"), ("--version", version("negalign-train"))):
        done = subprocess.run([script, option], capture_output=True, text=True, check=True)
        assert shown in done.stdout


def test_help_groups_the_commands_in_the_order_of_their_use() -> None:
    shown = run(TERMINAL_WIDTH="100").stdout
    headings = ("1. Prepare", "2. Run", "3. Use and check", "Score reports", "something is wrong")
    places = [shown.index(heading) for heading in headings]
    assert places == sorted(places)
    order = [
        shown.index(f"│ {name} ")
        for name in ("feedback", "init", "cycle", "adapters", "score", "env")
    ]
    assert order == sorted(order)


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (("feedbak", "stats"), "Did you mean 'feedback'?"),
        (("feedback", "stat"), "Did you mean 'stats'?"),
        (("feedback", "stats", "--workspac", "x"), "--workspace"),
        (("cycle", "--confg", "x"), "--config"),
    ],
)
def test_a_typo_is_told_what_was_meant_and_exits_2(arguments: tuple[str, ...], meant: str) -> None:
    done = run(*arguments, TERMINAL_WIDTH="100")
    assert done.exit_code == 2
    assert meant in done.stderr


def exits(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["negalign", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert isinstance(stopped.value.code, int)
    return stopped.value.code


@pytest.mark.parametrize(
    "arguments",
    [
        ("score", "--reference", "Normal."),
        ("score", "--pairs", "x.jsonl", "--age", 3),
        ("judge", "compare"),
        ("judge", "compare", "--log", "x.jsonl", "--held-out"),
        ("recipe", "keys", "gate", "--json"),
    ],
)
def test_options_that_do_not_go_together_exit_2(
    monkeypatch: pytest.MonkeyPatch, arguments: tuple[object, ...]
) -> None:
    assert exits(monkeypatch, *arguments) == 2


READING = [
    ("feedback", "stats"), ("feedback", "quarantine"), ("feedback", "export", "x.jsonl"),
    ("adapters", "list"), ("adapters", "show", "champion"), ("adapters", "path", "champion"),
    ("adapters", "verify"), ("audit",), ("pairs",), ("unlock",),
    ("judge", "compare"), ("cycle", "-c", str(ROOT / "recipes" / "log" / "cycle.yaml")),
]  # fmt: skip


@pytest.mark.parametrize("arguments", READING, ids=lambda each: " ".join(each[:2]))
def test_a_mistyped_workspace_is_refused_in_one_way_and_names_its_neighbour(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path,
    arguments: tuple[str, ...],
) -> None:  # fmt: skip
    open_database(Workspace(tmp_path / "chest").database_url).dispose()
    mistyped = tmp_path / "chets"
    monkeypatch.chdir(tmp_path)
    assert exits(monkeypatch, *arguments, "--workspace", mistyped) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: there is no workspace at {mistyped} (")
    assert f"did you mean {tmp_path / 'chest'}?" in error
    assert not mistyped.exists()
    assert not (tmp_path / "x.jsonl").exists()


ID = "c0003-dpo-" + "1f9a" * 20


def wide_table() -> Table:
    table = Table("Adapter", "Why")
    table.add_row(ID, "span must be [start, end] " + "and so on " * 40)
    return table


def test_a_table_in_a_pipe_is_neither_cut_nor_wrapped(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(wide_table())
    (row,) = [line for line in capsys.readouterr().out.splitlines() if "c0003" in line]
    assert ID in row
    assert "[start, end]" in row
    assert row.count("and so on") == 40


def test_a_table_on_a_narrow_terminal_keeps_every_letter_of_an_id(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "40")
    print_table(wide_table())
    shown = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    assert max(map(len, shown.splitlines())) <= 40
    first = "".join(line.split("│")[1].strip() for line in shown.splitlines() if "│" in line)
    assert first == ID


@pytest.mark.parametrize(("environment", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_no_color_is_respected(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    environment: dict[str, str], coloured: bool,
) -> None:  # fmt: skip
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert exits(monkeypatch, "pairs", "--workspace", "nowhere") == 1
    assert ("\x1b[31m" in capsys.readouterr().err) is coloured


def test_adapters_verify_and_path_have_json_for_machines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    workspace = Workspace(tmp_path / "workspace")
    registry = Registry(workspace, open_database(workspace.database_url))
    for name in ("a", "b"):
        registry.publish(candidate(tmp_path / name), replace(RECORD, adapter_id=name))
    (registry.path("a") / "README.md").write_text("")
    place = ("-w", workspace.root)
    assert exits(monkeypatch, "adapters", "verify", *place, "--json") == 1
    problems = json.loads(capsys.readouterr().out)
    assert problems["b"] is None
    assert "README.md is damaged" in problems["a"]
    assert exits(monkeypatch, "adapters", "path", "b", "--published", *place, "--json") == 0
    assert json.loads(capsys.readouterr().out)["path"] == str(registry.path("b").resolve())
