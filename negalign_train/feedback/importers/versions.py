"""Versions of one report, the preliminary one and what became of it: the edit is the feedback.

The preliminary text is the completion, the later text the edit; equal texts are an accepted report.
Nobody marked errors: their severities come from the scorer. Pure.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from negalign_train.feedback.documents import RawRecord
from negalign_train.feedback.fields import QuarantineError
from negalign_train.feedback.importers.record import Record, record_of
from negalign_train.vocabulary.approval import text_key

STATUS_RANKS: Mapping[str, int] = {
    "wet read": 0, "preliminary": 1, "final": 2, "corrected": 3, "amended": 3, "appended": 3,
}  # fmt: skip
"""The statuses of a report in the order in which it passes through them."""
_EDIT_TYPES = {"corrected": "correction", "appended": "addition"}


@dataclass(frozen=True)
class Version:
    """One version of a report. ``key`` names the report, ``time`` orders its versions."""

    item: RawRecord
    key: str
    status: str
    time: str
    question: str
    report: str
    more: Mapping[str, Any] = field(default_factory=dict)


def version_records(versions: Iterable[Version]) -> Iterator[Record]:
    """A record for each step from one version of a report to the next. A report of one version only
    is refused as ``no_counterpart``: nothing was negotiated.
    """
    by_report: dict[str, list[Version]] = defaultdict(list)
    for version in versions:
        by_report[version.key].append(version)
    for known in by_report.values():
        ordered = sorted(known, key=lambda each: (each.time, STATUS_RANKS[each.status]))
        steps = [(a, b) for a, b in pairwise(ordered) if a.status != b.status]
        for before, after in steps:
            yield record_of(after.item, _step(before, after))
        if not steps:
            only = ordered[-1]
            problem = QuarantineError(
                "no_counterpart",
                f"only the {only.status} version of this report is there; import the files with "
                "its other versions in the same command",
            )
            yield record_of(only.item, {"key": only.key, "status": only.status}, problem)


def _step(before: Version, after: Version) -> dict[str, Any]:
    return {
        **compared(before.report, after.report),
        "key": after.key,
        "from": before.status,
        "to": after.status,
        "question": before.question or after.question,
        "time": after.time,
        "edit_type": _EDIT_TYPES.get(after.status),
        **after.more,
    }


def compared(preliminary: str, final: str) -> dict[str, Any]:
    """The texts and the grade that they stand for: accepted where they differ in white space only,
    and otherwise kept in part.
    """
    same = text_key(preliminary) == text_key(final)
    return {
        "preliminary": preliminary,
        "final": None if same else final,
        "grade": "accept" if same else "partial",
    }
