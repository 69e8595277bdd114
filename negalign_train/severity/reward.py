"""The severity scorer as a GRPO reward function with TRL's signature. Nothing is logged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Protocol

from negalign_train.recipe import RewardSettings
from negalign_train.severity.score import score_report

_CACHED_PAIRS = 1 << 14

Completion = str | Sequence[Mapping[str, str]]
"""What TRL passes: text, or for conversational prompts a list with one assistant message."""


class RewardFunction(Protocol):
    """TRL 1.16.0 calls it so (trainer/grpo_trainer.py, ``_calculate_rewards``)."""

    __name__: str

    def __call__(
        self,
        prompts: Sequence[Any],
        completions: Sequence[Completion],
        reference: Sequence[str],
        **kwargs: Any,
    ) -> list[float]: ...


def completion_text(completion: Completion) -> str:
    """The text of a completion, whichever of its two shapes it has."""
    if isinstance(completion, str):
        return completion
    return "".join(message["content"] for message in completion)


def length_term(settings: RewardSettings, reference: str, candidate: str) -> float:
    """``length_weight * max(0, |words / reference words - 1| - slack)``."""
    ratio = len(candidate.split()) / max(1, len(reference.split()))
    return settings.length_weight * max(0.0, abs(ratio - 1) - settings.length_slack)


def severity_reward(settings: RewardSettings) -> RewardFunction:
    """A reward function: ``-S`` less the length term, in (-inf, 0].

    A completion that cannot be scored earns ``settings.unscorable``, so that falling silent never
    pays. The dataset's ``reference`` column must hold the right report of each prompt.
    """

    @lru_cache(maxsize=_CACHED_PAIRS)
    def reward(reference: str, candidate: str) -> float:
        score = score_report(reference, candidate)
        if score is None:
            return settings.unscorable
        return -score.total - length_term(settings, reference, candidate)

    def negative_severity(
        prompts: Sequence[Any],
        completions: Sequence[Completion],
        reference: Sequence[str],
        **kwargs: Any,
    ) -> list[float]:
        return [
            reward(expected, completion_text(completion))
            for expected, completion in zip(reference, completions, strict=True)
        ]

    return negative_severity
