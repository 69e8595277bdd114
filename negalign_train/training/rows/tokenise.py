"""Text to token ids and token weights, through the base model's own chat template.

The ids are those TRL gives to the same conversational row (trl 1.16.0, data_utils.py:367 and
trainer/dpo_trainer.py:1075-1128): the completion starts where the rendered prompt and the rendered
conversation diverge.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from negalign_train.training.rows.batches import PairRow, TokenSequence, UnpairedRow
from negalign_train.training.rows.turns import ALTERED, end_of_turn, rendered, special_strings
from negalign_train.vocabulary.chat import completion_messages, prompt_messages
from negalign_train.vocabulary.errors import TrainingError
from negalign_train.vocabulary.records import PreferencePair, Prompt, UnpairedExample, WeightedSpan
from negalign_train.vocabulary.special_tokens import holds_special_token, prompt_texts

_MAX_NAMED = 5
"""How many offending ids an error message names."""


@dataclass(frozen=True)
class _Conversation:
    """One rendered conversation: its text, where the completion stands in it, and its tokens.

    ``offsets`` are character positions [start, end) of each token in ``text``.
    """

    text: str
    completion_start: int
    ids: list[int]
    offsets: list[tuple[int, int]]


def _render(
    tokenizer: PreTrainedTokenizerBase, prompt: Prompt, completion: str | None = None
) -> str:
    messages = prompt_messages(prompt)
    if completion is not None:
        messages += completion_messages(completion)
    return rendered(tokenizer, messages, add_generation_prompt=completion is None)


def render_prompt(tokenizer: PreTrainedTokenizerBase, prompt: Prompt) -> list[int]:
    """Token ids of a prompt with the generation prompt after it: what generation continues."""
    text = _render(tokenizer, prompt)
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def _common_prefix_length(left: Sequence[object], right: Sequence[object]) -> int:
    pairs = enumerate(zip(left, right, strict=False))
    return next((index for index, (a, b) in pairs if a != b), min(len(left), len(right)))


def _locate(text: str, prompt_text: str, completion: str) -> int:
    """The character of ``text`` at which ``completion`` begins.

    Templates may strip a completion, so its stripped form is looked for, after the prompt.
    """
    prompt_end = _common_prefix_length(text, prompt_text)
    start = text.find(completion.strip(), prompt_end)
    if start < 0:
        raise TrainingError(ALTERED)
    return start - (len(completion) - len(completion.lstrip()))


def _encode(
    tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Prompt], completions: Sequence[str]
) -> tuple[list[list[int]], list[_Conversation]]:
    """Prompt ids and conversations, in one call to the tokenizer each."""
    prompt_texts = [_render(tokenizer, prompt) for prompt in prompts]
    texts = [_render(tokenizer, p, c) for p, c in zip(prompts, completions, strict=True)]
    prompt_ids = tokenizer(prompt_texts, add_special_tokens=False)["input_ids"]
    encoded = tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True)
    conversations = [
        _Conversation(text, _locate(text, prompt_text, completion), ids, offsets)
        for text, prompt_text, completion, ids, offsets in zip(
            texts,
            prompt_texts,
            completions,
            encoded["input_ids"],
            encoded["offset_mapping"],
            strict=True,
        )
    ]
    return prompt_ids, conversations


def _token_weights(
    conversation: _Conversation, prompt_length: int, spans: Sequence[WeightedSpan]
) -> list[float]:
    """One weight per completion token: the largest of the spans it overlaps, else 1."""
    weights = [1.0] * (len(conversation.ids) - prompt_length)
    if not spans:
        return weights
    for index, (start, end) in enumerate(conversation.offsets[prompt_length:]):
        start, end = start - conversation.completion_start, end - conversation.completion_start
        touching = [span.weight for span in spans if start < span.end and span.start < end]
        if touching:
            weights[index] = max(touching)
    return weights


def _check_weights(example_id: str, weight: float, spans: Sequence[WeightedSpan]) -> None:
    for value in (weight, *(span.weight for span in spans)):
        if not math.isfinite(value) or value < 0:
            raise TrainingError(
                f"example {example_id}: weight {value!r} is not a finite number >= 0; "
                "build the preferences again"
            )


def refuse_special_tokens(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[tuple[str, str]]
) -> None:
    """Raises TrainingError where a text holds a control token; ``texts`` are (example id, text).

    It would end a completion in its middle, or open a turn that nobody took.
    """
    own = special_strings(tokenizer)
    held = list(dict.fromkeys(name for name, text in texts if holds_special_token(text, own)))
    if held:
        raise TrainingError(
            f"the texts of {len(held)} examples hold control tokens of the base: {_listing(held)}; "
            "take them out of the log"
        )


def _listing(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MAX_NAMED} more" if len(names) > _MAX_NAMED else ""
    return ", ".join(names[:_MAX_NAMED]) + more


def tokenise_pairs(
    tokenizer: PreTrainedTokenizerBase, pairs: Sequence[PreferencePair]
) -> list[PairRow]:
    """Rows for DPO and SFT, in order.

    Tokens of the prefix common to chosen and rejected weigh 1 on both sides whatever their spans
    say, so that the prefix still cancels in the margin.

    Raises:
        TrainingError: a weight is negative or not finite, the chat template ends no turn, or a text
            holds a control token.
    """
    end_of_turn(tokenizer)
    for pair in pairs:
        _check_weights(pair.pair_id, pair.weight, (*pair.chosen_spans, *pair.rejected_spans))
    refuse_special_tokens(
        tokenizer,
        [
            (pair.pair_id, text)
            for pair in pairs
            for text in (*prompt_texts(pair.prompt), pair.chosen, pair.rejected)
        ],
    )
    prompts = [pair.prompt for pair in pairs]
    prompt_ids, chosen = _encode(tokenizer, prompts, [pair.chosen for pair in pairs])
    _, rejected = _encode(tokenizer, prompts, [pair.rejected for pair in pairs])
    rows = [_pair_row(*each) for each in zip(pairs, prompt_ids, chosen, rejected, strict=True)]
    return rows


def _pair_row(
    pair: PreferencePair, prompt_ids: list[int], chosen: _Conversation, rejected: _Conversation
) -> PairRow:
    start = min(_common_prefix_length(prompt_ids, side.ids) for side in (chosen, rejected))
    chosen_ids, rejected_ids = chosen.ids[start:], rejected.ids[start:]
    shared = _common_prefix_length(chosen_ids, rejected_ids)
    return {
        "example_id": pair.pair_id,
        "prompt_ids": prompt_ids[:start],
        "chosen_ids": chosen_ids,
        "rejected_ids": rejected_ids,
        "chosen_weights": [1.0] * shared
        + _token_weights(chosen, start, pair.chosen_spans)[shared:],
        "rejected_weights": [1.0] * shared
        + _token_weights(rejected, start, pair.rejected_spans)[shared:],
        "weight": pair.weight,
        "delta_S": pair.delta_S,
        "length": max(len(chosen.ids), len(rejected.ids)),
        "shared": shared,
    }


def tokenise_unpaired(
    tokenizer: PreTrainedTokenizerBase, examples: Sequence[UnpairedExample]
) -> list[UnpairedRow]:
    """Rows for KTO, in order.

    Raises:
        TrainingError: as :func:`tokenise_pairs`, or a label is not a boolean (TRL would take 0.5
            for True).
    """
    end_of_turn(tokenizer)
    for example in examples:
        _check_weights(example.example_id, example.weight, example.spans)
        if not isinstance(example.label, bool):
            raise TrainingError(
                f"example {example.example_id}: label {example.label!r} is not true or false; "
                "build the unpaired examples again"
            )
    refuse_special_tokens(
        tokenizer,
        [
            (example.example_id, text)
            for example in examples
            for text in (*prompt_texts(example.prompt), example.completion)
        ],
    )
    prompts = [example.prompt for example in examples]
    completions = [example.completion for example in examples]
    prompt_ids, conversations = _encode(tokenizer, prompts, completions)
    rows = [_unpaired_row(*each) for each in zip(examples, prompt_ids, conversations, strict=True)]
    return rows


def _unpaired_row(
    example: UnpairedExample, prompt_ids: list[int], conversation: _Conversation
) -> UnpairedRow:
    start = _common_prefix_length(prompt_ids, conversation.ids)
    return {
        "example_id": example.example_id,
        "group": example.group,
        "prompt_ids": prompt_ids[:start],
        "completion_ids": conversation.ids[start:],
        "token_weights": _token_weights(conversation, start, example.spans),
        "label": example.label,
        "weight": example.weight,
    }


def refuse_longer_than(limit: int, sequences: Sequence[tuple[str, TokenSequence]]) -> None:
    """Raises TrainingError where a sequence exceeds ``limit`` tokens; nothing is truncated."""
    too_long = sorted({name for name, sequence in sequences if len(sequence) > limit})
    if too_long:
        longest = max(len(sequence) for _, sequence in sequences)
        raise TrainingError(
            f"{len(too_long)} examples exceed {limit} tokens (longest {longest}): "
            f"{_listing(too_long)}; raise trainer.max_length, use a base with a longer context, or "
            "drop them from the log"
        )
