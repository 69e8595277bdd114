"""A natural-language-inference model as judge: does one report entail what the other says?

Each finding that a report asserts becomes hypotheses ("There is pleural effusion.", "The pleural
effusion is on the left."), with the other report as premise; what the premise does not entail costs
the finding's clinical weight, as CRIMSON's classes weigh it (arXiv 2603.06183), times ``1 -
P(entailment)``. R9 is no question of inference: it is the rules'.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from negalign_train.severity.judges.base import Judgement, ReportPair
from negalign_train.severity.judges.classifier import Logits, PairClassifier
from negalign_train.severity.judges.nli_cases import (
    Inference,
    Question,
    ReadReport,
    evidence_of,
    questions,
    read_report,
)
from negalign_train.severity.pricing.compare import findings_weight, priced_score
from negalign_train.severity.pricing.score import explain_unscorable, score_report
from negalign_train.severity.reading.facts import extract_facts
from negalign_train.vocabulary.errors import DataError

LABELS = ("entailment", "neutral", "contradiction")
_VERSION = "1"


def label_order(labels: Sequence[str], where: object) -> tuple[int, int, int]:
    """The places of entailment, neutral and contradiction among a model's labels.

    Raises:
        DataError: they are not these three, so that no order may be guessed.
    """
    names = {label.lower(): index for index, label in enumerate(labels)}
    if set(names) != set(LABELS) or len(labels) != len(LABELS):
        raise DataError(
            f"{where}: labels {sorted(names)} are not {', '.join(LABELS)}; give a three-way NLI "
            "model whose config.json names them in id2label"
        )
    entailment, neutral, contradiction = (names[label] for label in LABELS)
    return entailment, neutral, contradiction


class NliJudge:
    """Severities from a three-way NLI classifier such as ``microsoft/deberta-large-mnli``."""

    name = "nli"

    def __init__(self, model_dir: Path, batch_size: int = 32, device: str | None = None) -> None:
        self._classifier = PairClassifier(model_dir, batch_size, device)
        self._order = label_order(self._classifier.labels, model_dir)

    @property
    def version(self) -> str:
        return f"{_VERSION}-{self._classifier.digest[:12]}"

    def infer(self, pairs: Sequence[Question]) -> list[Inference | None]:
        """The three probabilities of each (premise, hypothesis); None where it does not fit."""
        return [self._inference(logits) for logits in self._classifier.logits(pairs)]

    def _inference(self, logits: Logits | None) -> Inference | None:
        if logits is None:
            return None
        largest = max(logits)
        powers = [math.exp(logits[index] - largest) for index in self._order]
        return Inference(*(power / sum(powers) for power in powers))

    def judge(self, pairs: Sequence[ReportPair]) -> list[Judgement]:
        """One judgement per pair. The context is not used: inference knows no prices."""
        reasons = [explain_unscorable(pair.reference, pair.candidate) for pair in pairs]
        reports = [
            None if reason else (read_report(pair.reference), read_report(pair.candidate))
            for pair, reason in zip(pairs, reasons, strict=True)
        ]
        asked = [q for both in reports if both is not None for q in questions(*both)]
        answers = dict(zip(asked, self.infer(asked), strict=True))
        return [
            Judgement(self.name, self.version, None, reason)
            if both is None
            else self._judged(pair, both, answers)
            for pair, reason, both in zip(pairs, reasons, reports, strict=True)
        ]

    def _judged(
        self,
        pair: ReportPair,
        both: tuple[ReadReport, ReadReport],
        answers: Mapping[Question, Inference | None],
    ) -> Judgement:
        asked = questions(*both)
        known = {question: a for question in asked if (a := answers[question]) is not None}
        if len(known) < len(asked):
            return Judgement(self.name, self.version, None, "too_long_for_model")
        rules = score_report(pair.reference, pair.candidate)
        assert rules is not None  # both judges refuse the same pairs
        slips = [item for item in rules.evidence if item.category == "report_integrity"]
        evidence = (*evidence_of(*both, known), *slips)
        missed = sum(item.severity for item in evidence if item.category == "false_negative")
        correct = max(0.0, findings_weight(extract_facts(pair.reference)) - missed)
        return Judgement(self.name, self.version, priced_score(evidence, correct))
