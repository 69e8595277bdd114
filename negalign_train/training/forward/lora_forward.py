"""LoRA layers as one node of the graph.

PEFT computes ``W x + (B A x) * s`` as four operations (peft 0.21.2, tuners/lora/layer.py,
``Linear.forward``), each with a backward of its own: two more tensors as wide as the output, one
more as wide as the input, and s applied to the widest of them. Here the update is added into
``W x``, in the backward into ``W^T dy``, and s is applied to the r columns between A and B.
"""

from __future__ import annotations

import functools
import types
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.lora.layer import Linear
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from negalign_train.training.distributed.shards import is_shard


def add_updates_in_place(policy: PeftModel) -> None:
    """Gives plain LoRA layers of ``policy`` the shorter forward; all others keep PEFT's.

    Whatever differs from one adapter on a frozen dense layer of one dtype (adapters off, merged or
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
    base = (self.base_layer.weight, self.base_layer.bias)
    down, up = self.lora_A[name].weight, self.lora_B[name].weight
    return _Update.apply(x, base, down, up, self.scaling[name])  # type: ignore[no-untyped-call]


def _is_plain(layer: Any, x: Tensor) -> bool:
    """Whether ``W x + s B A x`` in one dtype is all that PEFT would compute for ``x``."""
    if layer.disable_adapters or layer.merged or len(layer.active_adapters) != 1:
        return False
    name, base = layer.active_adapters[0], layer.base_layer
    if name not in layer.lora_A or name in layer.lora_variant:
        return False
    down, up = layer.lora_A[name], layer.lora_B[name]
    return (
        isinstance(layer.lora_dropout[name], nn.Identity)
        and up.bias is None
        and not any(parameter.requires_grad for parameter in base.parameters())
        and x.is_contiguous()
        and x.dtype == base.weight.dtype == down.weight.dtype == up.weight.dtype
        and not any(is_shard(each) for each in (base.weight, down.weight, up.weight))
        and not torch.is_autocast_enabled(x.device.type)
    )


class _Update(torch.autograd.Function):
    """``y = W x + b + s B A x`` with W and b frozen.

    With d the gradient of y and g = s B^T d: dA = g x^T, dB = s d (A x)^T, dx = W^T d + A^T g.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        base: tuple[Tensor, Tensor | None],
        down: Tensor,
        up: Tensor,
        scale: float,
    ) -> Tensor:
        weight, bias = base
        rows = x.view(-1, x.shape[-1])
        hidden = rows @ down.t()
        result = nn.functional.linear(rows, weight, bias).addmm_(hidden, up.t(), alpha=scale)
        ctx.scale = scale
        ctx.save_for_backward(rows, hidden, weight, down, up)
        return result.view(*x.shape[:-1], -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        rows, hidden, weight, down, up = ctx.saved_tensors
        grad_rows = grad.reshape(-1, grad.shape[-1])
        between = (grad_rows @ up).mul_(ctx.scale)
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = (grad_rows @ weight).addmm_(between, down).view(*grad.shape[:-1], -1)
        return grad_x, None, between.t() @ rows, (grad_rows.t() @ hidden).mul_(ctx.scale), None
