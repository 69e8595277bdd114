"""The severity scorer as a GRPO reward function with TRL's signature. Nothing is logged."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Protocol

from negalign_train.recipe.candidate import RewardSettings
from negalign_train.severity.pricing.score import score_report
from negalign_train.severity.text.layout import lay_out
from negalign_train.severity.text.sections import text_sections
from negalign_train.vocabulary.records import SeverityScore

CACHED_PAIRS = 1 << 14
_LONGEST_CACHED = 8000
"""Characters of both texts: longer ones are computed anew, so that the cache stays small."""

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


def severity_term(settings: RewardSettings, score: SeverityScore) -> float:
    """Sum of the nine severities, each by its ``category_weights``; S where none is weighted."""
    weights = settings.category_weights
    return sum(weights.get(name, 1.0) * each for name, each in score.severities.items())


def length_term(settings: RewardSettings, reference: str, candidate: str) -> float:
    """``length_weight * max(0, |words / reference words - 1| - slack)``."""
    ratio = len(candidate.split()) / max(1, len(reference.split()))
    return settings.length_weight * max(0.0, abs(ratio - 1) - settings.length_slack)


def format_term(settings: RewardSettings, candidate: str) -> float:
    """``format_weight`` times the share of required sections without a heading, or without text."""
    required = settings.required_sections
    if not settings.format_weight or not required:
        return 0.0
    # What stands before the first heading starts at 0 and has none of its own.
    text = lay_out(candidate).text
    filled = {
        name for name, start, end in text_sections(text) if start > 0 and text[start:end].strip()
    }
    missing = sum(name not in filled for name in required)
    return settings.format_weight * missing / len(required)


def severity_reward(
    settings: RewardSettings,
    adjust: Callable[[SeverityScore], SeverityScore] = lambda score: score,
) -> RewardFunction:
    """A reward function: minus the severity term less those for length and format, in
    [unscorable, 0].

    A completion that cannot be scored earns ``settings.unscorable``, and none earns less, so that
    falling silent never pays. The dataset's ``reference`` column must hold the right report of each
    prompt.

    Args:
        adjust: brings scores to the readers' scale (``pricing.calibration.Calibration.apply``).
    """

    def compute(reference: str, candidate: str) -> float:
        score = score_report(reference, candidate)
        if score is None:
            return settings.unscorable
        terms = length_term(settings, reference, candidate) + format_term(settings, candidate)
        return max(settings.unscorable, -severity_term(settings, adjust(score)) - terms)

    cached = lru_cache(maxsize=CACHED_PAIRS)(compute)

    def negative_severity(
        prompts: Sequence[Any],
        completions: Sequence[Completion],
        reference: Sequence[str],
        **kwargs: Any,
    ) -> list[float]:
        rewards = []
        for expected, completion in zip(reference, completions, strict=True):
            text = completion_text(completion)
            short = len(expected) + len(text) <= _LONGEST_CACHED
            rewards.append((cached if short else compute)(expected, text))
        return rewards

    return negative_severity
