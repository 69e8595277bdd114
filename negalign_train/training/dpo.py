"""Severity-weighted DPO, and SFT on the chosen texts as its control."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from datasets import Dataset
from peft import PeftModel
from torch import Tensor
from torch.utils.data import Sampler
from transformers import PreTrainedTokenizerBase, TrainerCallback
from trl import DPOConfig, DPOTrainer

from negalign_train.errors import TrainingError
from negalign_train.training.arguments import dpo_objective
from negalign_train.training.batches import (
    EpochSampler,
    PairRow,
    chosen_sequence,
    pad_sequences,
    rejected_sequence,
)
from negalign_train.training.head import IGNORED
from negalign_train.training.losses import (
    Completions,
    sft_losses,
    weighted_dpo_loss,
    weighted_logps,
)
from negalign_train.training.metrics import StepMetrics
from negalign_train.training.shards import ExactInputs


class PairCollator:
    """Rows to a batch: the chosen sequences first, then the rejected ones, as TRL stacks them."""

    def __init__(self, pad_token_id: int, chosen_only: bool = False) -> None:
        self.pad_token_id = pad_token_id
        self.chosen_only = chosen_only

    def __call__(self, rows: Sequence[PairRow]) -> dict[str, Tensor]:
        sequences = [chosen_sequence(row) for row in rows]
        if not self.chosen_only:
            sequences += [rejected_sequence(row) for row in rows]
        batch = pad_sequences(sequences, self.pad_token_id)
        batch["weight"] = torch.tensor([row["weight"] for row in rows], dtype=torch.float64)
        for key in ("ref_chosen_logps", "ref_rejected_logps"):
            if key in rows[0]:
                batch[key] = torch.tensor([row[key] for row in rows], dtype=torch.float64)
        return batch


def drop_reference_adapter(model: PeftModel) -> None:
    """Removes the frozen copy of the adapter that TRL makes in ``__init__`` (trl 1.16.0,
    trainer/dpo_trainer.py:689): the reference is a column here, and a copy would be saved too.
    """
    if "ref" in model.peft_config:
        model.delete_adapter("ref")


def row_weights(inputs: dict[str, Tensor], like: Tensor) -> Tensor:
    """The weight column in the loss's dtype.

    Raises:
        TrainingError: it did not reach the loss; a trainer that drops it trains unweighted in
            silence.
    """
    if "weight" not in inputs:
        raise TrainingError(
            "the weight column did not reach the loss; check the collator and the TRL version"
        )
    return inputs["weight"].to(like.dtype)


class WeightedDPOTrainer(ExactInputs, DPOTrainer):  # type: ignore[misc]  # TRL ships no types
    """Carries pair weights, token weights and reference columns to ``losses.py``.

    Follows trl 1.16.0, trainer/dpo_trainer.py:1285 (``_compute_loss``) with precomputed reference
    log-probabilities; tokenisation, collator and sampler are ours, since TRL's drop the weights.
    ``["sft"]`` as the only loss runs the chosen side alone and needs no reference.
    """

    def __init__(
        self,
        policy: PeftModel,
        config: DPOConfig,
        rows: Sequence[PairRow],
        tokenizer: PreTrainedTokenizerBase,
        callbacks: Sequence[TrainerCallback] = (),
    ) -> None:
        self.objective = dpo_objective(config)
        self.step_metrics = StepMetrics()
        chosen_only = self.objective.loss_types == ("sft",)
        assert isinstance(tokenizer.pad_token_id, int)
        super().__init__(
            model=policy,
            args=config,
            data_collator=PairCollator(tokenizer.pad_token_id, chosen_only),
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
        """Rows come tokenised; TRL would tokenise text, and drop what is too long uncounted."""
        return dataset

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> Sampler[int]:
        dataset = self.train_dataset if train_dataset is None else train_dataset
        by_length = self.args.train_sampling_strategy == "group_by_length"
        batch_size = self.args.train_batch_size * self.args.gradient_accumulation_steps
        lengths = list(dataset["length"]) if by_length else None
        return EpochSampler(len(dataset), batch_size, self.args.seed, lengths)

    def _compute_loss(
        self, model: torch.nn.Module, inputs: dict[str, Tensor], return_outputs: bool
    ) -> Tensor:
        assert not return_outputs, "evaluation runs outside the trainer"
        labels = inputs["completion_labels"]
        token_logps = model(input_ids=inputs["input_ids"], completion_labels=labels)
        weight = row_weights(inputs, token_logps)
        sft = None
        if "sft" in self.objective.loss_types:
            pairs = len(weight)
            sft = sft_losses(token_logps[:pairs], labels[:pairs, 1:] != IGNORED)
            if self.objective.loss_types == ("sft",):
                self.step_metrics.add("logps/chosen", token_logps.sum(dim=1))
                return (self.objective.loss_weights[0] * weight * sft).mean()
        token_weights = inputs["token_weights"].to(token_logps.dtype)
        chosen_logps, rejected_logps = weighted_logps(token_logps, token_weights).chunk(2)
        chosen_lengths, rejected_lengths = token_weights.sum(dim=1).chunk(2)
        chosen = Completions(
            chosen_logps - inputs["ref_chosen_logps"].to(chosen_logps.dtype), chosen_lengths
        )
        rejected = Completions(
            rejected_logps - inputs["ref_rejected_logps"].to(rejected_logps.dtype), rejected_lengths
        )
        self._record(chosen, rejected, token_logps)
        return weighted_dpo_loss(chosen, rejected, weight, self.objective, sft)

    def _record(self, chosen: Completions, rejected: Completions, token_logps: Tensor) -> None:
        """TRL's names: rewards are token-weighted, ``logps/*`` plain sums over the completion."""
        chosen_rewards = self.objective.beta * chosen.logratios
        rejected_rewards = self.objective.beta * rejected.logratios
        chosen_logps, rejected_logps = token_logps.sum(dim=1).chunk(2)
        self.step_metrics.add("rewards/chosen", chosen_rewards)
        self.step_metrics.add("rewards/rejected", rejected_rewards)
        self.step_metrics.add("rewards/margins", chosen_rewards - rejected_rewards)
        self.step_metrics.add("rewards/accuracies", chosen_rewards > rejected_rewards)
        self.step_metrics.add("logps/chosen", chosen_logps)
        self.step_metrics.add("logps/rejected", rejected_logps)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        super().log(logs | self.step_metrics.take(self.accelerator), start_time)
