"""What a second judge says of the reports on which the first one decides. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from negalign_train.evaluation.bootstrap import (
    BootstrapSettings,
    Comparison,
    Interval,
    paired_bootstrap,
)
from negalign_train.vocabulary.records import ScoredReport

Verdict = Literal["agrees", "disagrees", "unknown"]
VERDICTS: Mapping[Verdict, str] = {
    "agrees": "agrees on the direction",
    "disagrees": "disagrees on the direction",
    "unknown": "has no direction to compare",
}
"""In words, after "the second judge"."""


@dataclass(frozen=True)
class SecondOpinion:
    """The change of mean S by the second judge, and whether it goes the first judge's way.

    ``verdict`` compares the two estimates' signs; it is unknown where one of them measured nothing,
    or no change. ``shown``: the second judge's whole interval lies on one side of 0. ``change``
    None: it scored no case for both sides. ``unscored`` counts by reason the candidate's reports
    without a score.
    """

    judge: str
    version: str
    verdict: Verdict
    shown: bool
    num_cases: int
    mean_S_before: float | None
    mean_S_after: float | None
    change: Interval | None
    unscored: Mapping[str, int]


@dataclass(frozen=True)
class SecondReports:
    """Both models' reports with the second judge's scores."""

    judge: str
    version: str
    parent: Sequence[ScoredReport]
    candidate: Sequence[ScoredReport]
    unscored: Mapping[str, int]


def second_opinion(
    first: Comparison | None, reports: SecondReports, settings: BootstrapSettings
) -> SecondOpinion:
    """The second judge's comparison of parent and candidate, set beside the first's."""
    comparison = paired_bootstrap(reports.parent, reports.candidate, settings)
    change = None if comparison is None else comparison.total
    return SecondOpinion(
        judge=reports.judge,
        version=reports.version,
        verdict=_verdict(None if first is None else first.total, change),
        shown=change is not None and not change.low <= 0 <= change.high,
        num_cases=0 if comparison is None else comparison.num_cases,
        mean_S_before=None if comparison is None else comparison.parent.mean_S,
        mean_S_after=None if comparison is None else comparison.candidate.mean_S,
        change=change,
        unscored=reports.unscored,
    )


def _verdict(first: Interval | None, second: Interval | None) -> Verdict:
    if first is None or second is None or not first.estimate or not second.estimate:
        return "unknown"
    return "agrees" if (first.estimate < 0) == (second.estimate < 0) else "disagrees"


def opinion_warnings(opinion: SecondOpinion | None, first: Comparison | None) -> tuple[str, ...]:
    """What a person must know before trusting the decision: that the second judge sees the other
    direction, or could score nothing.
    """
    if opinion is None:
        return ()
    who = f"the second judge, {opinion.judge},"
    if opinion.change is None:
        named = ", ".join(f"{reason} {count}" for reason, count in opinion.unscored.items())
        return (f"{who} scored no case for parent and candidate ({named or 'no reason'})",)
    if opinion.verdict != "disagrees" or first is None:
        return ()
    change = opinion.change
    measured = f"{change.estimate:+.3f} [{change.low:+.3f}, {change.high:+.3f}]"
    certain = "is sure of it" if opinion.shown else "is not sure of it"
    return (
        f"{who} disagrees on the direction and {certain}: mean S changes by {measured} where the "
        f"first judge measures {first.total.estimate:+.3f}, on {opinion.num_cases} cases; read "
        "some reports before you trust the decision",
    )
