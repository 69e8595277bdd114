"""Step metrics that cost no synchronisation until they are logged."""

from __future__ import annotations

import torch
from accelerate import Accelerator
from torch import Tensor

CHOSEN_DRIFT = "logratios/chosen_per_token"
"""Chosen completions' log-ratio to the reference over their token weights, nats per token: what the
displacement guard watches. Logged by every trainer that has a reference.
"""


class StepMetrics:
    """Running sums of named quantities over rows; read out, over all processes, once per log.

    TRL reads fourteen scalars back from the device in every step (trl 1.16.0,
    trainer/dpo_trainer.py:1535-1601); on a small model that is a large share of the step.
    """

    def __init__(self) -> None:
        self._totals: dict[str, Tensor] = {}

    def add(self, name: str, values: Tensor, mask: Tensor | None = None) -> None:
        """Adds (rows,) values; with ``mask``, those where it is True."""
        values = values.detach().float()
        kept = torch.ones_like(values) if mask is None else mask.float()
        total = torch.stack([(values * kept).sum(), kept.sum()])
        self._totals[name] = self._totals[name] + total if name in self._totals else total

    def take(self, accelerator: Accelerator) -> dict[str, float]:
        """Means since the last call; quantities that saw no row are left out."""
        if not self._totals:
            return {}
        names = sorted(self._totals)
        sums = accelerator.reduce(torch.stack([self._totals[name] for name in names]), "sum")
        self._totals = {}
        return {
            name: total / count
            for name, (total, count) in zip(names, sums.tolist(), strict=True)
            if count > 0
        }
