"""Asking a judge for many reports, and telling a judge that failed from a text it cannot read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from negalign_train.severity.judges.base import JUDGE_FAILURES, Judge, Judgement, ReportPair
from negalign_train.vocabulary.errors import DataError
from negalign_train.vocabulary.records import SeverityScore

MAX_FAILED = 0.5
"""Share of reports on which a judge may fail (no answer, an overloaded server) before nothing is
made of what it answered."""
_PROBE = ReportPair(
    "The heart is normal in size. There is a small left pleural effusion.",
    "The heart is normal in size. There is a small right pleural effusion.",
)


def judge_all(judge: Judge, pairs: Sequence[ReportPair], known: int = 0) -> list[Judgement]:
    """One judgement per pair, in order; equal pairs are asked once.

    Args:
        known: how many more reports of this batch need not be asked about.

    Raises:
        DataError: the judge failed on more than half of the batch.
    """
    distinct = list(dict.fromkeys(pairs))
    answers = dict(zip(distinct, judge.judge(distinct), strict=True)) if distinct else {}
    failed = unscored_reasons(
        answer for answer in answers.values() if answer.reason in JUDGE_FAILURES
    )
    if sum(failed.values()) > MAX_FAILED * (len(distinct) + known):
        named = ", ".join(f"{reason} {count}" for reason, count in failed.items())
        raise DataError(
            f"judge {judge.name} {judge.version} failed on {sum(failed.values())} of "
            f"{len(distinct)} reports ({named}); see that it runs, then give the same command again"
        )
    return [answers[pair] for pair in pairs]


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
