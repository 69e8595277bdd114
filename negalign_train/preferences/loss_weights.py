"""Weights of pairs, unpaired examples and changed words. Pure functions of numbers and spans."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from negalign_train.preferences.align import Alignment, WordChange
from negalign_train.recipe.cycle import PreferenceSettings
from negalign_train.vocabulary.errors import PreferenceError
from negalign_train.vocabulary.records import ErrorMark, WeightedSpan

WeightRule = Literal["uniform", "delta_S", "sqrt"]

SPAN_FLOOR = 0.25
"""A changed span weighs at least this share of the mean changed span: CRIMSON's mildest class
against its most severe one, so that a mild error is never trained as if nothing had changed."""


def mean_one(weights: Sequence[float]) -> list[float]:
    """Scales positive weights to mean 1 over the dataset (to float rounding)."""
    if not weights:
        return []
    mean = math.fsum(weights) / len(weights)
    return [weight / mean for weight in weights]


def delta_S_weights(delta_S: Sequence[float], rule: WeightRule, cap: float) -> list[float]:
    """Weights of mean 1 from delta_S > 0, each capped at ``cap`` times the mean before scaling.

    A larger delta_S never weighs less.

    Raises:
        PreferenceError: a delta_S is not above 0.
    """
    if any(not each > 0 for each in delta_S):
        raise PreferenceError(
            f"a delta_S of {min(delta_S)!r} cannot be weighted, it must be above 0: "
            "refuse pairs without a fall of S first"
        )
    if rule == "uniform":
        raw = [1.0] * len(delta_S)
    elif rule == "delta_S":
        raw = list(delta_S)
    else:
        raw = [math.sqrt(each) for each in delta_S]
    return mean_one([min(weight, cap) for weight in mean_one(raw)])


def pair_weights(
    delta_S: Sequence[float], trusts: Sequence[float], settings: PreferenceSettings
) -> list[float]:
    """Weight of each pair, by delta_S times its reader's trust; mean 1 over the dataset."""
    by_delta_S = delta_S_weights(delta_S, settings.pair_weight, settings.pair_weight_cap)
    return mean_one([weight * trust for weight, trust in zip(by_delta_S, trusts, strict=True)])


def label_weights(
    severities: Sequence[float | None], trusts: Sequence[float], settings: PreferenceSettings
) -> list[float]:
    """Weight of each unpaired example, mean 1 over the dataset.

    ``severities`` holds S of an undesirable completion and None of a desirable one. Undesirable
    examples are weighted among themselves by the rule of pairs and desirable ones weigh 1, so that
    the rule does not shift the balance of the two classes; then both take their reader's trust.
    """
    known = [severity for severity in severities if severity is not None]
    by_severity = iter(delta_S_weights(known, settings.pair_weight, settings.pair_weight_cap))
    raw = [1.0 if severity is None else next(by_severity) for severity in severities]
    return mean_one([weight * trust for weight, trust in zip(raw, trusts, strict=True)])


def severity_of_change(change: WordChange, errors: Sequence[ErrorMark]) -> float | None:
    """Severity of the error that one change answers; None where no mark tells, or the mark that
    does has no severity.

    1. The worst error whose span overlaps the struck words.
    2. For a change that adds words: the worst ``false_negative`` without a span, else the worst
       other error without a span. A missing finding has no words to mark.
    """
    start, end = change.rejected
    struck = [
        mark
        for mark in errors
        if mark.span is not None and mark.span[0] < end and start < mark.span[1]
    ]
    if struck:
        return _worst(struck)
    if change.chosen[0] == change.chosen[1]:
        return None
    spanless = [mark for mark in errors if mark.span is None]
    missing = [mark for mark in spanless if mark.category == "false_negative"]
    return _worst(missing or spanless)


def _worst(marks: Sequence[ErrorMark]) -> float | None:
    return max((mark.severity for mark in marks if mark.severity is not None), default=None)


def span_factors(severities: Sequence[float | None]) -> list[float]:
    """Factors of mean 1 over all changed spans of the dataset, from their errors' severities.

    A span that no mark explains takes the mean of the marked ones (unknown is not zero), and none
    falls under ``SPAN_FLOOR`` times that mean. A higher severity never weighs less.
    """
    known = [severity for severity in severities if severity is not None]
    mean = math.fsum(known) / len(known) if known else 0.0
    if mean <= 0:
        return [1.0] * len(severities)
    floor = SPAN_FLOOR * mean
    return mean_one([mean if severity is None else max(severity, floor) for severity in severities])


def weighted_spans(
    alignment: Alignment, factors: Sequence[float], settings: PreferenceSettings
) -> tuple[tuple[WeightedSpan, ...], tuple[WeightedSpan, ...]]:
    """Spans of the (chosen, rejected) text in order; characters outside every span weigh 1.

    Changed words weigh ``changed_word_weight * factor`` on both sides. With ``struck_only``, words
    left standing after the first change weigh 0 on the rejected side. The common prefix is in no
    span: it weighs 1 on both sides and cancels. Spans of weight 1 are left out.
    """
    chosen: list[WeightedSpan] = []
    rejected: list[WeightedSpan] = []
    for change, factor in zip(alignment.changes, factors, strict=True):
        weight = settings.changed_word_weight * factor
        chosen.append(WeightedSpan(*change.chosen, weight))
        rejected.append(WeightedSpan(*change.rejected, weight))
    if settings.struck_only:
        rejected += [WeightedSpan(start, end, 0.0) for start, end in alignment.kept]
    return _tidy(chosen), _tidy(rejected)


def _tidy(spans: Sequence[WeightedSpan]) -> tuple[WeightedSpan, ...]:
    weighted = [span for span in spans if span.start < span.end and span.weight != 1.0]
    return tuple(sorted(weighted, key=lambda span: span.start))


def spans_of_dataset(
    edits: Sequence[tuple[Alignment, Sequence[ErrorMark]]], settings: PreferenceSettings
) -> list[tuple[tuple[WeightedSpan, ...], tuple[WeightedSpan, ...]]]:
    """(chosen, rejected) spans of every edit of a dataset: its alignment, and the marks on it."""
    severities = [
        severity_of_change(change, errors) if settings.span_severity else None
        for alignment, errors in edits
        for change in alignment.changes
    ]
    factors = iter(span_factors(severities))
    return [
        weighted_spans(alignment, [next(factors) for _ in alignment.changes], settings)
        for alignment, _ in edits
    ]
