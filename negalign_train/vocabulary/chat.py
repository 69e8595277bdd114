"""Prompts and completions as chat messages, and back. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from negalign_train.vocabulary.records import Message, Prompt


def prompt_messages(prompt: Prompt) -> list[dict[str, str]]:
    """Chat messages of a prompt; text is one user message."""
    if isinstance(prompt, str):
        return [{"role": "user", "content": prompt}]
    return [dict(message) for message in prompt]


def completion_messages(completion: str) -> list[dict[str, str]]:
    """A completion as the assistant's one message."""
    return [{"role": "assistant", "content": completion}]


def prompt_of_messages(messages: Sequence[Message], *, is_text: bool) -> Prompt:
    """What ``prompt_messages`` was given; ``is_text`` says whether it was text."""
    return messages[0]["content"] if is_text else tuple(dict(message) for message in messages)
