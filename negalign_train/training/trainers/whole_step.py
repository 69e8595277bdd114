"""What the DPO and KTO trainers share: rows that come tokenised, and whole optimiser steps.

Trainer cuts a step into loader batches, and averages their losses. Here a step is cut by what its
examples cost, and every loss is divided by the examples of the whole step over all processes: it
does not depend on how they fall into micro-batches, processes or accumulation.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from datasets import Dataset
from peft import PeftModel
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase, Trainer, TrainerCallback, TrainingArguments

from negalign_train.training.distributed.shards import ExactInputs
from negalign_train.training.forward.tree import tree_size
from negalign_train.training.forward.tree_choice import Sharing
from negalign_train.training.objective.step_metrics import StepMetrics
from negalign_train.training.rows.steps import (
    IDLE,
    GlobalBatchSampler,
    MicroBatchLimits,
    RowLoader,
    Unit,
    plan_step,
)
from negalign_train.vocabulary.errors import TrainingError

MicroBatch = dict[str, Any]


def drop_reference_adapter(model: PeftModel) -> None:
    """Removes the frozen copy of the adapter that TRL makes in ``__init__`` (trl 1.16.0,
    trainer/dpo_trainer.py:689): the reference is a column here, and a copy would be saved too.
    """
    if "ref" in model.peft_config:
        model.delete_adapter("ref")


def _num_trunk_weights(model: PeftModel) -> int:
    """Weights of the base's layers, without embeddings and head."""
    trunk = model.get_base_model().base_model
    embedding: Tensor = trunk.get_input_embeddings().weight
    return sum(int(each.numel()) for each in trunk.parameters()) - int(embedding.numel())


def row_weights(inputs: Mapping[str, Tensor], like: Tensor) -> Tensor:
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


