"""Intervals of the difference between two models over case groups: a Bayesian bootstrap. Pure.

A resampling of what was seen is blind to what was not: 30 cases without a missed finding say "0,
and sure of it", though one report in ten may miss one. So one more group is drawn, never seen, that
is as bad as can be (for the upper end) or as good (for the lower). With Dirichlet weights (Rubin
1981) this is Gaffke's bound (2005; Learned-Miller and Thomas 2019, arXiv 1905.06208) for a mean of
independent bounded values; for a rate it is exactly that of Clopper and Pearson (1934).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from negalign_train.evaluation.metrics import is_placeholder, is_severe
from negalign_train.vocabulary.errors import GateError
from negalign_train.vocabulary.records import CATEGORIES, ScoredReport, SeverityScore

_CELLS = 4_000_000
"""Resampled weights held at once: 32 MB of float64."""


@dataclass(frozen=True)
class Interval:
    """An estimate and its two ends, each of which the truth passes with a chance of ``level``."""

    estimate: float
    low: float
    high: float


@dataclass(frozen=True)
class Means:
    """One model's means over the cases of a comparison.

    ``mean_Q`` is over those cases of both models whose Q is known, None without any.
    """

    mean_S: float
    mean_Q: float | None
    per_category: Mapping[str, float]
    severe_rate: float


@dataclass(frozen=True)
class Comparison:
    """Differences candidate - parent on the cases that both models' reports could be scored on, and
    both models' means over these very cases.
    """

    num_cases: int
    num_groups: int
    total: Interval
    per_category: Mapping[str, Interval]
    severe_rate: Interval
    parent: Means
    candidate: Means


@dataclass(frozen=True, kw_only=True)
class BootstrapSettings:
    """``level``: the chance, at each end of an interval by itself, that the truth lies beyond it;
    ``num_bootstrap`` resamples, ``severe_threshold`` of s_i.

    Raises:
        GateError: ``level`` is not in (0, 0.5): a confidence in its place would swap the ends.
    """

    level: float
    num_bootstrap: int
    severe_threshold: float
    seed: int

    def __post_init__(self) -> None:
        if not 0 < self.level < 0.5:
            raise GateError(
                f"bootstrap level {self.level!r} is not in (0, 0.5); give the error rate of one "
                "end of the interval, 0.025 for a 95 % interval"
            )


def paired_bootstrap(
    parent: Sequence[ScoredReport],
    candidate: Sequence[ScoredReport],
    settings: BootstrapSettings,
) -> Comparison | None:
    """Intervals of candidate - parent, whole case groups weighted together.

    Cases of one group are not independent, so groups are drawn and not cases (cluster bootstrap,
    Davison and Hinkley 1997, section 3.8). All metrics share one resampling. None where no case was
    scored for both.

    Raises:
        GateError: the two sides hold different cases, or a case in two groups.
    """
    scored = _scored_pairs(parent, candidate)
    if not scored:
        return None
    before = _rows([old for old, _ in scored], settings.severe_threshold)
    after = _rows([new for _, new in scored], settings.severe_threshold)
    groups = [old.group for old, _ in scored]
    qualities = [_qualities(old, new) for old, new in scored]
    known = np.array([each for each in qualities if each is not None])
    rows = after - before
    # S could rise by 9, but no report comes near: docs/gate.md has the simulation of this choice.
    worst = np.ones(rows.shape[1])
    worst[0] = max(1.0, np.abs(rows[:, 0]).max())
    intervals = _intervals(rows, groups, (-worst, worst), settings)
    return Comparison(
        num_cases=len(groups),
        num_groups=len(set(groups)),
        total=intervals[0],
        per_category=dict(zip(CATEGORIES, intervals[1:-1], strict=True)),
        severe_rate=intervals[-1],
        parent=_means(before, _mean_of(known, 0)),
        candidate=_means(after, _mean_of(known, 1)),
    )


def placeholder_rate(reports: Sequence[ScoredReport], settings: BootstrapSettings) -> Interval:
    """The share of reports that are empty, cut off or hold a placeholder."""
    rows = np.array([[float(is_placeholder(report))] for report in reports])
    ends = (np.zeros(1), np.ones(1))
    return _intervals(rows, [report.group for report in reports], ends, settings)[0]


def cases_needed(interval: Interval, limit: float, num_cases: int, level: float) -> int | None:
    """About how many cases would bring the upper end down to ``limit`` if the estimate stayed; None
    where no number would, the estimate being there already.

    The part of the width that stands for what was not seen falls as 1/n, the rest as 1/sqrt(n).
    """
    width, room = interval.high - interval.estimate, limit - interval.estimate
    if room <= 0:
        return None
    unseen = min(width, -math.log(level) / num_cases)
    spread = width**2 - unseen**2
    # room^2 = spread x + unseen^2 x^2 for x = num_cases / needed, written without a cancellation.
    x = 2 * room**2 / (spread + math.sqrt(spread**2 + 4 * unseen**2 * room**2))
    return math.ceil(num_cases / x)


def expected_width(spread: float, num_cases: int, level: float, worst: float = 1.0) -> float:
    """About how far above the estimate the upper end will lie, for independent cases whose
    differences have the standard deviation ``spread``.
    """
    z = NormalDist().inv_cdf(1 - level)
    return math.hypot(z * spread / math.sqrt(num_cases), -math.log(level) * worst / num_cases)


def _qualities(old: ScoredReport, new: ScoredReport) -> tuple[float, float] | None:
    """Q of both reports of a case; None where one of them has none."""
    before, after = (None if each.score is None else each.score.quality for each in (old, new))
    return None if before is None or after is None else (before, after)


def _mean_of(qualities: NDArray[np.float64], side: int) -> float | None:
    return float(qualities[:, side].mean()) if len(qualities) else None


def _means(rows: NDArray[np.float64], mean_Q: float | None) -> Means:
    values = [float(value) for value in rows.mean(axis=0)]
    return Means(values[0], mean_Q, dict(zip(CATEGORIES, values[1:-1], strict=True)), values[-1])


def _intervals(
    rows: NDArray[np.float64],
    groups: Sequence[str],
    ends: tuple[NDArray[np.float64], NDArray[np.float64]],
    settings: BootstrapSettings,
) -> list[Interval]:
    """One interval per column of ``rows`` (cases, metrics); ``ends`` are the least and the greatest
    value that a case could have.
    """
    names, places = np.unique(np.array(groups), return_inverse=True)
    sums = np.zeros((len(names), rows.shape[1]))
    np.add.at(sums, places, rows)
    sizes = np.bincount(places, minlength=len(names)).astype(np.float64)
    size = sizes.mean()  # of the group that was not seen
    low, high = [], []
    for seen, unseen in _weights(len(names), settings):
        total = (seen @ sizes + unseen * size)[:, None]
        known = seen @ sums
        low.append((known + unseen[:, None] * size * ends[0]) / total)
        high.append((known + unseen[:, None] * size * ends[1]) / total)
    lows = np.quantile(np.concatenate(low), settings.level, axis=0)
    highs = np.quantile(np.concatenate(high), 1 - settings.level, axis=0)
    columns = zip(rows.mean(axis=0), lows, highs, strict=True)
    return [Interval(float(e), float(lo), float(hi)) for e, lo, hi in columns]


def _weights(
    num_groups: int, settings: BootstrapSettings
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Weights (resamples, groups) and, of the group that was not seen, (resamples,), in blocks."""
    rng = np.random.default_rng(settings.seed)
    block = max(1, _CELLS // num_groups)
    for first in range(0, settings.num_bootstrap, block):
        count = min(block, settings.num_bootstrap - first)
        # Dirichlet(1, ..., 1) up to a factor, which a ratio of means does not see.
        weights = rng.standard_exponential((count, num_groups + 1))
        yield weights[:, :-1], weights[:, -1]


def _scored_pairs(
    parent: Sequence[ScoredReport], candidate: Sequence[ScoredReport]
) -> list[tuple[ScoredReport, ScoredReport]]:
    """The reports of both models on the cases that could be scored for both, by case id."""
    before = {report.case_id: report for report in parent}
    after = {report.case_id: report for report in candidate}
    if before.keys() != after.keys() or len(before) != len(parent) or len(after) != len(candidate):
        raise GateError(
            f"parent ({len(parent)} reports) and candidate ({len(candidate)}) were not evaluated "
            "on the same cases, once each; generate both on one list of held-out cases"
        )
    for case_id in sorted(before):
        old, new = before[case_id], after[case_id]
        if old.group != new.group:
            raise GateError(f"case {case_id} has two groups, {old.group!r} and {new.group!r}")
    pairs = [(before[case_id], after[case_id]) for case_id in sorted(before)]
    return [(old, new) for old, new in pairs if old.score is not None and new.score is not None]


def _rows(reports: Sequence[ScoredReport], severe_threshold: float) -> NDArray[np.float64]:
    """Rows (cases, 1 + 9 + 1) of S, severities and severe errors of scored reports."""
    scores = [report.score for report in reports if report.score is not None]
    return np.array([_row(score, severe_threshold) for score in scores], dtype=np.float64)


def _row(score: SeverityScore, severe_threshold: float) -> list[float]:
    severities = [score.severities[name] for name in CATEGORIES]
    return [score.total, *severities, float(is_severe(score, severe_threshold))]
