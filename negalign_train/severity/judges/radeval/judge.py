"""A clinical metric as a judge: for comparisons, not for training.

A metric sees some of the nine categories; the others are 0 here because it cannot see them, which
is why no recipe takes it (``recipe.judge_spec``).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from negalign_train.severity.judges.base import Judgement, ReportPair
from negalign_train.severity.judges.radeval.answers import MetricAnswer, answer_score
from negalign_train.severity.judges.radeval.scorers import (
    METRICS,
    AskMetric,
    check_installed,
    load_metric,
    quiet_output,
)
from negalign_train.severity.pricing.score import explain_unscorable

_VERSION = "1"
"""Raised with how a metric's answer becomes severities."""


class RadevalJudge:
    """One metric of ``radeval``. The weights are loaded with the first pair.

    Raises:
        DataError: the package or the weights are missing.
    """

    def __init__(self, metric: str, device: str | None = None) -> None:
        self._metric, self._device = metric, device
        self._installed = check_installed(metric)

    @property
    def name(self) -> str:
        return f"radeval:{self._metric}"

    @property
    def version(self) -> str:
        return f"{_VERSION}-{self._installed}"

    @cached_property
    def _ask(self) -> AskMetric:
        return load_metric(self._metric, self._device or _default_device())

    def judge(self, pairs: Sequence[ReportPair]) -> list[Judgement]:
        """One judgement per pair. The context is not used."""
        reasons = [explain_unscorable(pair.reference, pair.candidate) for pair in pairs]
        asked = [p for p, reason in zip(pairs, reasons, strict=True) if reason is None]
        answers = iter(self._answers(asked))
        return [
            Judgement(self.name, self.version, None, reason)
            if reason is not None
            else self._judgement(next(answers))
            for reason in reasons
        ]

    def _answers(self, pairs: Sequence[ReportPair]) -> list[MetricAnswer | None]:
        if not pairs:
            return []
        ask = self._ask
        with quiet_output():
            return ask([pair.reference for pair in pairs], [pair.candidate for pair in pairs])

    def _judgement(self, answer: MetricAnswer | None) -> Judgement:
        if answer is None:
            return Judgement(self.name, self.version, None, "judge_bad_answer")
        return Judgement(self.name, self.version, answer_score(answer, METRICS[self._metric].label))


def _default_device() -> str:
    import torch  # noqa: PLC0415

    return "cuda" if torch.cuda.is_available() else "cpu"
