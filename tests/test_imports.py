"""The order of the rooms, read from the source: what a module may import."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "negalign_train"

ROOMS = (
    "vocabulary",
    "storage",
    "recipe",
    "cases",
    "feedback",
    "severity",
    "preferences",
    "training",
    "generation",
    "evaluation",
    "registry",
    "report",
    "simulate",
    "cycle",
    "review",
    "commands",
)
"""A module imports from its own room and from the rooms before it."""

SEVERITY = ("text", "words", "reading", "pricing", "judges", "alone", "trust")
TRAINING = (
    "distributed",
    "objective",
    "settings",
    "rows",
    "forward",
    "policy",
    "reference",
    "trainers",
    "running",
)
"""The same within the two large rooms."""

SIMULATE_MAY_IMPORT = ("vocabulary", "recipe", "cases", "simulate")
"""A simulated reader judges from ground truth, so that the reward model is never its own judge."""

LIGHT = (
    "vocabulary",
    "storage",
    "recipe",
    "cases",
    "feedback",
    "preferences",
    "report",
    "simulate",
    "review",
)
LIGHT_PARTS = (
    "severity.text",
    "severity.words",
    "severity.reading",
    "severity.pricing",
    "severity.alone",
    "severity.trust",
)
HEAVY_LIBRARIES = frozenset(
    ["torch", "transformers", "trl", "peft", "accelerate", "datasets", "bitsandbytes", "deepspeed"]
)
MAX_MODULES = 14
"""Of a folder: about a dozen."""


def module_name(path: Path) -> str:
    """``training.rows.batches``; a package is named by its folder."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imported(path: Path) -> Iterator[tuple[str, int]]:
    """Every module that a file imports, anywhere in it, with the line."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            assert node.level == 0, f"{path}: relative import"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                inside = whole.removeprefix("negalign_train.") in MODULES
                yield whole if inside else node.module, node.lineno


def edges() -> Iterator[tuple[str, str, int]]:
    """(importer, imported, line) within the package."""
    for name, path in MODULES.items():
        for target, line in imported(path):
            if target.startswith("negalign_train."):
                yield name, target.removeprefix("negalign_train."), line


EDGES = sorted(set(edges()))


def wrong_way(order: tuple[str, ...], depth: int) -> list[str]:
    """Imports between parts of one level that point down ``order``, or to a part not in it."""
    faults = []
    for source, target, line in EDGES:
        a, b = source.split("."), target.split(".")
        if len(a) <= depth or len(b) <= depth or a[:depth] != b[:depth]:
            continue
        if (
            a[depth] in order
            and b[depth] in order
            and order.index(a[depth]) < order.index(b[depth])
        ):
            faults.append(f"{source}:{line} imports {target}")
    return faults


def test_the_source_was_read():
    assert len(MODULES) > 150
    assert len(EDGES) > 500


def test_every_module_lies_in_a_room():
    rooms = {name.split(".")[0] for name in MODULES if "." in name}
    assert rooms == set(ROOMS)
    outside = {name for name in MODULES if "." not in name} - set(ROOMS)
    assert outside == {"", "offline", "progress", "quiet"}


def test_rooms_import_only_from_rooms_before_them():
    assert wrong_way(ROOMS, 0) == []


@pytest.mark.parametrize(("room", "order"), [("severity", SEVERITY), ("training", TRAINING)])
def test_parts_of_a_room_import_only_from_parts_before_them(room, order):
    parts = {name.split(".")[1] for name in MODULES if name.startswith(f"{room}.")}
    folders = {
        part for part in parts if f"{room}.{part}" in MODULES and (PACKAGE / room / part).is_dir()
    }
    assert folders == set(order)
    inside = [fault for fault in wrong_way(order, 1) if fault.startswith(f"{room}.")]
    assert inside == []


def test_simulated_readers_know_no_scorer():
    outside = [
        f"{source}:{line} imports {target}"
        for source, target, line in EDGES
        if source.startswith("simulate.") and target.split(".")[0] not in SIMULATE_MAY_IMPORT
    ]
    assert outside == []


def test_no_modules_import_each_other_in_a_circle():
    graph: dict[str, set[str]] = {name: set() for name in MODULES}
    for source, target, _ in EDGES:
        graph[source].add(target)
    state: dict[str, str] = {}

    def visit(name: str, path: tuple[str, ...]) -> None:
        if state.get(name) == "done":
            return
        assert state.get(name) != "open", " -> ".join([*path[path.index(name) :], name])
        state[name] = "open"
        for target in sorted(graph[name]):
            visit(target, (*path, name))
        state[name] = "done"

    for name in graph:
        visit(name, ())


def test_light_rooms_import_no_torch():
    heavy = [
        f"{name}:{line} imports {target}"
        for name, path in MODULES.items()
        if name.split(".")[0] in LIGHT or name.startswith(LIGHT_PARTS)
        for target, line in imported(path)
        if target.split(".")[0] in HEAVY_LIBRARIES
    ]
    assert heavy == []


def test_only_commands_print():
    printing = [
        f"{name}:{node.lineno}"
        for name, path in MODULES.items()
        if name.split(".")[0] != "commands"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "print"
    ]
    assert printing == []


def test_folders_stay_small():
    sizes = {
        folder: sum(1 for path in folder.glob("*.py") if path.stem != "__init__")
        for folder in {path.parent for path in MODULES.values()}
    }
    large = {str(f.relative_to(PACKAGE)): n for f, n in sizes.items() if n > MAX_MODULES}
    assert large == {}
