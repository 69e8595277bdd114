"""Batched decoding that computes nothing twice and drops finished rows.

Reports differ in length by a factor of three, and ``generate`` of transformers carries every row to
the end of the longest. Here finished rows leave the batch, what all prompts begin with is computed
once, keys and values are written into buffers of their final size, and dense layers compute with
packed weights (docs/performance.md). Drawing with one uniform number per row and step makes a
sample independent of the batch it is in.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from peft import PeftModel
from torch import Tensor
from transformers import Cache, PreTrainedModel

from negalign_train.generation.kv_cache import (
    LayerStates,
    filled_cache,
    joined_cache,
    keeps_everything,
    states_of,
)

Model: TypeAlias = PreTrainedModel | PeftModel
Chooser = Callable[[Tensor, Sequence[int], int], Tensor]
"""Next tokens (rows,) from logits (rows, vocabulary), the rows' numbers and the step."""

_COMPACT_BELOW = 0.8
"""Finished rows are dropped once at most this share is left: dropping copies the cache."""
_PREFILL_TOKENS = 512
"""Prompt tokens of one forward: matrix products are as fast as with more, and what they leave
behind stays in the CPU's cache."""
_PREFILL_TOKENS_ON_GPU = 16384
_MIN_SHARED = 8
"""Tokens from which a common beginning is worth a forward of its own."""


@dataclass(frozen=True)
class Prefix:
    """What all prompts of a call begin with: its number of tokens, and keys and values by layer."""

    length: int
    states: tuple[LayerStates, ...]


NO_PREFIX = Prefix(0, ())


@dataclass(frozen=True)
class _Read:
    """Prompts that a model has read: the cache, ``logits`` (rows, vocabulary) after the last token,
    ``mask`` (rows, columns) of the cache.
    """

    cache: Cache
    logits: Tensor
    mask: Tensor


def left_padded(rows: Sequence[Sequence[int]], pad_token_id: int) -> tuple[Tensor, Tensor]:
    """Token ids and attention mask, both (rows, longest), padded on the left."""
    longest = max(len(row) for row in rows)
    ids = [[pad_token_id] * (longest - len(row)) + list(row) for row in rows]
    mask = [[0] * (longest - len(row)) + [1] * len(row) for row in rows]
    return torch.tensor(ids), torch.tensor(mask)


def positions_of(mask: Tensor) -> Tensor:
    """Position of every token of left-padded rows; padding stands at 0."""
    return (mask.cumsum(-1) - 1).clamp(min=0)


def greedy(logits: Tensor, numbers: Sequence[int], step: int) -> Tensor:
    """The most likely token."""
    return logits.argmax(-1)


def sampler(uniforms: Tensor, temperature: float) -> Chooser:
    """Inverse-CDF sampling from the whole vocabulary with ``uniforms`` (rows, steps) in [0, 1).

    Two models sampled with the same uniforms are coupled: where their distributions agree they
    write the same token, so that a paired comparison sees the models and not the dice (common
    random numbers).
    """

    def choose(logits: Tensor, numbers: Sequence[int], step: int) -> Tensor:
        cdf = (logits.float() / temperature).softmax(-1).cumsum(-1)
        drawn = uniforms[list(numbers), step].to(cdf.device).unsqueeze(-1)
        token = torch.searchsorted(cdf, drawn * cdf[:, -1:], right=True).squeeze(-1)
        return token.clamp(max=cdf.shape[-1] - 1)

    return choose


def read_prefix(model: Model, rows: Collection[Sequence[int]]) -> Prefix:
    """What all ``rows`` begin with, read once; each row keeps at least one token of its own.

    Empty where it would not pay, and for models to which padding in the middle of a row is not
    nothing: a layer that does not keep all keys, or positions other than rotary ones.
    """
    rotary = getattr(model.config.get_text_config(), "rope_parameters", None) is not None
    if len(rows) < 2 or not rotary or not keeps_everything(model.config):
        return NO_PREFIX
    first, last = min(map(tuple, rows)), max(map(tuple, rows))  # what both share, all share
    shared = next(
        (place for place, (a, b) in enumerate(zip(first, last, strict=False)) if a != b),
        min(len(first), len(last)),
    )
    length = min(shared, min(len(row) for row in rows) - 1)
    if length < _MIN_SHARED:
        return NO_PREFIX
    output = model(
        input_ids=torch.tensor([list(first[:length])], device=model.device),
        use_cache=True,
        logits_to_keep=1,
    )
    return Prefix(length, tuple(states_of(output.past_key_values)))


