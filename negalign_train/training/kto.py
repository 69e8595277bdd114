"""Severity-weighted KTO."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from datasets import Dataset
from peft import PeftModel
from torch import Tensor
from torch.utils.data import Sampler, SequentialSampler
from transformers import PreTrainedTokenizerBase, TrainerCallback
from trl import KTOConfig, KTOTrainer

from negalign_train.errors import TrainingError
from negalign_train.training.batches import UnpairedRow, pad_sequences, unpaired_sequence
from negalign_train.training.dpo import drop_reference_adapter, row_weights
from negalign_train.training.losses import (
    kl_reference_point,
    kto_losses,
    weighted_kto_loss,
    weighted_logps,
)
from negalign_train.training.metrics import StepMetrics
from negalign_train.training.reference import mismatched_sequence
from negalign_train.training.shards import ExactInputs

_SEQUENCE_KEYS = ("input_ids", "completion_labels")


class UnpairedCollator:
    """Rows to a batch; mismatched sequences, where rows have them, under ``KL_`` keys."""

    def __init__(self, pad_token_id: int) -> None:
        self.pad_token_id = pad_token_id

    def __call__(self, rows: Sequence[UnpairedRow]) -> dict[str, Tensor]:
        batch = pad_sequences([unpaired_sequence(row) for row in rows], self.pad_token_id)
        if "KL_completion_ids" in rows[0]:
            mismatched = pad_sequences(
                [mismatched_sequence(row) for row in rows], self.pad_token_id
            )
            batch |= {f"KL_{name}": value for name, value in mismatched.items()}
            ref_kl = [row["ref_KL_logps"] for row in rows]
            batch["ref_KL_logps"] = torch.tensor(ref_kl, dtype=torch.float64)
        batch["ref_logps"] = torch.tensor([row["ref_logps"] for row in rows], dtype=torch.float64)
        batch["weight"] = torch.tensor([row["weight"] for row in rows], dtype=torch.float64)
        batch["label"] = torch.tensor([row["label"] for row in rows])
        return batch


class WeightedKTOTrainer(ExactInputs, KTOTrainer):  # type: ignore[misc]  # TRL ships no types
    """Carries row weights, token weights and reference columns to ``losses.py``.

    Follows trl 1.16.0, trainer/kto_trainer.py:1370 (``_compute_loss``) with precomputed reference
    log-probabilities. Token weights enter z0 too: it is the reference point of the weighted
    log-ratio. Rows come in the order of ``kto_rows.arrange``, each with its mismatched completion.
    """

    def __init__(
        self,
        policy: PeftModel,
        config: KTOConfig,
        rows: Sequence[UnpairedRow],
        tokenizer: PreTrainedTokenizerBase,
        callbacks: Sequence[TrainerCallback] = (),
    ) -> None:
        self.step_metrics = StepMetrics()
        assert isinstance(tokenizer.pad_token_id, int)
        super().__init__(
            model=policy,
            args=config,
            data_collator=UnpairedCollator(tokenizer.pad_token_id),
            train_dataset=Dataset.from_list(list(rows)),
            processing_class=tokenizer,
            callbacks=list(callbacks),
        )
        drop_reference_adapter(self.model)
        if self.aux_loss_enabled:
            raise TrainingError(
                "this base is a mixture of experts with a load-balancing loss, which the weighted "
                "loss does not carry; set trainer.router_aux_loss_coef: 0.0"
            )

    def _prepare_dataset(self, dataset: Dataset, *_: Any) -> Dataset:
        """Rows come tokenised and arranged."""
        return dataset

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> Sampler[int]:
        return SequentialSampler(self.train_dataset)

    def _logratios(
        self, model: torch.nn.Module, inputs: dict[str, Tensor], prefix: str
    ) -> tuple[Tensor, Tensor]:
        """Token-weighted log-ratios (batch,) and plain log-probabilities (batch,)."""
        token_logps = model(**{name: inputs[f"{prefix}{name}"] for name in _SEQUENCE_KEYS})
        logps = weighted_logps(token_logps, inputs[f"{prefix}token_weights"].to(token_logps.dtype))
        logratios = logps - inputs[f"ref_{prefix}logps"].to(logps.dtype)
        return logratios, token_logps.sum(dim=1)

    def _reference_point(self, model: torch.nn.Module, inputs: dict[str, Tensor]) -> Tensor:
        """z0 over all processes' rows (TRL's own gather cuts an uneven last batch)."""
        if not self.calculate_KL:
            return inputs["ref_logps"].new_zeros(())
        with torch.no_grad():
            mismatched, _ = self._logratios(model, inputs, "KL_")
        return kl_reference_point(self.accelerator.reduce(mismatched.mean(), "mean"))

    def _compute_loss(
        self, model: torch.nn.Module, inputs: dict[str, Tensor], return_outputs: bool
    ) -> Tensor:
        assert not return_outputs, "evaluation runs outside the trainer"
        z0 = self._reference_point(model, inputs)
        logratios, plain_logps = self._logratios(model, inputs, "")
        labels = inputs["label"]
        losses = kto_losses(self.loss_type, logratios, labels, z0.to(logratios.dtype), self.beta)
        class_weight = torch.where(labels, self.desirable_weight, self.undesirable_weight)
        self._record(logratios, plain_logps, labels, z0)
        weight = row_weights(inputs, losses)
        return weighted_kto_loss(losses, weight, class_weight.to(losses.dtype))

    def _record(self, logratios: Tensor, plain_logps: Tensor, labels: Tensor, z0: Tensor) -> None:
        """TRL's names: rewards are token-weighted, ``logps/*`` plain sums over the completion."""
        rewards = self.beta * logratios
        for side, mask in (("chosen", labels), ("rejected", ~labels)):
            self.step_metrics.add(f"rewards/{side}", rewards, mask)
            self.step_metrics.add(f"logps/{side}", plain_logps, mask)
        self.step_metrics.add("kl", z0.reshape(1))

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        means = self.step_metrics.take(self.accelerator)
        if "rewards/chosen" in means and "rewards/rejected" in means:
            means["rewards/margins"] = means["rewards/chosen"] - means["rewards/rejected"]
        super().log(logs | means, start_time)
