"""Completions of held-out prompts, in length-sorted batches."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import torch
from peft import PeftModel
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from negalign_train.generation.decode import (
    Chooser,
    decode_batch,
    greedy,
    read_prefix,
    sampler,
)
from negalign_train.generation.packed_linear import packed_linears
from negalign_train.progress import Tick, no_tick
from negalign_train.recipe.context_length import context_length
from negalign_train.training.rows.tokenise import render_prompt
from negalign_train.training.rows.turns import end_tokens
from negalign_train.vocabulary.errors import GateError
from negalign_train.vocabulary.records import Prompt


@dataclass(frozen=True)
class Sampling:
    """Sampling from the whole vocabulary instead of greedy decoding.

    A report depends on its prompt's place in the list and the seed, not on the batch size; the
    global generator is left alone. Models sampled with one seed are coupled (``decode.sampler``).
    """

    temperature: float
    seed: int


@dataclass(frozen=True)
class Generated:
    """One completion. ``num_tokens`` counts generated tokens, the end token too; ``truncated``
    where generation stopped at the limit without one. ``text`` keeps control tokens that the model
    wrote in the middle: they are slips, and would otherwise go unseen.
    """

    text: str
    num_tokens: int
    truncated: bool
    entropy: float | None = None
    """Mean over the tokens of the next token's entropy in nats; None where it was not measured."""


def generate_reports(
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    max_new_tokens: int,
    batch_size: int,
    sampling: Sampling | None = None,
    tick: Tick = no_tick,
    *,
    with_entropy: bool = False,
) -> list[Generated]:
    """One completion per prompt, in the order of ``prompts``; greedy where ``sampling`` is None.

    Of the model's own generation_config only the end tokens are used (Qwen's penalises repetition),
    so that every model is decoded alike. Equal prompts of a greedy call are decoded once.

    Raises:
        GateError: the prompt and ``max_new_tokens`` do not fit the model's positions, or the
            temperature is not above 0.
        TrainingError: the chat template does not end the assistant's turn.
    """
    end_ids = end_tokens(tokenizer, model.generation_config)
    rows = [tuple(render_prompt(tokenizer, prompt)) for prompt in prompts]
    _check_positions(model, rows, max_new_tokens)
    # Numbers of the prompts that are decoded: all of them, or one of each where none is sampled.
    first_of = {row: number for number, row in reversed(list(enumerate(rows)))}
    numbers = range(len(rows)) if sampling is not None else sorted(first_of.values())
    order = sorted(numbers, key=lambda number: (len(rows[number]), number))
    choosers = _choosers(sampling, len(rows), max_new_tokens)
    reports: dict[int, Generated] = {}
    with torch.inference_mode(), packed_linears(model):
        prefix = read_prefix(model, [rows[number] for number in order])
        for first in range(0, len(order), batch_size):
            batch = order[first : first + batch_size]
            entropies: list[list[float]] | None = [[] for _ in batch] if with_entropy else None
            choose = choosers(batch)
            if entropies is not None:
                choose = _measuring(choose, entropies)
            written = decode_batch(
                model,
                [rows[number] for number in batch],
                _ticking(choose, tick, (first, len(batch), len(order)), max_new_tokens),
                max_new_tokens,
                end_ids,
                tokenizer.pad_token_id,
                prefix,
            )
            done = [_finished(tokenizer, tokens, end_ids) for tokens in written]
            if entropies is not None:
                done = [
                    replace(report, entropy=fmean(each[: report.num_tokens]))
                    for report, each in zip(done, entropies, strict=True)
                ]
            reports.update(zip(batch, done, strict=True))
    return [
        reports[number if sampling is not None else first_of[row]]
        for number, row in enumerate(rows)
    ]


def _choosers(
    sampling: Sampling | None, num_rows: int, max_new_tokens: int
) -> Callable[[list[int]], Chooser]:
    """How each batch of row numbers picks its tokens."""
    if sampling is None:
        return lambda batch: greedy
    if not sampling.temperature > 0:
        raise GateError(
            f"sampling temperature {sampling.temperature!r} must be above 0; "
            "leave sampling out for greedy decoding"
        )
    temperature = sampling.temperature
    generator = torch.Generator().manual_seed(sampling.seed)
    uniforms = torch.rand(num_rows, max_new_tokens, generator=generator)
    return lambda batch: sampler(uniforms[batch], temperature)


def _ticking(
    choose: Chooser, tick: Tick, place: tuple[int, int, int], max_new_tokens: int
) -> Chooser:
    """``choose``, which also says how far it is, in tokens of reports as long as they may be.
    ``place``: the batch's first report, its number of them, and all.
    """
    first, count, total = place

    def ticking(logits: Tensor, numbers: Sequence[int], step: int) -> Tensor:
        finished = first + count - len(numbers)
        tick(finished * max_new_tokens + len(numbers) * step, total * max_new_tokens)
        return choose(logits, numbers, step)

    return ticking


def _measuring(choose: Chooser, entropies: list[list[float]]) -> Chooser:
    """``choose``, which also notes the entropy of each step under the row's number; a row that has
    ended may stay in the batch, and its later numbers mean nothing.
    """

    def measuring(logits: Tensor, numbers: Sequence[int], step: int) -> Tensor:
        logps = logits.float().log_softmax(-1)
        # A token of probability 0 adds nothing, and 0 times minus infinity would be NaN.
        entropy = -(logps.exp() * logps.clamp(min=-1e4)).sum(-1)
        for number, value in zip(numbers, entropy.tolist(), strict=True):
            entropies[number].append(value)
        return choose(logits, numbers, step)

    return measuring


def _check_positions(
    model: PreTrainedModel | PeftModel, rows: Sequence[Sequence[int]], max_new_tokens: int
) -> None:
    limit = context_length(model.config)
    longest = max((len(row) for row in rows), default=0)
    if limit is not None and longest + max_new_tokens > limit:
        raise GateError(
            f"a prompt of {longest} tokens and max_new_tokens {max_new_tokens} exceed the model's "
            f"{limit} positions; lower model.max_new_tokens or shorten the prompts"
        )


def _finished(
    tokenizer: PreTrainedTokenizerBase, tokens: list[int], end_ids: Collection[int]
) -> Generated:
    ended = tokens[-1] in end_ids
    text = tokenizer.decode(tokens[:-1] if ended else tokens, skip_special_tokens=False)
    assert isinstance(text, str)
    return Generated(text.strip(), len(tokens), not ended)