def decode_batch(
    model: Model,
    rows: Sequence[Sequence[int]],
    choose: Chooser,
    max_new_tokens: int,
    end_ids: Collection[int],
    pad_token_id: int,
    prefix: Prefix = NO_PREFIX,
) -> list[list[int]]:
    """New tokens of each row, up to and including the first of ``end_ids``.

    ``choose`` receives the rows' numbers within ``rows``; every row begins with ``prefix``. Call it
    in ``torch.inference_mode()``.
    """
    read = _read_prompts(model, rows, prefix, max_new_tokens, pad_token_id)
    numbers = list(range(len(rows)))
    written: list[list[int]] = [[] for _ in rows]
    columns = read.mask.shape[1]
    # The mask of all steps at once: written tokens are all seen.
    mask = torch.cat([read.mask, read.mask.new_ones(len(rows), max_new_tokens)], dim=1)
    positions = read.mask.sum(-1, keepdim=True)
    logits, cache = read.logits, read.cache
    for step in range(max_new_tokens):
        tokens = choose(logits, numbers, step)
        going = _write(written, numbers, tokens.tolist(), end_ids)
        if not going or step + 1 == max_new_tokens:
            break
        if len(going) <= _COMPACT_BELOW * len(numbers):
            places = torch.tensor(going, device=tokens.device)
            cache.batch_select_indices(places)
            numbers = [numbers[place] for place in going]
            mask, positions, tokens = mask[places], positions[places], tokens[places]
        output = model(
            input_ids=tokens.unsqueeze(-1),
            attention_mask=mask[:, : columns + step + 1],
            position_ids=positions + step,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        logits, cache = output.logits[:, -1], output.past_key_values
    return written


def _write(
    written: list[list[int]],
    numbers: Sequence[int],
    tokens: Sequence[int],
    end_ids: Collection[int],
) -> list[int]:
    """Appends each row's token unless the row has ended; returns places of rows that go on."""
    going: list[int] = []
    for place, (number, token) in enumerate(zip(numbers, tokens, strict=True)):
        row = written[number]
        if row and row[-1] in end_ids:
            continue
        row.append(token)
        if token not in end_ids:
            going.append(place)
    return going


def _read_prompts(
    model: Model, rows: Sequence[Sequence[int]], prefix: Prefix, room: int, pad_token_id: int
) -> _Read:
    """Reads each distinct row once, rows of like length together, into a cache with room for
    ``room`` more tokens. A model whose layers do not keep all keys reads them in one forward.
    """
    if not keeps_everything(model.config):
        return _read_part(model, rows, NO_PREFIX, pad_token_id)
    places: dict[tuple[int, ...], list[int]] = {}
    for number, row in enumerate(rows):
        places.setdefault(tuple(row), []).append(number)
    parts: list[tuple[Tensor, list[LayerStates]]] = []
    columns = max(map(len, rows))
    mask = torch.zeros(len(rows), columns, dtype=torch.long, device=model.device)
    mask[:, : prefix.length] = 1
    logits: list[Tensor] = []
    for part in _parts(sorted(places, key=len), prefix.length, model.device.type):
        read = _read_part(model, part, prefix, pad_token_id)
        copies = torch.tensor([place for place, row in enumerate(part) for _ in places[row]])
        numbers = torch.tensor([number for row in part for number in places[row]])
        width = read.mask.shape[1] - prefix.length
        mask[numbers, columns - width :] = read.mask[copies, prefix.length :]
        states = states_of(read.cache)
        if len(copies) != len(part):
            states = [(keys[copies], values[copies]) for keys, values in states]
        parts.append((numbers, states))
        logits.append(read.logits[copies])
    order = torch.cat([numbers for numbers, _ in parts]).argsort()
    cache = joined_cache(parts, prefix.states, len(rows), columns, columns + room)
    return _Read(cache, torch.cat(logits)[order], mask)


def _parts(
    rows: Sequence[tuple[int, ...]], shared: int, device: str
) -> Iterator[Sequence[tuple[int, ...]]]:
    """Rows, sorted by length, in groups of so many tokens."""
    limit = _PREFILL_TOKENS if device == "cpu" else _PREFILL_TOKENS_ON_GPU
    first = 0
    for last in range(1, len(rows) + 1):
        fits = last < len(rows) and (last + 1 - first) * (len(rows[last]) - shared) <= limit
        if not fits:
            yield rows[first:last]
            first = last


def _read_part(
    model: Model, rows: Sequence[Sequence[int]], prefix: Prefix, pad_token_id: int
) -> _Read:
    """One forward over what follows the prefix in every row."""
    ids, own = left_padded([row[prefix.length :] for row in rows], pad_token_id)
    mask = torch.cat([own.new_ones(len(rows), prefix.length), own], dim=1).to(model.device)
    output = model(
        input_ids=ids.to(model.device),
        attention_mask=mask,
        position_ids=positions_of(mask)[:, prefix.length :],
        past_key_values=filled_cache(model.config, prefix.states, len(rows)),
        use_cache=True,
        logits_to_keep=1,
    )
    return _Read(output.past_key_values, output.logits[:, -1], mask)
