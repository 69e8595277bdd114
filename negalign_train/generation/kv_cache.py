"""Keys and values of a decoding, in buffers of their final size.

The cache of transformers 5.23 copies all keys and values of a layer for every token
(``DynamicLayer.update``, cache_utils.py); here a token is written into its column.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import Cache, DynamicCache, PreTrainedConfig
from transformers.cache_utils import DynamicLayer

LayerStates = tuple[Tensor, Tensor]
"""Keys and values of one layer, (rows, heads, tokens, width) each."""


class RoomyLayer(DynamicLayer):  # type: ignore[no-untyped-call]  # transformers
    """A layer's keys and values, with room for ``capacity`` tokens in each of ``rows``.

    ``keys`` and ``values`` are views of the buffers, as long as what was written. What was never
    written is zero: a masked column is multiplied by 0, and must be finite for that.
    """

    keys: Tensor
    values: Tensor

    def __init__(self, like: LayerStates, rows: int, length: int, capacity: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.lazy_initialization(*like)
        self._room = tuple(
            states.new_empty(rows, states.shape[1], capacity, states.shape[3]) for states in like
        )
        for room in self._room:
            room[:, :, :length] = 0
        self._show(rows, length)

    def _show(self, rows: int, length: int) -> None:
        keys, values = self._room
        self.keys, self.values = keys[:rows, :, :length], values[:rows, :, :length]

    def place(self, rows: Tensor, start: int, states: LayerStates) -> None:
        """Writes the keys and values of some rows from column ``start`` on."""
        end = start + states[0].shape[2]
        for shown, new in zip((self.keys, self.values), states, strict=True):
            shown[rows, :, start:end] = new

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Writes the new tokens behind the old ones; returns all of them."""
        rows, start = len(self.keys), self.keys.shape[2]
        end = start + key_states.shape[2]
        for room, new in zip(self._room, (key_states, value_states), strict=True):
            room[:rows, :, start:end] = new
        self._show(rows, end)
        return self.keys, self.values

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keeps the rows ``indices``, in this order, at most as many as there are."""
        length = self.keys.shape[2]
        for room, shown in zip(self._room, (self.keys, self.values), strict=True):
            room[: len(indices), :, :length] = shown[indices.to(shown.device)]
        self._show(len(indices), length)


def keeps_everything(config: PreTrainedConfig) -> bool:
    """Whether every layer keeps all keys and values: no sliding window, no state."""
    layers = DynamicCache(config=config).layers
    return bool(layers) and all(type(layer) is DynamicLayer for layer in layers)


def filled_cache(config: PreTrainedConfig, states: Sequence[LayerStates], rows: int) -> Cache:
    """A growing cache that holds the same ``states`` (of one row) in each of ``rows``."""
    cache = DynamicCache(config=config)
    for layer, (keys, values) in enumerate(states):
        cache.update(keys.expand(rows, -1, -1, -1), values.expand(rows, -1, -1, -1), layer)
    return cache


def states_of(cache: Cache) -> list[LayerStates]:
    """Keys and values of every layer of a cache that keeps everything."""
    states = []
    for layer in cache.layers:
        assert isinstance(layer, DynamicLayer)
        assert isinstance(layer.keys, Tensor)
        assert isinstance(layer.values, Tensor)
        states.append((layer.keys, layer.values))
    return states


def joined_cache(
    parts: Sequence[tuple[Tensor, Sequence[LayerStates]]],
    prefix: Sequence[LayerStates],
    rows: int,
    length: int,
    capacity: int,
) -> Cache:
    """One roomy cache of ``length`` columns out of parts: their rows' numbers with their states.

    The prefix's columns come first; what follows it in a part ends at the last column.
    """
    layers: list[Any] = []
    start = prefix[0][0].shape[2] if prefix else 0
    everyone = torch.arange(rows)
    for number, like in enumerate(parts[0][1]):
        layer = RoomyLayer(like, rows, length, capacity)
        if prefix:
            layer.place(everyone, 0, prefix[number])
        for numbers, states in parts:
            keys, values = states[number]
            rest = (keys[:, :, start:], values[:, :, start:])
            layer.place(numbers, length - rest[0].shape[2], rest)
        layers.append(layer)
    return Cache(layers=layers)
