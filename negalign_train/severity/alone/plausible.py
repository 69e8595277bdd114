"""Flags of what no patient has: impossible sizes, sides, numbers, tips, and findings together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from negalign_train.severity.alone.flags import Flag
from negalign_train.severity.alone.tables import flat, plausibility
from negalign_train.severity.pricing.compare import CONTRADICTION
from negalign_train.severity.reading.facts import ReportFacts
from negalign_train.severity.reading.statements import Statement
from negalign_train.vocabulary.taxonomy import finding_types

_OPPOSITE = (frozenset(["improved", "worse"]), frozenset(["improved", "new"]))
_FAR_APART = frozenset(["mild", "severe"])


def flags_of_plausibility(report: str, facts: ReportFacts) -> Iterator[Flag]:
    yield from _impossible_phrases(report)
    asserted = [s for s in facts.statements if s.present]
    for statement in asserted:
        yield from _impossible_size(statement)
        yield from _impossible_tip(statement)
    yield from _excluded(asserted)
    yield from _conflicting_attributes(asserted)


def _impossible_phrases(report: str) -> Iterator[Flag]:
    lower = flat(report)
    for pattern, why in plausibility().phrases:
        for match in pattern.finditer(lower):
            yield Flag("impossible", "wrong_location", None, None, why, match.span())


def _impossible_size(statement: Statement) -> Iterator[Flag]:
    size = statement.size_mm
    if size is None:
        return
    sizes = plausibility().sizes_mm
    low, high = sizes.get(statement.finding, sizes["any"])
    if not low <= size <= high:
        device = finding_types().get(statement.finding)
        is_device = device is not None and device.kind == "device"
        detail = f"{size:g} mm, where {low:g} to {high:g} are possible"
        yield Flag(
            "impossible",
            "device_error" if is_device else "wrong_severity",
            None,
            statement.finding,
            detail,
            statement.span,
        )


def _impossible_tip(statement: Statement) -> Iterator[Flag]:
    """A tip in a place that this device cannot reach: a breathing tube in a vein."""
    name = statement.finding
    impossible = plausibility().impossible_tips.get(name, frozenset())
    if places := sorted(impossible & set(statement.location)):
        detail = f"a tip that cannot lie in {', '.join(places).replace('_', ' ')}"
        yield Flag("impossible", "device_error", None, name, detail, statement.span)


def _conflict(one: Statement, other: Statement, detail: str) -> Flag:
    weight = max(finding_types()[s.finding].weight for s in (one, other))
    return Flag(
        "self_contradiction",
        "contradictory_diagnosis",
        CONTRADICTION * weight,
        one.finding,
        detail,
        one.span,
        other.span,
    )


def _excluded(asserted: Sequence[Statement]) -> Iterator[Flag]:
    first: dict[str, Statement] = {}
    for statement in asserted:
        if statement.certain:
            first.setdefault(statement.finding, statement)
    for one, other in plausibility().exclusive:
        if one in first and other in first:
            yield _conflict(first[one], first[other], f"{one} and {other} exclude each other")


def _conflicting_attributes(asserted: Sequence[Statement]) -> Iterator[Flag]:
    """Findings and impression that give one finding another degree or another change."""
    grouped: dict[tuple[str, tuple[str, ...]], list[Statement]] = {}
    for statement in asserted:
        if statement.finding in finding_types():
            key = (statement.finding, tuple(statement.side))
            grouped.setdefault(key, []).append(statement)
    for statements in grouped.values():
        concluded = [s for s in statements if s.section == "impression"]
        before = [s for s in statements if s.section != "impression"]
        if len(concluded) != 1 or len(before) != 1:
            continue  # of several, each may be another one
        one, other = concluded[0], before[0]
        if {one.degree, other.degree} == _FAR_APART:
            yield _conflict(one, other, "findings and impression name different degrees")
        elif {one.change, other.change} in _OPPOSITE:
            yield _conflict(one, other, "findings and impression name different changes")
