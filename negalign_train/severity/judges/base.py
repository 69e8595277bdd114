"""What a judge is asked, and what it answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from negalign_train.severity.pricing.compare import findings_weight
from negalign_train.severity.reading.context import NO_CONTEXT, CaseContext
from negalign_train.severity.reading.facts import extract_facts
from negalign_train.vocabulary.records import CATEGORIES, Evidence, SeverityScore
from negalign_train.vocabulary.taxonomy import uncapped

MIN_SEVERITY = 0.05
"""A severity predicted below this is none: a model never gives 0."""
JUDGE_FAILURES = frozenset(["judge_unreachable", "judge_timeout", "judge_error"])
"""Reasons that say nothing about the text: the judge failed, and may not fail the next time."""
NO_PROPER_ANSWER = frozenset(["judge_refused", "judge_bad_answer"])
"""Reasons of a judge that answered, but gave no nine severities."""


@dataclass(frozen=True)
class ReportPair:
    """A candidate report and what it is judged against."""

    reference: str
    candidate: str
    context: CaseContext = NO_CONTEXT


@dataclass(frozen=True)
class Judgement:
    """One judge's answer on one pair.

    ``score`` is None where the pair cannot be scored, and ``reason`` then holds the code why (a key
    of ``judges.result.UNSCORED_REASONS``); unknown is never 0.
    """

    judge: str
    version: str
    score: SeverityScore | None
    reason: str | None = None


class Judge(Protocol):
    """Nine severities for each pair. ``version`` changes whenever its answers can."""

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str: ...

    def judge(self, pairs: Sequence[ReportPair]) -> list[Judgement]:
        """One judgement per pair, in order."""
        ...


def predicted_score(predicted: Sequence[float], detail: str, reference: str) -> SeverityScore:
    """The score of a model that predicts the nine severities in [0, 1] without naming errors.

    Its error weights are what the cap makes its severities of. Right is what the reference's
    findings weigh, as the rules read them, less what the model says is missed.

    Args:
        predicted: one severity for each of ``CATEGORIES``, in order.
        detail: what the evidence of every category says.
        reference: the right report.
    """
    severities = {
        name: value if value >= MIN_SEVERITY else 0.0
        for name, value in zip(CATEGORIES, predicted, strict=True)
    }
    evidence = tuple(Evidence(n, s, None, detail) for n, s in severities.items() if s > 0)
    weights = {name: uncapped(value) for name, value in severities.items()}
    correct = findings_weight(extract_facts(reference)) - weights["false_negative"]
    return SeverityScore(severities, evidence, weights, max(0.0, correct))
