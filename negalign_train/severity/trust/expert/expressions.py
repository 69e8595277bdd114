"""What an expert expects of a score, as a comparison such as ``R1 > 0 and R2 <= 0.5``.

Parsed with ``ast`` and evaluated node by node: nothing of the text is ever executed.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from negalign_train.vocabulary.errors import DataError
from negalign_train.vocabulary.taxonomy import taxonomy

MAX_EXPRESSION = 500
"""Characters; a longer expectation is not one."""
EQUAL_WITHIN = 1e-6
"""Two scores closer than this are equal: sums of weights are no exact numbers."""

_COMPARES: Mapping[type[ast.cmpop], Callable[[float, float], bool]] = {
    ast.Lt: lambda a, b: a < b - EQUAL_WITHIN,
    ast.LtE: lambda a, b: a <= b + EQUAL_WITHIN,
    ast.Gt: lambda a, b: a > b + EQUAL_WITHIN,
    ast.GtE: lambda a, b: a >= b - EQUAL_WITHIN,
    ast.Eq: lambda a, b: abs(a - b) <= EQUAL_WITHIN,
    ast.NotEq: lambda a, b: abs(a - b) > EQUAL_WITHIN,
}
_ARITHMETIC: Mapping[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
}
_ALLOWED = "comparisons of R1 to R9, S, Q and numbers, joined by and, or, not, +, -, *"


@dataclass(frozen=True)
class Expectation:
    """One parsed comparison. ``names``: what it asks for, of R1 to R9, S and Q."""

    source: str
    names: frozenset[str]
    _tree: ast.expr

    def holds(self, values: Mapping[str, float]) -> bool:
        """Whether it is true of ``values``, which has every one of ``names``."""
        return _truth(self._tree, values)


def score_names() -> frozenset[str]:
    """The names that an expectation may use."""
    return frozenset([*(category.id for category in taxonomy()), "S", "Q"])


def parse_expectation(source: str) -> Expectation:
    """An expectation from its text.

    Raises:
        DataError: it is no comparison of the kind allowed.
    """
    if len(source) > MAX_EXPRESSION:
        raise DataError(f"expect is longer than {MAX_EXPRESSION} characters; shorten it")
    try:
        tree = ast.parse(source.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise DataError(f"expect {source!r} is no expression; write {_ALLOWED}") from error
    try:
        _check_truth(tree)
    except _RefusedError as error:
        raise DataError(f"expect {source!r}: {error}; write {_ALLOWED}") from error
    names = frozenset(node.id for node in ast.walk(tree) if isinstance(node, ast.Name))
    return Expectation(source, names, tree)


class _RefusedError(Exception):
    """A part of the expression that is not allowed."""


def _check_truth(node: ast.expr) -> None:
    """Refuses what is neither true nor false."""
    if isinstance(node, ast.BoolOp):
        for value in node.values:
            _check_truth(value)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        _check_truth(node.operand)
    elif isinstance(node, ast.Compare):
        for value in (node.left, *node.comparators):
            _check_number(value)
        for op in node.ops:
            if type(op) not in _COMPARES:
                raise _RefusedError(f"{type(op).__name__} does not compare two numbers")
    else:
        raise _RefusedError(f"{type(node).__name__} is neither true nor false")


def _check_number(node: ast.expr) -> None:
    """Refuses what is no number."""
    if isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
        _check_number(node.left)
        _check_number(node.right)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        _check_number(node.operand)
    elif isinstance(node, ast.Name):
        if node.id not in score_names():
            raise _RefusedError(f"{node.id} is none of R1 to R9, S, Q")
    elif not (isinstance(node, ast.Constant) and _is_number(node.value)):
        raise _RefusedError(f"{type(node).__name__} is no number")


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return (isinstance(value, float) and math.isfinite(value)) or abs(value) <= 1_000_000


def _truth(node: ast.expr, values: Mapping[str, float]) -> bool:
    if isinstance(node, ast.BoolOp):
        join = all if isinstance(node.op, ast.And) else any
        return join(_truth(value, values) for value in node.values)
    if isinstance(node, ast.UnaryOp):
        return not _truth(node.operand, values)
    assert isinstance(node, ast.Compare)
    numbers = [_number(value, values) for value in (node.left, *node.comparators)]
    pairs = zip(node.ops, numbers[:-1], numbers[1:], strict=True)
    return all(_COMPARES[type(op)](a, b) for op, a, b in pairs)


def _number(node: ast.expr, values: Mapping[str, float]) -> float:
    if isinstance(node, ast.BinOp):
        apply = _ARITHMETIC[type(node.op)]
        return apply(_number(node.left, values), _number(node.right, values))
    if isinstance(node, ast.UnaryOp):
        return -_number(node.operand, values)
    if isinstance(node, ast.Name):
        return values[node.id]
    assert isinstance(node, ast.Constant)
    assert isinstance(node.value, int | float)
    return float(node.value)
