"""Severity-weighted KTO."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor, nn
from torch.utils.data import Sampler, SequentialSampler
from trl import KTOTrainer

from negalign_train.training.forward.packing import completion_logps, model_inputs, pack
from negalign_train.training.objective.losses import (
    kl_reference_point,
    kto_losses,
    weighted_kto_loss,
)
from negalign_train.training.objective.step_metrics import CHOSEN_DRIFT
from negalign_train.training.reference.logps import mismatched_sequence
from negalign_train.training.rows.batches import UnpairedRow, unpaired_sequence, unweighted
from negalign_train.training.trainers.whole_step import MicroBatch, WholeStepTrainer, row_weights


class WeightedKTOTrainer(WholeStepTrainer, KTOTrainer):  # type: ignore[misc]  # TRL ships no types
    """Carries row weights, token weights and reference columns to ``losses.py``.

    Follows trl 1.16.0, trainer/kto_trainer.py:1370 (``_compute_loss``) with precomputed reference
    log-probabilities. Token weights enter z0 too: it is the reference point of the weighted
    log-ratio. Rows come in the order of ``kto_rows.arrange``, each with its mismatched completion.

    z0 is the mean over the whole optimiser step, computed before its first micro-batch in a forward
    of its own. In the rows of the matched completions the mismatched ones would share the prompt,
    but cost a backward as well, which is as much as sharing saves.
    """

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> Sampler[int]:
        dataset: Any = self.train_dataset
        return SequentialSampler(dataset)

    def _texts(self, row: UnpairedRow) -> list[list[int]]:
        return [row["prompt_ids"] + row["completion_ids"]]

    def _collate(self, rows: Sequence[UnpairedRow]) -> MicroBatch:
        """The completions, then the same unweighted; mismatched ones as a batch in the batch."""
        matched = [unpaired_sequence(row) for row in rows]
        batch: MicroBatch = pack(
            [*matched, *map(unweighted, matched)], self.pad_token_id, self.sharing.trees
        )
        for name in ("ref_logps", "weight"):
            values = [row[name] for row in rows]
            batch[name] = torch.tensor(values, dtype=torch.float64)
        batch["label"] = torch.tensor([row["label"] for row in rows])
        batch["lengths"] = torch.tensor([sum(each.token_weights) for each in matched])
        if "KL_completion_ids" in rows[0]:
            mismatched: MicroBatch = pack(
                [mismatched_sequence(row) for row in rows], self.pad_token_id, self.sharing.trees
            )
            ref_logps = [row["ref_KL_logps"] for row in rows]
            mismatched["ref_logps"] = torch.tensor(ref_logps, dtype=torch.float64)
            batch["mismatched"] = mismatched
        return batch

    def _reference_point(self, model: nn.Module, batches: Sequence[MicroBatch]) -> Tensor:
        """z0 over all processes' rows of ``batches`` (TRL's gather cuts an uneven last batch)."""
        total = torch.zeros(2, dtype=torch.float64, device=self.args.device)
        if not self.calculate_KL:
            return total[0]
        with torch.no_grad(), self.compute_loss_context_manager():
            for batch in batches:
                inputs: MicroBatch = dict(self._prepare_input(batch["mismatched"]))
                logps = completion_logps(model(**model_inputs(inputs)), inputs).double()
                present = self._prepare_input(batch.get("present", torch.ones(len(logps))))
                logratios = (logps - inputs["ref_logps"]) * present
                total += torch.stack([logratios.sum(), present.sum().double()])
        total = self.accelerator.reduce(total, "sum")
        return kl_reference_point((total[0] / total[1]).reshape(1))

    def _begin_step(self, model: nn.Module, batches: Sequence[MicroBatch]) -> None:
        if not batches:
            return
        model.train()
        z0 = self._reference_point(model, batches)
        for batch in batches:
            batch["z0"] = z0
            batch.pop("mismatched", None)

    def _compute_loss(self, model: nn.Module, inputs: MicroBatch, return_outputs: bool) -> Tensor:
        assert not return_outputs, "evaluation runs outside the trainer"
        z0 = inputs["z0"] if "z0" in inputs else self._reference_point(model, [inputs])
        logps = completion_logps(model(**model_inputs(inputs)), inputs)
        matched_logps, plain_logps = logps.chunk(2)
        logratios = matched_logps - inputs["ref_logps"].to(logps.dtype)
        labels = inputs["label"]
        losses = kto_losses(self.loss_type, logratios, labels, z0.to(logps.dtype), self.beta)
        class_weight = torch.where(labels, self.desirable_weight, self.undesirable_weight)
        weight = row_weights(inputs, losses)
        present = inputs.get("present", torch.ones_like(labels))
        self._record(logratios, plain_logps.detach(), labels, present)
        self.step_metrics.add("kl", z0.reshape(1))
        drift = logratios / inputs["lengths"].clamp(min=1)
        self.step_metrics.add(CHOSEN_DRIFT, drift, labels & present)
        loss = weighted_kto_loss(losses, weight * present, class_weight.to(losses.dtype))
        return self._share_of_step(inputs, len(labels)) * loss

    def _record(
        self, logratios: Tensor, plain_logps: Tensor, labels: Tensor, present: Tensor
    ) -> None:
        """TRL's names: rewards are token-weighted, ``logps/*`` plain sums over the completion."""
        rewards = self.beta * logratios
        for side, mask in (("chosen", labels & present), ("rejected", ~labels & present)):
            self.step_metrics.add(f"rewards/{side}", rewards, mask)
            self.step_metrics.add(f"logps/{side}", plain_logps, mask)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        means: dict[str, Any] = self.step_metrics.take(self.accelerator)
        if "rewards/chosen" in means and "rewards/rejected" in means:
            means["rewards/margins"] = means["rewards/chosen"] - means["rewards/rejected"]
        super().log(logs | means, start_time)
