"""The criteria of a gate record as rows of the page: what is said once stands once. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

WORDS = {
    "held": "✓ held",
    "broken": "✗ broken",
    "open": "? open",
    "not applied": "– not applied",
}
"""Each with a sign of its own, so that it reads without colours."""


@dataclass(frozen=True)
class CriterionRow:
    """One criterion: the estimate and its interval first, then what is allowed."""

    name: str
    state: str
    result: str
    estimate: str
    interval: str
    allowed: str


@dataclass(frozen=True)
class CriterionGroup:
    """Criteria that follow each other and say the same of what they are."""

    detail: str
    rows: tuple[CriterionRow, ...]


def criterion_groups(criteria: Sequence[Mapping[str, Any]]) -> tuple[CriterionGroup, ...]:
    groups: list[CriterionGroup] = []
    for criterion in criteria:
        row = _row(criterion)
        if groups and groups[-1].detail == criterion["detail"]:
            groups[-1] = CriterionGroup(groups[-1].detail, (*groups[-1].rows, row))
        else:
            groups.append(CriterionGroup(criterion["detail"], (row,)))
    return tuple(groups)


def tally(criteria: Sequence[Mapping[str, Any]]) -> str:
    """How many criteria are held, broken, open and not applied, and how many cases would close all
    open ones, in a sentence.
    """
    states = [criterion["state"] for criterion in criteria]
    counts = [(states.count(state), state) for state in WORDS]
    counted = ", ".join(f"{count} {state}" for count, state in counts if count)
    needed = [
        criterion["cases_needed"]
        for criterion in criteria
        if criterion["state"] == "open" and criterion["kind"] != "watch"
    ]
    if not needed or None in needed:
        return counted
    return f"{counted}; about {max(needed)} cases would settle what is open, at these estimates"


def _row(criterion: Mapping[str, Any]) -> CriterionRow:
    value, interval, state = criterion["value"], criterion["interval"], criterion["state"]
    signed = interval is not None
    shown = "not measured" if value is None else _number(value, signed)
    if state == "not applied":
        shown = "–"
    result = WORDS[state]
    if state == "open" and criterion["cases_needed"] is not None:
        result += f", about {criterion['cases_needed']} cases needed"
    if criterion["kind"] == "watch" and state == "open":
        result += " (need not be shown by itself)"
    ends = "–" if not signed else f"{interval[0]:+.3f} to {interval[1]:+.3f}"
    return CriterionRow(criterion["name"], state, result, shown, ends, _allowed(criterion))


def _number(value: float, signed: bool) -> str:
    if signed:
        return f"{value:+.3f}"
    return f"{value:.0f}" if float(value).is_integer() and abs(value) >= 1 else f"{value:.3f}"


def _allowed(criterion: Mapping[str, Any]) -> str:
    """The allowed range in words of mathematics."""
    least, most = criterion["limit"]
    if criterion["kind"] == "superiority":
        return f"< {most:g}"
    if least is not None and most is not None:
        return f"{least:g} to {most:g}"
    return f"≥ {least:g}" if least is not None else f"≤ {most:g}"
