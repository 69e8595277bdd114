"""The arms of the training benchmark: TRL three ways, and ours without and with prefix trees.

Every arm trains the same LoRA on the same random base with the same rows in the same batches, one
optimiser step per batch, through its own trainer's collator and ``training_step``.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import torch
import trl.trainer.utils
from datasets import Dataset
from peft import PeftModel, get_peft_model
from trl import DPOConfig, DPOTrainer, GRPOConfig, GRPOTrainer, KTOConfig, KTOTrainer

from benchmarks.training_shapes import Workload
from benchmarks.training_workloads import (
    PAD,
    lora_config,
    make_model,
    make_tokenizer,
    pair_rows,
    rollout_sequences,
    unpaired_rows,
)
from negalign_train.training.forward.head import add_completion_head
from negalign_train.training.forward.lora_forward import add_updates_in_place
from negalign_train.training.forward.tree_choice import Sharing, plain
from negalign_train.training.reference.logps import score_pairs, score_unpaired
from negalign_train.training.trainers.dpo import WeightedDPOTrainer
from negalign_train.training.trainers.grpo import TreeGRPOTrainer
from negalign_train.training.trainers.kto import WeightedKTOTrainer
from negalign_train.training.trainers.whole_step import WholeStepTrainer, drop_reference_adapter

_SHARING = {"plain": plain("the benchmark's arm"), "ours": Sharing()}


class _StockDPO(DPOTrainer):  # type: ignore[misc]  # TRL ships no types
    def _prepare_dataset(self, dataset: Dataset, *_: Any) -> Dataset:
        return dataset


class _StockKTO(KTOTrainer):  # type: ignore[misc]  # TRL ships no types
    def _prepare_dataset(self, dataset: Dataset, *_: Any) -> Dataset:
        return dataset


class _FrozenRollouts:
    """GRPO without its generation: batches come with their completions and advantages."""

    def _prepare_inputs(self, inputs: dict[str, Any]) -> dict[str, Any]:
        return inputs


class _StockGRPO(_FrozenRollouts, GRPOTrainer):  # type: ignore[misc]  # TRL ships no types
    pass


class _TreeGRPO(_FrozenRollouts, TreeGRPOTrainer):
    pass


@dataclass
class Arm:
    """A trainer and the inputs of its steps; ``patched``: only completion rows reach TRL's head."""

    trainer: Any
    model: Any
    optimizer: Any
    rows: Sequence[Any]
    examples: int
    patched: bool

    def inputs(self, step: int) -> Any:
        """A step's batch as the trainer's own loop would collate it."""
        start = step * self.examples % len(self.rows)
        rows = list(self.rows[start : start + self.examples])
        if isinstance(self.trainer, _FrozenRollouts):
            return _rollout_batch(rows, device_of(self.trainer))
        if isinstance(self.trainer, WholeStepTrainer):
            return self.trainer._micro_batches(rows)
        return self.trainer.data_collator(rows)

    def step(self, index: int) -> float:
        """One optimiser step; returns its loss, which waits for the device."""
        with head_on_completions(self.patched):
            loss = self.trainer.training_step(self.model, self.inputs(index), None)
        self.trainer.accelerator.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.model.zero_grad()
        return float(loss)

    def loss_and_gradients(self) -> tuple[float, dict[str, torch.Tensor]]:
        """Of the first batch."""
        self.model.zero_grad()
        with head_on_completions(self.patched):
            loss = self.trainer.training_step(self.model, self.inputs(0), None)
        gradients = {
            name.removeprefix("module."): parameter.grad.detach().clone()
            for name, parameter in self.model.named_parameters()
            if parameter.grad is not None
        }
        self.model.zero_grad()
        return float(loss), gradients


def device_of(trainer: Any) -> torch.device:
    device: torch.device = trainer.args.device
    return device


@contextlib.contextmanager
def head_on_completions(patched: bool) -> Iterator[None]:
    """Inside, TRL's head gathers completion rows as it does on a GPU (trl 1.16.0,
    trainer/utils.py:1642), with its own CPU tiles.
    """
    if not patched:
        yield
        return
    with patch.object(trl.trainer.utils, "_use_triton", lambda device: True):
        yield


def build_arm(workload: Workload, name: str, steps: int) -> Arm:
    """The arm's trainer with its reference scored, and an adapter away from it."""
    dtype = getattr(torch, workload.dtype)
    base = make_model(workload.shape, dtype)
    rows = _rows(workload, steps)
    torch.manual_seed(1)
    if name in _SHARING:
        trainer = _ours(workload, base, rows, _SHARING[name])
    else:
        trainer = _stock(workload, base, rows, default=name == "trl_default")
    if workload.method != "grpo":
        rows = trainer.train_dataset.to_list()
    _perturb(trainer.model)
    trainer.current_gradient_accumulation_steps = 1
    # A step that is not logged: TRL's best arm logs every 50 steps or fewer, ours likewise.
    trainer.state.global_step = 1
    optimizer = trainer.create_optimizer()
    model = trainer.accelerator.prepare_model(trainer.model)
    return Arm(trainer, model, optimizer, rows, workload.examples, name == "trl_patched")


