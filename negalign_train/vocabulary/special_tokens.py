"""Control tokens of chat templates. None may stand in a text: it would forge a turn.

A tokenizer turns ``<|eot_id|>`` in a report into the token that ends a turn, and "[/INST]" in a
prompt begins an answer that nobody gave.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from negalign_train.vocabulary.records import Event, Prompt

SPECIAL_TOKEN = "special_token"
"""The reason code of a text that holds one."""

TAKEN_OUT = "[control token]"
"""Stands for a control token in a text that a model is asked about."""
WELL_KNOWN = re.compile(
    # <|im_end|>, <|eot_id|>, <|end_of_text|>, <|END_OF_TURN_TOKEN|>: Qwen, Llama 3 and 4, Phi,
    # Granite, Cohere, GLM, StarCoder, gpt-oss; with full-width bars DeepSeek's.
    r"<[|\uff5c][^<>|\uff5c\s]{1,40}[|\uff5c]>"
    r"|</?(?:start_of_turn|end_of_turn|start_of_image|bos|eos|pad|s)>"  # Gemma, Llama 2, Mistral
    r"|\[/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS)\]"  # Mistral
    r"|<</?SYS>>"  # Llama 2
)
"""Control tokens of the common families of bases, whatever base is at hand."""


def holds_special_token(text: str, own: Iterable[str] = ()) -> bool:
    """Whether ``text`` holds a well-known control token, or one of a tokenizer's ``own``."""
    may_hold = "<" in text or "[" in text  # each begins so, and most texts hold neither
    known = may_hold and WELL_KNOWN.search(text) is not None
    return known or any(token in text for token in own)


def quotable(text: str, own: Iterable[str] = ()) -> str:
    """``text`` as it may be quoted in a question, where a control token would end the turn: each
    well-known one, and each of a tokenizer's ``own``, becomes ``TAKEN_OUT``.
    """
    for token in own:
        text = text.replace(token, TAKEN_OUT)
    return WELL_KNOWN.sub(TAKEN_OUT, text)


def prompt_texts(prompt: Prompt) -> list[str]:
    """The texts of a prompt: itself, or its messages' contents."""
    return [prompt] if isinstance(prompt, str) else [message["content"] for message in prompt]


def _texts(event: Event) -> Iterator[str]:
    yield from prompt_texts(event.prompt)
    yield event.completion
    if event.edited is not None:
        yield event.edited


def without_special_tokens(events: Sequence[Event], own: Sequence[str] = ()) -> list[Event]:
    """The events in whose prompt, completion and edit stands no control token, neither a well-known
    one nor one of a tokenizer's ``own``.
    """
    return [
        event
        for event in events
        if not any(holds_special_token(text, own) for text in _texts(event))
    ]
