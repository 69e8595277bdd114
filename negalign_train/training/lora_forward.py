"""LoRA's forward with the update added in place.

PEFT computes ``W x + (B A x) * s`` in three tensors as wide as the layer's output, and multiplies
by s once more in the backward (peft 0.21.2, tuners/lora/layer.py, ``Linear.forward``). One
``addmm`` into ``W x`` does the same sum; in the backward s is applied to the r columns between A
and B.
"""

from __future__ import annotations

import functools
import types
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.lora.layer import Linear
from torch import Tensor, nn

from negalign_train.training.shards import is_shard


def add_updates_in_place(policy: PeftModel) -> None:
    """Gives plain LoRA layers of ``policy`` the shorter forward; all others keep PEFT's.

    Whatever differs from one adapter on a dense layer of one dtype (adapters off, merged or
    several, dropout, DoRA, 4-bit layers, ZeRO-3's pieces, autocast) is left to PEFT at every call.
    """
    for module in policy.modules():
        if type(module) is Linear and type(module.base_layer) is nn.Linear:
            module.forward = types.MethodType(_forward, module)


@functools.wraps(Linear.forward)
def _forward(self: Linear, x: Tensor, *args: Any, **kwargs: Any) -> Any:
    if args or kwargs or not _is_plain(self, x):
        return Linear.forward(self, x, *args, **kwargs)
    name = self.active_adapters[0]
    result: Tensor = self.base_layer(x)
    hidden: Tensor = self.lora_A[name](x)
    update = self.lora_B[name].weight.t()
    flat = result.view(-1, result.shape[-1])
    flat.addmm_(hidden.view(-1, hidden.shape[-1]), update, alpha=self.scaling[name])
    return result


def _is_plain(layer: Any, x: Tensor) -> bool:
    """Whether ``W x + s B A x`` in one dtype is all that PEFT would compute for ``x``."""
    if layer.disable_adapters or layer.merged or len(layer.active_adapters) != 1:
        return False
    name = layer.active_adapters[0]
    if name not in layer.lora_A or name in layer.lora_variant:
        return False
    down, up = layer.lora_A[name], layer.lora_B[name]
    return (
        isinstance(layer.lora_dropout[name], nn.Identity)
        and up.bias is None
        and x.is_contiguous()
        and x.dtype == layer.base_layer.weight.dtype == down.weight.dtype == up.weight.dtype
        and not is_shard(up.weight)
        and not torch.is_autocast_enabled(x.device.type)
    )
