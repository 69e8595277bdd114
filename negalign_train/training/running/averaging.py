"""The average of an adapter over optimiser steps, of its product and not of its factors.

What an adapter adds to a weight is ``s B A``. The mean of products is not the product of means:
``mean(B_t A_t) - mean(B_t) mean(A_t)`` is the covariance of the factors over the steps, and since
``B A = (B Q)(Q^-1 A)`` for every invertible Q, averaged factors even depend on which of many equal
adapters training happened to walk through. So the average is kept of ``s B A`` itself, as a product
of longer factors (``low_rank.py``), and cut back to the adapter's rank once, at the end.

Averaging in parameter space keeps safety at equal utility (Kim et al. 2025, arXiv 2508.12531);
``ema = decay ema + (1 - decay) theta``, from the run's own start: the parent, or zero.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import broadcast
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.integrations.deepspeed import is_deepspeed_zero3_enabled

from negalign_train.recipe.candidate import AveragingSettings
from negalign_train.storage.workspace import replacing
from negalign_train.training.policy.loading import POLICY_ADAPTER
from negalign_train.training.running.low_rank import ProductAverage, Refactored, refactored
from negalign_train.vocabulary.errors import TrainingError

STATE_FILE = "averaging.safetensors"
DISCARDED = "averaging/discarded_energy"
"""Share of the averages' squared norm that rank r cannot hold; an upper bound."""

_KEPT_RANKS = 8
"""The running average keeps this many times the adapter's rank, and up to twice that between
cuts. A layer no wider than that loses nothing.
"""


class AdapterAverage(TrainerCallback):
    """Keeps the average, saves it in every checkpoint, and writes it into the policy at the end.

    The first process keeps it: under DDP and ZeRO-2 every process holds the same adapter.
    """

    def __init__(self, settings: AveragingSettings) -> None:
        self.decay = settings.decay
        self.averages: dict[str, ProductAverage] = {}

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: Any = None,
        **_: Any,
    ) -> None:
        """Starts from the policy as it is, or from the checkpoint the run goes on from.

        Raises:
            TrainingError: parameters are sharded, or the checkpoint holds no average.
        """
        if is_deepspeed_zero3_enabled():  # type: ignore[no-untyped-call]
            raise TrainingError(
                "averaging reads whole adapter tensors, which ZeRO-3 shards; use zero2, or leave "
                "averaging out of the candidate"
            )
        if not state.is_world_process_zero:
            return
        layers = dict(lora_layers(model))
        if state.global_step == 0:
            self.averages = {name: _start(layer) for name, layer in layers.items()}
            return
        path = checkpoint_dir(args, state) / STATE_FILE
        if not path.is_file():
            raise TrainingError(
                f"{path} is missing, the average cannot go on; delete {path.parent} to go on from "
                "the checkpoint before it"
            )
        device = next(iter(layers.values())).lora_A[POLICY_ADAPTER].weight.device
        self.averages = read_averages(path, device)

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: Any = None,
        **_: Any,
    ) -> None:
        if not state.is_world_process_zero:
            return
        for name, layer in lora_layers(model):
            average = self.averages[name].updated(product(layer), self.decay)
            kept = _KEPT_RANKS * layer.r[POLICY_ADAPTER]
            if average.left.shape[1] > 2 * kept:
                average = average.compressed(kept)
            self.averages[name] = average

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        if state.is_world_process_zero:
            write_averages(checkpoint_dir(args, state) / STATE_FILE, self.averages)

    def on_train_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: Any = None,
        **_: Any,
    ) -> None:
        """The average becomes the policy, on every process; what rank r lost is logged."""
        lost: list[Refactored] = []
        for name, layer in lora_layers(model):
            if state.is_world_process_zero:
                lost.append(_write_back(self.averages[name], layer))
            if PartialState().num_processes > 1:
                for factor in factors(layer):
                    factor.data.copy_(broadcast(factor.data, from_process=0))
        if lost:
            energy = sum(each.energy for each in lost)
            share = sum(each.discarded for each in lost) / energy if energy else 0.0
            state.log_history.append({DISCARDED: share, "step": state.global_step})


def lora_layers(model: PeftModel) -> Iterator[tuple[str, LoraLayer]]:
    """The layers that carry the policy's adapter, by name."""
    for name, module in model.named_modules():
        if isinstance(module, LoraLayer) and POLICY_ADAPTER in module.lora_A:
            yield name, module


def factors(layer: LoraLayer) -> tuple[Tensor, Tensor]:
    """The policy's B (out, r) and A (r, in)."""
    return layer.lora_B[POLICY_ADAPTER].weight, layer.lora_A[POLICY_ADAPTER].weight


def product(layer: LoraLayer) -> tuple[Tensor, Tensor]:
    """``s B`` and ``A``: two factors of what the adapter adds to the layer's weight, copies."""
    b, a = factors(layer)
    return layer.scaling[POLICY_ADAPTER] * b.detach(), a.detach().clone()


def _start(layer: LoraLayer) -> ProductAverage:
    left, right = product(layer)
    return ProductAverage(left.float(), right.float())


def _write_back(average: ProductAverage, layer: LoraLayer) -> Refactored:
    b, a = factors(layer)
    scale, rank = layer.scaling[POLICY_ADAPTER], layer.r[POLICY_ADAPTER]
    nearest = refactored(average, rank, scale, float(a.detach().norm()))
    with torch.no_grad():
        b.copy_(nearest.b)
        a.copy_(nearest.a)
    return nearest


def checkpoint_dir(args: TrainingArguments, state: TrainerState) -> Path:
    """Where Trainer keeps the state of the step it is at."""
    assert args.output_dir is not None
    return Path(args.output_dir) / f"checkpoint-{state.global_step}"


def write_averages(path: Path, averages: dict[str, ProductAverage]) -> None:
    tensors = {f"{name}/left": each.left.cpu().contiguous() for name, each in averages.items()}
    tensors |= {f"{name}/right": each.right.cpu().contiguous() for name, each in averages.items()}
    errors = json.dumps({name: each.error for name, each in averages.items()})
    with replacing(path) as temporary:
        save_file(tensors, temporary, metadata={"errors": errors})


def read_averages(path: Path, device: torch.device) -> dict[str, ProductAverage]:
    with safe_open(path, framework="pt", device=str(device)) as stream:
        errors: dict[str, float] = json.loads(stream.metadata()["errors"])
        return {
            name: ProductAverage(
                stream.get_tensor(f"{name}/left"), stream.get_tensor(f"{name}/right"), error
            )
            for name, error in errors.items()
        }