def _rows(workload: Workload, steps: int) -> Any:
    if workload.method == "grpo":
        return rollout_sequences(workload, steps)
    return (pair_rows if workload.method == "dpo" else unpaired_rows)(workload, steps)


def _keys(workload: Workload, default: bool) -> dict[str, Any]:
    """Trainer settings: TRL's defaults, or the best ones (docs/performance.md says why)."""
    cuda = torch.cuda.is_available()
    keys: dict[str, Any] = {
        "output_dir": tempfile.mkdtemp(),
        "per_device_train_batch_size": workload.examples,
        "report_to": "none",
        "save_strategy": "no",
        "disable_tqdm": True,
        "use_cpu": not cuda,
        "bf16": workload.dtype == "bfloat16",
        "remove_unused_columns": False,
        "beta": 0.1,
        "learning_rate": 1e-5,
        "gradient_checkpointing": default,
    }
    if workload.method == "grpo":
        keys |= {"num_generations": workload.group, "max_completion_length": workload.suffix}
    else:
        keys["max_length"] = None
    keys = _without_old_names(keys)
    if default:
        return keys
    keys |= {"logging_steps": 50, "optim": "adamw_torch_fused"}
    if workload.method != "grpo":
        keys |= {
            "precompute_ref_log_probs": True,
            "precompute_ref_batch_size": 4 * workload.examples,
        }
    return keys


def _without_old_names(keys: dict[str, Any]) -> dict[str, Any]:
    """transformers from 5.20 on warns at ``gradient_checkpointing``."""
    if "activation_checkpointing" in DPOConfig.__dataclass_fields__:
        keys["activation_checkpointing"] = keys.pop("gradient_checkpointing")
    return keys


def _stock(workload: Workload, base: Any, rows: Sequence[Any], default: bool) -> Any:
    keys, tokenizer = _keys(workload, default), make_tokenizer()
    if workload.method == "grpo":
        return _grpo(_StockGRPO, keys, get_peft_model(base, lora_config()))
    text = ("prompt_ids", "chosen_ids", "rejected_ids")
    if workload.method == "kto":
        text = ("prompt_ids", "completion_ids", "KL_completion_ids", "label")  # type: ignore[assignment]
    dataset = Dataset.from_list([{name: row[name] for name in text} for row in rows])
    trainer, config = (_StockDPO, DPOConfig) if workload.method == "dpo" else (_StockKTO, KTOConfig)
    return trainer(
        base, args=config(**keys), train_dataset=dataset, processing_class=tokenizer,
        peft_config=lora_config(),
    )  # fmt: skip


def _ours(workload: Workload, base: Any, rows: list[Any], sharing: Sharing) -> Any:
    keys, tokenizer = _keys(workload, default=False), make_tokenizer()
    for key in ("precompute_ref_log_probs", "precompute_ref_batch_size"):
        keys.pop(key, None)
    policy = get_peft_model(base, lora_config())
    add_completion_head(policy.get_base_model())
    add_updates_in_place(policy)
    if workload.method == "grpo":
        trainer = _grpo(_TreeGRPO, keys, policy)
        trainer.sharing = sharing
        return trainer
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    policy.to(device)
    with policy.disable_adapter():
        if workload.method == "kto":
            score_unpaired(policy, rows, 4 * workload.examples, PAD, sharing)
            return WeightedKTOTrainer(policy, KTOConfig(**keys), rows, tokenizer, (), sharing)
        score_pairs(policy, rows, 4 * workload.examples, PAD, sharing)
        return WeightedDPOTrainer(policy, DPOConfig(**keys), rows, tokenizer, (), sharing)


def _grpo(trainer: Any, keys: dict[str, Any], policy: PeftModel) -> Any:
    def no_reward(completions: Any, **_: Any) -> list[float]:
        return [0.0] * len(completions)

    built = trainer(
        policy, reward_funcs=no_reward, args=GRPOConfig(**keys),
        train_dataset=Dataset.from_list([{"prompt": "a"}] * 8), processing_class=make_tokenizer(),
    )  # fmt: skip
    drop_reference_adapter(built.model)
    return built


def _rollout_batch(rows: Sequence[Any], device: torch.device) -> dict[str, Any]:
    """What GRPO's generation leaves for the update."""
    completions = torch.tensor([row.completion_ids for row in rows])
    prompts = torch.tensor([row.prompt_ids for row in rows])
    generator = torch.Generator().manual_seed(len(rows))
    batch = {
        "prompt_ids": prompts,
        "prompt_mask": torch.ones_like(prompts),
        "completion_ids": completions,
        "completion_mask": torch.ones_like(completions),
        "advantages": torch.randn(len(rows), generator=generator),
        "num_items_in_batch": torch.tensor(completions.numel()),
        "ref_per_token_logps": torch.full(completions.shape, -10.0),
    }
    return {name: value.to(device) for name, value in batch.items()}


def _perturb(model: Any) -> None:
    """The same adapter in every arm, away from the reference."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            if parameter.requires_grad and ".default." in name:
                noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
                parameter.copy_(0.02 * noise)
