"""Dense layers in oneDNN's own weight layout, for as long as reports are written or scored.

PyTorch multiplies float32 matrices with MKL, which leaves AVX-512 unused on AMD and reads a large
head slowly. oneDNN on packed weights is 2 to 6 times faster for a decoding step of a batch
(docs/performance.md). It is float32 all the same: only the order of sums differs.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

_WORTH = 2**19
"""Multiplications of a call from which oneDNN is faster than MKL: it costs 8 microseconds a call.
Measured over layers of 192 x 192 to 49152 x 576 and 1 to 2880 rows, one thread of a Zen 5.
"""


@functools.cache
def can_pack() -> bool:
    """Whether this PyTorch has oneDNN's packed layers (torch 2.13; private, for its compiler), and
    this CPU the instructions that make them worth it.
    """
    return (
        torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and torch.backends.cpu.get_cpu_capability().startswith("AVX512")
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
        and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
    )


@contextmanager
def packed_linears(model: nn.Module) -> Iterator[None]:
    """Inside, dense float32 layers of ``model`` on a CPU compute with packed weights where a call
    is large enough to gain; on other machines nothing changes.

    A layer is packed at its first such call. The copies take the layers' memory once more and are
    dropped at the end. Weights must not change inside. Layers whose forward somebody else has
    replaced stay as they are.
    """
    modules = model.modules() if can_pack() else ()
    layers = [module for module in modules if type(module) is nn.Linear and _is_packable(module)]
    for layer in layers:
        vars(layer)["forward"] = _packing_forward(layer)
    try:
        yield
    finally:
        for layer in layers:
            del vars(layer)["forward"]


def _is_packable(module: nn.Linear) -> bool:
    return (
        "forward" not in vars(module)
        and module.weight.device.type == "cpu"
        and module.weight.dtype == torch.float32
    )


def _packing_forward(layer: nn.Linear) -> Callable[[Tensor], Tensor]:
    weight, bias = layer.weight, layer.bias
    enough = -(-_WORTH // weight.numel()) * layer.in_features
    packed: Tensor | None = None

    def forward(x: Tensor) -> Tensor:
        nonlocal packed
        if (
            x.numel() < enough
            or x.dtype != torch.float32
            or torch.is_grad_enabled()
            or torch.is_autocast_enabled("cpu")
        ):
            return nn.functional.linear(x, weight, bias)
        if packed is None:
            packed = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), None)
        result: Tensor = torch.ops.mkldnn._linear_pointwise(
            x.contiguous(), packed, bias, "none", [], ""
        )
        return result

    return forward
