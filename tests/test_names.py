"""One name, one thing: no two public classes or functions of the package share a name."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "negalign_train"

ON_PURPOSE = {
    "compare": "`negalign judge compare`; the scorer compares two reports",
    "inject": "`negalign inject`; the injector's one error",
    "main": "each program has one",
    "train": "`negalign judge train`; a cycle's step",
}
"""Names that several modules define, with the reason."""


def definitions() -> dict[str, list[str]]:
    """Every public class and function at the top of a module: its name to the modules."""
    modules: dict[str, list[str]] = defaultdict(list)
    for path in sorted(PACKAGE.rglob("*.py")):
        module = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            if not node.name.startswith("_"):
                modules[node.name].append(module)
    return modules


def test_no_two_things_have_one_name():
    modules = definitions()
    assert len(modules) > 500
    twice = {
        name: where for name, where in modules.items() if len(where) > 1 and name not in ON_PURPOSE
    }
    assert twice == {}


def test_every_name_allowed_twice_is_there_twice():
    modules = definitions()
    assert [name for name in ON_PURPOSE if len(modules[name]) < 2] == []
