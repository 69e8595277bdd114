"""The rule scorer as a judge: no torch, no network, thousands of pairs a second."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from negalign_train.severity.judges.base import Judgement, ReportPair
from negalign_train.severity.pricing.score import explain_unscorable, score_report
from negalign_train.severity.version import scorer_version


@cache
def rules_version() -> str:
    """Twelve hex digits: a changed word of the lexicon is another scorer."""
    return scorer_version(__name__)


class RulesJudge:
    """Facts of both reports, compared (``pricing.compare``), in the patient's context."""

    name = "rules"

    @property
    def version(self) -> str:
        return rules_version()

    def judge_one(self, pair: ReportPair) -> Judgement:
        score = score_report(pair.reference, pair.candidate, pair.context)
        reason = explain_unscorable(pair.reference, pair.candidate) if score is None else None
        return Judgement(self.name, self.version, score, reason)

    def judge(self, pairs: Sequence[ReportPair]) -> list[Judgement]:
        return [self.judge_one(pair) for pair in pairs]
