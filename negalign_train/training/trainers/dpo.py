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

from negalign_train.training.forward.packing import completion_logps, model_inputs, pack
from negalign_train.training.forward.tree_choice import Sharing
from negalign_train.training.objective.losses import (
    PENALISED_LOSS_TYPES,
    Completions,
    DPOObjective,
    sft_losses,
    weighted_dpo_loss,
)
from negalign_train.training.objective.step_metrics import CHOSEN_DRIFT
from negalign_train.training.rows.batches import (
    EpochSampler,
    PairRow,
    chosen_sequence,
    rejected_sequence,
    suffix_of,
    unweighted,
)
from negalign_train.training.settings.arguments import dpo_objective
from negalign_train.training.trainers.whole_step import MicroBatch, WholeStepTrainer, row_weights


def cancels_common_prefix(objective: DPOObjective) -> bool:
    """True if the completion tokens that chosen and rejected have in common fall out of the loss.

    Up to the first difference both sides have the same context, hence the same log-probabilities
    and weights: in a loss of the margin they cancel, for policy and reference alike. They do not
    where a side stands alone (``sft``, DPOP's penalty) or is divided by its own length (``ipo``,
    ``sigmoid_norm``).
    """
    summed = set(objective.loss_types) <= set(PENALISED_LOSS_TYPES)
    return summed and objective.settings.dpop_lambda is None


class PairCollator:
    """Rows to a packed batch: the chosen completions first, then the rejected ones.

    ``suffix_only`` leaves the common beginning of a pair out of the score, and takes the reference
    of the same tokens; else the unweighted completions follow, for ``logps/*`` and the SFT term.
    """

    def __init__(self, pad_token_id: int, sharing: Sharing, chosen_only: bool = False) -> None:
        self.pad_token_id = pad_token_id
        self.sharing = sharing
        self.chosen_only = chosen_only

    def __call__(self, rows: Sequence[PairRow], suffix_only: bool) -> MicroBatch:
        chosen = [chosen_sequence(row) for row in rows]
        rejected = [] if self.chosen_only else [rejected_sequence(row) for row in rows]
        lengths = [sum(each.token_weights) for each in (*chosen, *rejected)]
        if suffix_only:
            shared = [row["shared"] for row in rows]
            chosen, rejected = (
                [suffix_of(*each) for each in zip(side, shared, strict=True)]
                for side in (chosen, rejected)
            )
            sequences = chosen + rejected
        else:
            sequences = [*chosen, *rejected, *map(unweighted, (*chosen, *rejected))]
        batch: MicroBatch = pack(sequences, self.pad_token_id, self.sharing.trees)
        batch["lengths"] = torch.tensor(lengths, dtype=torch.float64)
        batch["weight"] = torch.tensor([row["weight"] for row in rows], dtype=torch.float64)
        if "delta_S" in rows[0]:
            delta_S = [row["delta_S"] for row in rows]
            batch["delta_S"] = torch.tensor(delta_S, dtype=torch.float64)
        batch["suffix_only"] = suffix_only
        suffix = "_suffix" if suffix_only else ""
        for side in ("chosen", "rejected"):
            column = f"ref_{side}{suffix}_logps"
            if column in rows[0]:
                values = [row[column] for row in rows]  # type: ignore[literal-required]
                batch[f"ref_{side}_logps"] = torch.tensor(values, dtype=torch.float64)
        return batch