class WholeStepTrainer(ExactInputs, Trainer):
    """Base of the trainers on tokenised rows; stands before TRL's trainer among the bases.

    A subclass says what a row's texts are (``_texts``), makes a batch of rows (``_collate``), and
    computes its loss summed over rows and divided by the batch's ``num_examples``.
    """

    sharing: Sharing
    max_micro_batch_tokens: int | None

    def __init__(
        self,
        policy: PeftModel,
        config: TrainingArguments,
        rows: Sequence[Mapping[str, Any]],
        tokenizer: PreTrainedTokenizerBase,
        callbacks: Sequence[TrainerCallback] = (),
        sharing: Sharing | None = None,
    ) -> None:
        self.step_metrics = StepMetrics()
        self.sharing = sharing or Sharing()
        self.max_micro_batch_tokens = None
        assert isinstance(tokenizer.pad_token_id, int)
        self.pad_token_id = tokenizer.pad_token_id
        super().__init__(
            model=policy,
            args=config,
            data_collator=self._collate,
            train_dataset=Dataset.from_list(list(rows)),
            processing_class=tokenizer,
            callbacks=list(callbacks),
        )
        assert isinstance(self.model, PeftModel)
        drop_reference_adapter(self.model)
        self.num_trunk_weights = _num_trunk_weights(self.model)
        if self.aux_loss_enabled:  # type: ignore[attr-defined]  # TRL's trainers have it
            raise TrainingError(
                "this base is a mixture of experts with a load-balancing loss, which the weighted "
                "loss does not carry; set trainer.router_aux_loss_coef: 0.0"
            )

    def _prepare_dataset(self, dataset: Dataset, *_: Any) -> Dataset:
        """Rows come tokenised; TRL would tokenise text, and drop what is too long uncounted."""
        return dataset

    def _texts(self, row: Any) -> list[list[int]]:
        """The token ids of a row's prompt with each of its completions."""
        raise NotImplementedError

    def _collate(self, rows: Sequence[Any]) -> MicroBatch:
        """Rows to a batch that stands for a whole step."""
        raise NotImplementedError

    @property
    def _examples_per_loader_batch(self) -> int:
        return int(self.args.train_batch_size * self.args.world_size)

    def get_train_dataloader(self) -> RowLoader:
        dataset: Any = self.train_dataset
        order = self._get_train_sampler()
        assert order is not None
        sampler = GlobalBatchSampler(order, len(dataset), self._examples_per_loader_batch)
        return RowLoader(dataset, sampler, self.args.dataloader_num_workers)

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], None]:
        """One optimiser step: its micro-batches in the last turn, nothing in the turns before it.

        Trainer steps, and lets gradients be reduced, in the last turn (transformers 5.23.0,
        trainer.py:1873-1912).
        """
        loaded = [batch for _, batch in zip(range(num_batches), epoch_iterator, strict=False)]
        rows = [row for batch in loaded for row in batch]
        if not loaded:
            return [], None
        return [IDLE] * (len(loaded) - 1) + [self._micro_batches(rows)], None

    def _micro_batches(self, rows: Sequence[Any]) -> list[MicroBatch]:
        """This process's share of a step's rows, in micro-batches."""
        limits = MicroBatchLimits(self.args.train_batch_size, self.max_micro_batch_tokens)
        plan = plan_step(self._units(rows, limits), self.args.world_size, limits)
        batches = []
        for examples in plan[self.args.process_index]:
            # A process without examples left computes a row of weight 0: collectives need it.
            batch = self._collate([rows[index] for index in examples] or [rows[0]])
            present = torch.full((len(examples) or 1,), bool(examples))
            batches.append(batch | {"present": present, "num_examples": float(len(rows))})
        return batches

    def _units(self, rows: Sequence[Any], limits: MicroBatchLimits) -> list[Unit]:
        """Rows of one prompt together where they share; never more than a micro-batch may hold."""
        together: dict[Any, list[int]] = {}
        for index, row in enumerate(rows):
            key = tuple(row["prompt_ids"]) if self.sharing.trees else index
            together.setdefault(key, []).append(index)
        units = []
        for members in together.values():
            for start in range(0, len(members), limits.max_examples):
                part = tuple(members[start : start + limits.max_examples])
                texts = [text for index in part for text in self._texts(rows[index])]
                whole = tree_size(texts) if self.sharing.trees else sum(map(len, texts))
                units.append(Unit(part, whole))
        return units

    def training_step(
        self, model: nn.Module, inputs: Any, num_items_in_batch: Tensor | int | None = None
    ) -> Tensor:
        """Forward and backward of each micro-batch; gradients are reduced after the last alone.

        Returns the step's loss times the number of processes over this process's examples: Trainer
        averages it, as DDP and ZeRO do the gradients.
        """
        total = torch.zeros((), device=self.args.device)
        # The losses are of the whole step; Trainer would divide them by the number of turns.
        self.current_gradient_accumulation_steps = 1
        self._begin_step(model, inputs)
        for index, batch in enumerate(inputs):
            with self._reducing(model, last=index == len(inputs) - 1):
                total = total + super().training_step(model, batch, None)
        return total

    def _begin_step(self, model: nn.Module, batches: Sequence[MicroBatch]) -> None:
        """What a loss must know of the whole step before its first micro-batch."""

    @contextlib.contextmanager
    def _reducing(self, model: nn.Module, last: bool) -> Iterator[None]:
        """Inside, a backward reduces gradients over processes, and DeepSpeed steps, if ``last``."""
        if last:
            yield
            return
        state = self.accelerator.gradient_state
        synchronises = state.sync_gradients
        state._set_sync_gradients(False)
        try:
            with self.accelerator.no_sync(model):
                yield
        finally:
            state._set_sync_gradients(synchronises)

    def _share_of_step(self, inputs: Mapping[str, Any], rows: int) -> float:
        """What a mean over ``rows`` rows of this batch is multiplied by, to be this process's part
        of the mean over the step's examples; ``num_examples`` is absent where the batch is all.
        """
        if "num_examples" not in inputs:
            return 1.0
        return float(rows * self.args.world_size / inputs["num_examples"])

    def floating_point_ops(self, inputs: Any) -> int:
        """4 per trunk weight and computed token: a frozen weight has no gradient of its own."""
        tokens = sum(int(batch["input_ids"].numel()) for batch in inputs)
        return 4 * tokens * self.num_trunk_weights

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        super().log(logs | self.step_metrics.take(self.accelerator), start_time)
