"""Errors that readers marked without saying how bad they are: the mark counts, and what it costs is
unknown until a scorer prices it against the reader's edit. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from negalign_train.vocabulary.records import CATEGORIES, ErrorMark, Event
from negalign_train.vocabulary.taxonomy import soft_cap, uncapped


def summed_marks(errors: Sequence[ErrorMark]) -> dict[str, float]:
    """Summed severities of the marks that have one, by category; not capped."""
    sums = dict.fromkeys(CATEGORIES, 0.0)
    for name in {mark.category for mark in errors}:
        sums[name] = math.fsum(
            mark.severity for mark in errors if mark.category == name and mark.severity is not None
        )
    return sums


def marked_severities(errors: Sequence[ErrorMark]) -> dict[str, float]:
    """Nine severities in [0, 1] of the marks that have one: what a single mark says stands, and
    several of one category add up under the soft cap.
    """
    largest = dict.fromkeys(CATEGORIES, 0.0)
    for mark in errors:
        if mark.severity is not None:
            largest[mark.category] = max(largest[mark.category], mark.severity)
    summed = summed_marks(errors)
    return {name: max(largest[name], soft_cap(summed[name])) for name in CATEGORIES}


def has_unpriced_marks(errors: Sequence[ErrorMark]) -> bool:
    """Whether a mark has no severity."""
    return any(mark.severity is None for mark in errors)


def price_marks(errors: Sequence[ErrorMark], scored: Mapping[str, float]) -> dict[str, float]:
    """Nine severities of a report some of whose marks have none.

    What the reader priced stands. A category with an unpriced mark takes the scorer's severity of
    that category, if that is more. Where the scorer finds nothing in that category, it sees the
    same error under another name: then the scorer's severities count in every category, or the
    reader's where they are more. A mark that the scorer missed never costs 0.

    Args:
        errors: the marks, at least one without severity.
        scored: the scorer's nine severities against the reader's edit, not all 0.
    """
    reader = marked_severities(errors)
    unpriced = {mark.category for mark in errors if mark.severity is None}
    if any(scored[name] <= 0 for name in unpriced):
        unpriced = set(CATEGORIES)
    return {
        name: max(reader[name], scored[name]) if name in unpriced else reader[name]
        for name in CATEGORIES
    }


def priced_marks(event: Event) -> tuple[ErrorMark, ...]:
    """The marks of an event. Marks without severity share what their category costs beyond its
    priced marks, in equal parts. None stays where nothing is known.
    """
    if event.severities is None or not has_unpriced_marks(event.errors):
        return event.errors
    return tuple(
        mark if mark.severity is not None else replace(mark, severity=_part(mark, event))
        for mark in event.errors
    )


def _part(mark: ErrorMark, event: Event) -> float | None:
    assert event.severities is not None
    severity = event.severities[mark.category]
    if severity <= marked_severities(event.errors)[mark.category]:
        return None  # all of it is what the priced marks cost
    alike = [other for other in event.errors if other.category == mark.category]
    left = uncapped(severity) - summed_marks(alike)[mark.category]
    return min(1.0, left / sum(other.severity is None for other in alike))