class WeightedDPOTrainer(WholeStepTrainer, DPOTrainer):  # type: ignore[misc]  # TRL ships no types
    """Carries pair weights, token weights and reference columns to ``losses.py``.

    Follows trl 1.16.0, trainer/dpo_trainer.py:1285 (``_compute_loss``) with precomputed reference
    log-probabilities; tokenisation, collator and sampler are ours, since TRL's drop the weights.
    ``["sft"]`` as the only loss runs the chosen side alone and needs no reference.
    """

    objective: DPOObjective

    def __init__(
        self,
        policy: PeftModel,
        config: DPOConfig,
        rows: Sequence[PairRow],
        tokenizer: PreTrainedTokenizerBase,
        callbacks: Sequence[TrainerCallback] = (),
        sharing: Sharing | None = None,
    ) -> None:
        sharing = sharing or Sharing()
        self.objective = dpo_objective(config)
        self.chosen_only = self.objective.loss_types == ("sft",)
        self.cancels = sharing.trees and cancels_common_prefix(self.objective)
        self.mean_chosen_tokens = _mean_chosen_tokens(rows)
        assert isinstance(tokenizer.pad_token_id, int)
        self.collate_pairs = PairCollator(tokenizer.pad_token_id, sharing, self.chosen_only)
        super().__init__(policy, config, rows, tokenizer, callbacks, sharing)

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> Sampler[int]:
        dataset: Any = self.train_dataset if train_dataset is None else train_dataset
        by_length = self.args.train_sampling_strategy == "group_by_length"
        batch_size = self._examples_per_loader_batch * self.args.gradient_accumulation_steps
        lengths = list(dataset["length"]) if by_length else None
        return EpochSampler(len(dataset), batch_size, self.args.seed, lengths)

    def _texts(self, row: PairRow) -> list[list[int]]:
        sides = [row["chosen_ids"]] + ([] if self.chosen_only else [row["rejected_ids"]])
        return [row["prompt_ids"] + side for side in sides]

    def _collate(self, rows: Sequence[PairRow]) -> MicroBatch:
        """Suffixes alone where the rest cancels; in steps that are logged, whole completions all
        the same, for ``rewards/chosen`` and ``logps/*`` to be those of the whole text.
        """
        return self.collate_pairs(rows, self.cancels and not self._is_logged())

    def _is_logged(self) -> bool:
        step = self.state.global_step
        return step == 0 or (step + 1) % self.state.logging_steps == 0

    def _compute_loss(
        self, model: torch.nn.Module, inputs: MicroBatch, return_outputs: bool
    ) -> Tensor:
        assert not return_outputs, "evaluation runs outside the trainer"
        logps = completion_logps(model(**model_inputs(inputs)), inputs)
        weight = row_weights(inputs, logps)
        pairs = len(weight)
        if "present" in inputs:
            weight = weight * inputs["present"]
        share = self._share_of_step(inputs, pairs)
        if self.chosen_only:
            self.step_metrics.add("logps/chosen", logps[pairs:], inputs.get("present"))
            losses = sft_losses(logps[pairs:], self.mean_chosen_tokens)
            return share * self.objective.loss_weights[0] * (weight * losses).mean()
        lengths = inputs["lengths"].to(logps.dtype)
        chosen = Completions(
            logps[:pairs] - inputs["ref_chosen_logps"].to(logps.dtype), lengths[:pairs]
        )
        rejected = Completions(
            logps[pairs : 2 * pairs] - inputs["ref_rejected_logps"].to(logps.dtype), lengths[pairs:]
        )
        plain = None if inputs["suffix_only"] else logps[2 * pairs :]
        self._record(chosen, rejected, plain, inputs.get("present"))
        sft = None if plain is None else sft_losses(plain[:pairs], self.mean_chosen_tokens)
        return share * weighted_dpo_loss(
            chosen, rejected, weight, self.objective, sft, inputs.get("delta_S")
        )

    def _record(
        self,
        chosen: Completions,
        rejected: Completions,
        plain_logps: Tensor | None,
        present: Tensor | None,
    ) -> None:
        """TRL's names: rewards are token-weighted, ``logps/*`` plain sums over the completion.

        Of suffixes only the margin is known; the rest is of the steps that are logged.
        """
        chosen_rewards = self.objective.beta * chosen.logratios
        rejected_rewards = self.objective.beta * rejected.logratios
        measured: dict[str, Tensor] = {
            "rewards/margins": chosen_rewards - rejected_rewards,
            "rewards/accuracies": chosen_rewards > rejected_rewards,
        }
        if plain_logps is not None:
            chosen_logps, rejected_logps = plain_logps.chunk(2)
            measured |= {
                "rewards/chosen": chosen_rewards,
                "rewards/rejected": rejected_rewards,
                "logps/chosen": chosen_logps,
                CHOSEN_DRIFT: chosen.logratios / chosen.lengths.clamp(min=1),
                "logps/rejected": rejected_logps,
            }
        for name, values in measured.items():
            self.step_metrics.add(name, values, present)


def _mean_chosen_tokens(rows: Sequence[Any]) -> float:
    """Mean tokens of a chosen completion over the dataset, each pair counted by its weight.

    The SFT term is divided by it: with equal weights its mean is TRL's mean over the tokens of the
    dataset, and it depends neither on the batch a pair falls into nor on whether the pair weighs 2
    or stands there twice.
    """
    total = sum(row["weight"] for row in rows)
    tokens = sum(row["weight"] * len(row["chosen_ids"]) for row in rows)
    return max(tokens / total, 1.0) if total > 0 else 1.0
