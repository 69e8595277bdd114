"""What DeepSpeed changes: parameters in pieces, inputs cast, weights kept in a second precision.

ZeRO-3 leaves every rank an empty tensor where a parameter was, and fills it only inside the forward
of an engine, which exists while Trainer trains. The reference is scored before that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from peft import PeftModel
from torch import Tensor, nn
from transformers.integrations import deepspeed as hf_deepspeed
from transformers.integrations.deepspeed import (
    is_deepspeed_zero3_enabled,
    set_hf_deepspeed_config,
    unset_hf_deepspeed_config,
)

Item = TypeVar("Item")


def base_is_sharded() -> bool:
    """True in a process launched with ZeRO-3, once its TrainingArguments exist."""
    return bool(is_deepspeed_zero3_enabled())  # type: ignore[no-untyped-call]


@contextmanager
def loaded_whole() -> Iterator[None]:
    """Inside, models are loaded whole in every process, under ZeRO-3 too: a model that nobody
    trains has no engine that would put its pieces together.
    """
    config = _hf_deepspeed_config()
    unset_hf_deepspeed_config()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        if config is not None:
            set_hf_deepspeed_config(config)  # type: ignore[no-untyped-call]


def _hf_deepspeed_config() -> Any:
    """What transformers 5.23 looks at when it loads a model (integrations/deepspeed.py)."""
    reference = hf_deepspeed._hf_deepspeed_config_weak_ref
    return None if reference is None else reference()


def is_shard(parameter: Tensor) -> bool:
    """True for a parameter that ZeRO-3 has taken apart."""
    return hasattr(parameter, "ds_id")


def even_share(items: Sequence[Item], process: int, processes: int) -> list[Item]:
    """This process's items; all have as many, the last item more than once where they must.

    Under ZeRO-3 every process takes part in every forward: one that ran out would leave the others
    waiting for its shards.
    """
    rounds = -(-len(items) // processes)
    places = (turn * processes + process for turn in range(rounds))
    return [items[min(place, len(items) - 1)] for place in places]


@contextmanager
def forwards_on_shards(policy: PeftModel) -> Iterator[None]:
    """Inside, all ranks together can call ``policy`` though ZeRO-3 has taken its base apart.

    Each module gathers its own parameters before it runs and releases them after, so that one
    layer's weights are whole at a time. Without sharded parameters it does nothing. Adapters are
    whole until Trainer builds its engine, and stay as they are.
    """
    hooks = []
    for module in policy.modules():
        pieces = [p for p in module.parameters(recurse=False) if is_shard(p)]
        if pieces:
            hooks.append(module.register_forward_pre_hook(_gather(pieces)))
            hooks.append(module.register_forward_hook(_partition(pieces), always_call=True))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _gather(pieces: list[nn.Parameter]) -> Any:
    def hook(module: nn.Module, inputs: Any) -> None:
        pieces[0].all_gather(param_list=pieces)  # type: ignore[attr-defined]  # DeepSpeed's

    return hook


def _partition(pieces: list[nn.Parameter]) -> Any:
    def hook(module: nn.Module, inputs: Any, output: Any) -> None:
        pieces[0].partition(param_list=pieces)  # type: ignore[attr-defined]  # DeepSpeed's

    return hook


def whole_adapter(policy: PeftModel, adapter: str) -> Mapping[str, Tensor]:
    """The adapter's parameters by their names in ``policy``, whole, on the CPU, never in half
    precision.

    Under DeepSpeed they come from the float32 copies that its optimiser steps: the model's own are
    rounded to the compute dtype, and in pieces under ZeRO-3. All ranks must call it together.
    """
    named = ((n, p) for n, p in policy.named_parameters() if f".{adapter}." in n)
    return {name: _whole(parameter).cpu().contiguous() for name, parameter in named}


def _whole(parameter: nn.Parameter) -> Tensor:
    if not is_shard(parameter) and not hasattr(parameter, "_hp_mapping"):
        halved = parameter.dtype in (torch.bfloat16, torch.float16)
        return parameter.detach().float() if halved else parameter.detach()
    from deepspeed.utils import safe_get_full_fp32_param  # noqa: PLC0415  # an optional extra

    full: Tensor | None = safe_get_full_fp32_param(parameter)
    assert full is not None, "a trained parameter has a float32 copy"
    # A weight written since the last step (an average put in at the end) is in the model alone.
    written = not is_shard(parameter) and not full.to(parameter.dtype).equal(parameter.detach())
    return parameter.detach().float() if written else full.detach()


class ExactInputs:
    """Trainer mixin: batches keep their dtypes on the way to the device.

    Under DeepSpeed, Trainer casts every float of a batch to the compute dtype (transformers 5.23.0,
    trainer.py:2371). In bfloat16 that would round a reference log-probability of -153.3 nats to
    -153, and weights with it.
    """

    def _prepare_input(self, data: Any) -> Any:
        if isinstance(data, Mapping):
            return {key: self._prepare_input(value) for key, value in data.items()}
        if isinstance(data, (list, tuple)):
            return type(data)(self._prepare_input(value) for value in data)
        if isinstance(data, Tensor):
            device: torch.device = self.args.device  # type: ignore[attr-defined]  # Trainer's
            return data.to(device)
        return data
