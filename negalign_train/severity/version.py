"""Which scorer this is: a digest of the code that makes a score and of the data it reads.

Code counts by its syntax tree without comments, docstrings, imports and layout, data by its parsed
content: a changed comment or a moved module is the same scorer, a changed word of the lexicon
another one.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from negalign_train.storage.fingerprint import fingerprint
from negalign_train.vocabulary.resources import data_path, read_table

_ROOMS = (
    "negalign_train.severity.",
    "negalign_train.vocabulary.special_tokens",
    "negalign_train.vocabulary.taxonomy",
)
"""Code elsewhere (errors, records, paths) gives a score its form, not its value."""


def scorer_version(module: str) -> str:
    """Twelve hex digits for the scorer whose entry is ``module``: every module of the scoring rooms
    that it reaches by imports, and every data file that these name.
    """
    trees = _reached(module)
    # Sorted by content: where a module lies and what it is called decides no score.
    code = sorted(json.dumps(syntax(tree)) for tree in trees.values())
    names = sorted({name for tree in trees.values() for name in _data_names(tree)})
    data = [(name, _parsed(data_path(name))) for name in names]
    # As a list and unsorted: in a lexicon, order can decide.
    return fingerprint([code, json.dumps(data)])[:12]


def _reached(module: str) -> dict[str, ast.Module]:
    trees: dict[str, ast.Module] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in trees or name == __name__ or not name.startswith(_ROOMS):
            continue
        spec = find_spec(name)
        if spec is None or spec.origin is None:
            continue  # a name imported from a module, not a module
        trees[name] = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
        waiting += _imports(trees[name])
    return trees


def _imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield node.module


def _data_names(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and Path(node.value).suffix in (".yaml", ".json")
        ):
            yield node.value


def _parsed(path: Path) -> Any:
    is_json = path.suffix == ".json"
    return json.loads(path.read_text(encoding="utf-8")) if is_json else read_table(path)


def syntax(node: Any) -> Any:
    """A syntax tree as JSON: no places, no bare strings (docstrings), no imports (what they bring
    counts by itself), and nothing that is empty, so that Python releases agree.
    """
    if isinstance(node, ast.AST):
        fields = {
            name: syntax(value)
            for name, value in ast.iter_fields(node)
            if value is not None and value != []
        }
        return [type(node).__name__, fields]
    if isinstance(node, list):
        return [syntax(item) for item in node if not _does_nothing(item)]
    return repr(node)


def _does_nothing(node: Any) -> bool:
    """An import, or a string that stands alone."""
    return isinstance(node, ast.Import | ast.ImportFrom) or (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )
