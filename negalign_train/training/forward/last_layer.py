"""The last decoder layer, computed at the positions that are read.

Behind the last attention no position looks at another: what the head does not score is not needed,
and its queries are not either. Keys and values still come from every position.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

_PARTS = ("self_attn.q_proj", "self_attn.o_proj", "mlp")
"""Modules of a layer that treat each position by itself; an architecture may lack some."""
_MOST = 0.4
"""Share of all positions above which picking some costs what it saves."""


class ReadRows:
    """Flat places in (rows, length) whose last hidden state is read; None: all of them."""

    def __init__(self) -> None:
        self.rows: Tensor | None = None

    @contextmanager
    def only(self, rows: Tensor, positions: int) -> Iterator[None]:
        """Inside, the last layer computes ``rows``, if they are few among all ``positions``."""
        self.rows = rows if len(rows) <= _MOST * positions else None
        try:
            yield
        finally:
            self.rows = None


def recomputes(model: PreTrainedModel) -> bool:
    """Whether layers run again in the backward, where nothing says any more what was read.

    transformers renamed it in 5.20.
    """
    name = "is_activation_checkpointing"
    return bool(getattr(model, name if hasattr(model, name) else "is_gradient_checkpointing"))


def read_only(model: PreTrainedModel) -> ReadRows:
    """Lets ``model``'s last decoder layer compute what its result says, and returns it.

    Positions that are not read get 0 instead. A mixture of experts keeps its own forward.
    """
    read = ReadRows()
    layers = getattr(model.base_model, "layers", None)
    if not isinstance(layers, nn.ModuleList) or len(layers) == 0:
        return read
    last = dict(layers[-1].named_modules())
    for name in _PARTS:
        part = last.get(name)
        if part is not None and not hasattr(part, "experts"):
            _compute_only(part, read)
    return read


def _compute_only(part: nn.Module, read: ReadRows) -> None:
    original = part.forward

    @functools.wraps(original)
    def forward(self: nn.Module, hidden: Tensor, *args: Any, **kwargs: Any) -> Any:
        if read.rows is None:
            return original(hidden, *args, **kwargs)
        every = hidden.flatten(0, -2)
        some = original(every.index_select(0, read.rows).unsqueeze(0), *args, **kwargs)[0]
        result = some.new_zeros(len(every), some.shape[-1]).index_copy(0, read.rows, some)
        return result.view(*hidden.shape[:-1], -1)

    part.forward = types.MethodType(forward, part)
