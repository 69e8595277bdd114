"""Whether our gradients are TRL's: both arms on one small float64 model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from unittest.mock import patch

import torch
import trl.trainer.utils

from benchmarks.training_arms import build_arm
from benchmarks.training_shapes import Workload


class _ExactLogProbs:
    """TRL's kernel in the input's own precision; its own computes in float32 whatever it gets."""

    @staticmethod
    def apply(hidden: Any, weight: Any, bias: Any, targets: Any, *_: Any) -> tuple[Any, ...]:
        logps = (hidden @ weight.T).log_softmax(dim=1).gather(1, targets.unsqueeze(1)).squeeze(1)
        zeros = torch.zeros_like(logps).detach()
        return logps, zeros, zeros, zeros, zeros.bool()


def gradient_error(workload: Workload) -> float:
    """Largest relative difference between TRL's and our adapter gradients over the first batch: a
    float64 model of two layers and a tenth of the vocabulary, on examples of the same geometry.
    """
    small = replace(workload, dtype="float64", vocabulary=max(200, workload.shape.vocabulary // 10))
    with (
        patch.dict(
            "benchmarks.training_shapes.SHAPES", {small.model: replace(small.shape, layers=2)}
        ),
        patch.object(trl.trainer.utils, "_ChunkedLogProbFunction", _ExactLogProbs),
    ):
        expected_loss, expected = build_arm(small, "trl_best", 1).loss_and_gradients()
        loss, gradients = build_arm(small, "ours", 1).loss_and_gradients()
    if expected.keys() != gradients.keys():
        raise SystemExit(f"{workload.name}: the arms train different parameters")
    worst = abs(loss - expected_loss) / abs(expected_loss)
    for name, gradient in expected.items():
        scale = float(gradient.abs().max().clamp(min=1e-30))
        worst = max(worst, float((gradients[name] - gradient).abs().max()) / scale)
    return worst
