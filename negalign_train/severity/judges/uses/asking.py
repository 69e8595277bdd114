"""Asking a judge for many reports, and telling a judge that failed from a text it cannot read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from negalign_train.progress import Progress, silent, time_left
from negalign_train.severity.judges.base import JUDGE_FAILURES, Judge, Judgement, ReportPair
from negalign_train.vocabulary.errors import DataError
from negalign_train.vocabulary.records import SeverityScore

MAX_FAILED = 0.5
"""Share of reports on which a judge may fail (no answer, an overloaded server) before nothing is
made of what it answered."""
_AT_ONCE = 64
"""Reports that a judge is given together: it batches them as it can."""
_PROBE = ReportPair(
    "The heart is normal in size. There is a small left pleural effusion.",
    "The heart is normal in size. There is a small right pleural effusion.",
)


def judge_all(
    judge: Judge, pairs: Sequence[ReportPair], known: int = 0, progress: Progress = silent
) -> list[Judgement]:
    """One judgement per pair, in order; equal pairs are asked once.

    Args:
        known: how many more reports of this batch need not be asked about.

    Raises:
        DataError: the judge failed on more than half of the batch, or on all of its first reports.
    """
    distinct = list(dict.fromkeys(pairs))
    answers: dict[ReportPair, Judgement] = {}
    tick = time_left(f"judge {judge.name} on {len(distinct)} reports", progress)
    tick(0, len(distinct))
    for first in range(0, len(distinct), _AT_ONCE):
        some = distinct[first : first + _AT_ONCE]
        answers |= zip(some, judge.judge(some), strict=True)
        _refuse_failing(judge, answers, len(distinct) - len(answers), len(distinct) + known)
        tick(len(answers), len(distinct))
    return [answers[pair] for pair in pairs]


def _refuse_failing(
    judge: Judge, answers: Mapping[ReportPair, Judgement], left: int, total: int
) -> None:
    """Raises DataError where the judge failed on more than ``MAX_FAILED`` of ``total`` reports, or
    on each one so far with some ``left``.
    """
    failed = unscored_reasons(each for each in answers.values() if each.reason in JUDGE_FAILURES)
    count = sum(failed.values())
    if count > MAX_FAILED * total or (left and count == len(answers)):
        named = ", ".join(f"{reason} {number}" for reason, number in failed.items())
        raise DataError(
            f"judge {judge.name} {judge.version} failed on {count} of {len(answers)} reports "
            f"({named}); see that it runs, then give the same command again"
        )


def scores_of(judgements: Iterable[Judgement]) -> list[SeverityScore | None]:
    return [judgement.score for judgement in judgements]


def unscored_reasons(judgements: Iterable[Judgement]) -> dict[str, int]:
    """How many have no score, by reason code."""
    reasons = Counter(each.reason or "unknown" for each in judgements if each.score is None)
    return dict(sorted(reasons.items()))


def refuse_speechless(judge: Judge, key: str) -> None:
    """Asks for one report of our own words, so that a judge that cannot answer shows at once.

    Args:
        key: the recipe's key that names the judge.

    Raises:
        DataError: it gives no score.
    """
    (answer,) = judge.judge([_PROBE])
    if answer.score is None:
        raise DataError(
            f"{key}: judge {judge.name} gives no score for two reports of a sentence each "
            f"({answer.reason}); correct what it needs, or name another judge"
        )
