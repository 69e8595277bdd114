"""A nine-head classifier that was trained on readers' severities (``negalign judge train``)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from negalign_train.severity.judges.base import Judgement, ReportPair, predicted_score
from negalign_train.severity.judges.classifier import Logits, PairClassifier
from negalign_train.severity.pricing.score import explain_unscorable
from negalign_train.storage.fingerprint import file_sha256
from negalign_train.storage.workspace import MANIFEST, read_json
from negalign_train.vocabulary.errors import DataError
from negalign_train.vocabulary.records import CATEGORIES, SeverityScore

JUDGE_SCHEMA = "negalign.judge/1"


@dataclass(frozen=True)
class TrainedOn:
    """Which case groups a trained judge has not seen: those with ``group_fraction(group, seed)``
    below ``held_out_fraction``.
    """

    seed: int
    held_out_fraction: float


def read_judge_manifest(model_dir: Path) -> dict[str, Any]:
    """The manifest of a trained judge, checked against its weights.

    Raises:
        DataError: it is missing, of another kind, or the weights are not those that were trained.
    """
    path = model_dir / MANIFEST
    if not path.is_file():
        raise DataError(
            f"{model_dir} holds no {MANIFEST}: it is no judge of `negalign judge train`, or its "
            "training did not end; give the folder of a finished one"
        )
    data: dict[str, Any] = read_json(path)
    if data.get("schema") != JUDGE_SCHEMA:
        raise DataError(f"{path}: schema is not {JUDGE_SCHEMA}; train the judge anew")
    for name, sha256 in data["files"].items():
        if not (model_dir / name).is_file() or file_sha256(model_dir / name) != sha256:
            raise DataError(f"{model_dir / name}: not the file that was trained; restore it")
    return data


def trained_on(model_dir: Path) -> TrainedOn:
    data = read_judge_manifest(model_dir)
    return TrainedOn(int(data["seed"]), float(data["held_out_fraction"]))


class FinetunedJudge:
    """Severities predicted from the two texts: sigmoid of nine logits."""

    name = "finetuned"

    def __init__(self, model_dir: Path, batch_size: int = 32, device: str | None = None) -> None:
        read_judge_manifest(model_dir)
        self._classifier = PairClassifier(model_dir, batch_size, device)
        if self._classifier.labels != CATEGORIES:
            raise DataError(
                f"{model_dir}: its labels are not the nine categories in order; train it with "
                "`negalign judge train`"
            )

    @property
    def version(self) -> str:
        return self._classifier.digest[:12]

    def judge(self, pairs: Sequence[ReportPair]) -> list[Judgement]:
        """One judgement per pair. The context is not used: readers' events hold none."""
        judgements: list[Judgement] = []
        logits = iter(self._classifier.logits([(p.reference, p.candidate) for p in pairs]))
        for pair, row in zip(pairs, logits, strict=True):
            reason = explain_unscorable(pair.reference, pair.candidate)
            if reason is None and row is None:
                reason = "too_long_for_model"
            score = None if reason is not None or row is None else _score(row, pair.reference)
            judgements.append(Judgement(self.name, self.version, score, reason))
        return judgements


def _score(logits: Logits, reference: str) -> SeverityScore:
    predicted = [1 / (1 + math.exp(-max(-50.0, value))) for value in logits]
    return predicted_score(predicted, "predicted from the two texts", reference)
