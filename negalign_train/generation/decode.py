"""Batched decoding that drops finished rows.

Reports differ in length by a factor of three, and ``generate`` of transformers carries every row to
the end of the longest. Dropping finished rows halves the time on a CPU (400 reports of the embedded
model, one core: 7 s instead of 10 to 17 s), and drawing with one uniform number per row and step
makes a sample independent of the batch it is in.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import torch
from peft import PeftModel
from torch import Tensor
from transformers import Cache, PreTrainedModel

Chooser = Callable[[Tensor, Sequence[int], int], Tensor]
"""Next tokens (rows,) from logits (rows, vocabulary), the rows' numbers and the step."""

_COMPACT_BELOW = 0.8
"""Finished rows are dropped once at most this share is left: dropping copies the cache."""


@dataclass(frozen=True)
class _Live:
    """Rows still decoded: their numbers, and ``mask`` (rows, tokens), ``positions`` (rows, 1)."""

    numbers: list[int]
    mask: Tensor
    positions: Tensor


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


def decode_batch(
    model: PreTrainedModel | PeftModel,
    rows: Sequence[Sequence[int]],
    choose: Chooser,
    max_new_tokens: int,
    end_ids: Collection[int],
    pad_token_id: int,
) -> list[list[int]]:
    """New tokens of each row, up to and including the first of ``end_ids``.

    ``choose`` receives the rows' numbers within ``rows``. Call it in ``torch.inference_mode()``.
    """
    tokens, mask = (part.to(model.device) for part in left_padded(rows, pad_token_id))
    live = _Live(list(range(len(rows))), mask, positions_of(mask))
    written: list[list[int]] = [[] for _ in rows]
    cache: Cache | None = None
    for step in range(max_new_tokens):
        output = model(
            input_ids=tokens,
            attention_mask=live.mask,
            position_ids=live.positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        cache = output.past_key_values
        tokens = choose(output.logits[:, -1], live.numbers, step)
        going = _write(written, live.numbers, tokens.tolist(), end_ids)
        if not going:
            break
        if len(going) <= _COMPACT_BELOW * len(live.numbers):
            live, tokens = _kept(live, going, tokens, cache)
        live = _stepped(live)
        tokens = tokens.unsqueeze(-1)
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


def _kept(live: _Live, going: list[int], tokens: Tensor, cache: Cache) -> tuple[_Live, Tensor]:
    places = torch.tensor(going, device=tokens.device)
    cache.batch_select_indices(places)
    numbers = [live.numbers[place] for place in going]
    return _Live(numbers, live.mask[places], live.positions[places]), tokens[places]


def _stepped(live: _Live) -> _Live:
    """One column more in the mask, one position further."""
    mask = torch.cat([live.mask, live.mask.new_ones(len(live.numbers), 1)], dim=1)
    return _Live(live.numbers, mask, live.positions[:, -1:] + 1)
