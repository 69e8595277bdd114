"""Real reports against themselves, as they stand and hard-wrapped: nothing should cost."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

from negalign_train.severity.pricing.score import score_report
from negalign_train.vocabulary.records import CATEGORIES, SeverityScore

WIDTHS = (60, 76)
"""Characters of a line in the exports of hospitals."""
_OF_THE_TEXT = frozenset(["contradictory_diagnosis", "report_integrity"])
"""R3 and R9 look at the candidate alone."""


def wrapped(report: str, width: int) -> str:
    """The report with no line longer than ``width``, but for words that are; its own lines stay."""
    lines = (textwrap.fill(line, width, break_long_words=False) for line in report.split("\n"))
    return "\n".join(lines)


def _compares(score: SeverityScore) -> bool:
    return any(score.severities[name] > 0 for name in CATEGORIES if name not in _OF_THE_TEXT)


def self_figures(reports: Sequence[str]) -> dict[str, Any]:
    """Of the ``n`` reports that can be scored: the share that costs something against itself
    (``costly``), the share with anything but R3 and R9 (``compared``); and by width the share whose
    wrapped form costs something against itself, and the share in which it ``differs``: against
    itself, or against the report as it stands.
    """
    plain = {r: s for r in reports if (s := score_report(r, r)) is not None}
    rows: dict[str, Any] = {
        "n": len(plain),
        "costly": _share([score.total > 0 for score in plain.values()]),
        "compared": _share([_compares(score) for score in plain.values()]),
        "wrapped": {},
    }
    for width in WIDTHS:
        costly, differs = [], []
        for report, score in plain.items():
            text = wrapped(report, width)
            own, against = score_report(text, text), score_report(report, text)
            costly.append(own is None or own.total > 0)
            differs.append(
                own is None
                or against is None
                or own.severities != score.severities
                or against.total != score.total
            )
        rows["wrapped"][str(width)] = {"costly": _share(costly), "differs": _share(differs)}
    return rows


def _share(hits: Sequence[bool]) -> float | None:
    return sum(hits) / len(hits) if hits else None
