"""A judge as a GRPO reward function with TRL's signature. Nothing is logged."""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from negalign_train.recipe.candidate import RewardSettings
from negalign_train.severity.judges.base import JUDGE_FAILURES, Judge, Judgement, ReportPair
from negalign_train.severity.judges.uses.asking import judge_all, unscored_reasons
from negalign_train.severity.reading.context import context_of
from negalign_train.severity.text.layout import lay_out
from negalign_train.severity.text.sections import text_sections
from negalign_train.vocabulary.records import SeverityScore

CACHED_PAIRS = 1 << 13
_LONGEST_CACHED = 8000
"""Characters of both texts: longer ones are computed anew, so that the cache stays small."""

Completion = str | Sequence[Mapping[str, str]]
"""What TRL passes: text, or for conversational prompts a list with one assistant message."""


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


@dataclass(frozen=True)
class RewardCounts:
    """How many completions a process has rewarded, and how many had no score, by reason."""

    completions: int
    unscored: Mapping[str, int]


class SeverityReward:
    """Minus the severity term less those for length and format, in [unscorable, 0].

    A completion that cannot be scored earns ``settings.unscorable``, and none earns less, so that
    falling silent never pays. Where the judge itself failed (its server was overloaded, say), the
    completion earns the mean of its prompt's others, which pulls nowhere. ``counts`` holds both
    by reason. The dataset's ``reference`` column must hold the right report of each prompt.

    Args:
        adjust: brings scores to the readers' scale (``pricing.calibration.Calibration.apply``).
    """

    __name__ = "negative_severity"

    def __init__(
        self,
        settings: RewardSettings,
        judge: Judge,
        adjust: Callable[[SeverityScore], SeverityScore] = lambda score: score,
    ) -> None:
        self._settings, self._judge, self._adjust = settings, judge, adjust
        self._cache: OrderedDict[ReportPair, Judgement] = OrderedDict()
        self._completions = 0
        self._unscored: Counter[str] = Counter()

    @property
    def judge_label(self) -> str:
        """The judge's name and version."""
        return f"{self._judge.name} {self._judge.version}"

    def counts(self) -> RewardCounts:
        return RewardCounts(self._completions, dict(self._unscored))

    def __call__(
        self,
        prompts: Sequence[Any],
        completions: Sequence[Completion],
        reference: Sequence[str],
        **kwargs: Any,
    ) -> list[float]:
        """One reward per completion, in order.

        Raises:
            DataError: the judge failed on more than half of the completions.
        """
        pairs = [
            ReportPair(expected, completion_text(completion), context_of(prompt))
            for prompt, completion, expected in zip(prompts, completions, reference, strict=True)
        ]
        judgements = self._judged(pairs)
        self._completions += len(pairs)
        self._unscored.update(unscored_reasons(judgements))
        earned = [
            None if judgement.reason in JUDGE_FAILURES else self._earned(pair, judgement)
            for pair, judgement in zip(pairs, judgements, strict=True)
        ]
        groups = [
            (repr(prompt), expected) for prompt, expected in zip(prompts, reference, strict=True)
        ]
        return _neutral_where_unknown(earned, groups)

    def _judged(self, pairs: Sequence[ReportPair]) -> list[Judgement]:
        """The judge's answers; those on pairs of usual length are remembered."""
        known = {pair: self._cache[pair] for pair in pairs if pair in self._cache}
        new = list(dict.fromkeys(pair for pair in pairs if pair not in known))
        known |= zip(new, judge_all(self._judge, new, len(known)), strict=True)
        for pair, judgement in known.items():
            short = len(pair.reference) + len(pair.candidate) <= _LONGEST_CACHED
            if short and judgement.reason not in JUDGE_FAILURES:
                self._cache[pair] = judgement
                self._cache.move_to_end(pair)
        while len(self._cache) > CACHED_PAIRS:
            self._cache.popitem(last=False)
        return [known[pair] for pair in pairs]

    def _earned(self, pair: ReportPair, judgement: Judgement) -> float:
        settings = self._settings
        if judgement.score is None:
            return settings.unscorable
        terms = length_term(settings, pair.reference, pair.candidate)
        terms += format_term(settings, pair.candidate)
        severity = severity_term(settings, self._adjust(judgement.score))
        return max(settings.unscorable, -severity - terms)


def _neutral_where_unknown(
    earned: Sequence[float | None], groups: Sequence[Hashable]
) -> list[float]:
    """Unknown rewards as the mean of their group's known ones, or of all where it has none."""
    known: dict[Hashable, list[float]] = defaultdict(list)
    for reward, group in zip(earned, groups, strict=True):
        if reward is not None:
            known[group].append(reward)
    every = [reward for some in known.values() for reward in some]
    return [
        fmean(known[group] or every) if reward is None else reward
        for reward, group in zip(earned, groups, strict=True)
    ]
