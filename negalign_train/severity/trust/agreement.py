"""How well a judge's severities follow the readers': four measures with intervals. Pure.

Every measure weighs each case group by how often a bootstrap draw holds it. With every group once
it is the estimate, with a draw's counts one of its resamples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from negalign_train.severity.trust.intervals import Floats, draws, group_places, percentile_interval

BIN_EDGES = (0.0, 0.25, 0.5)
"""Severities are binned for kappa: none, up to 0.25 (minor), up to 0.5 (actionable), above."""
TOTAL_EDGES = (0.0, 0.5, 1.0)
"""The same for S: accept, partial, and reject in two steps (``taxonomy.grades``)."""
MAX_PAIRS = 10_000
"""Pairwise accuracy looks at no more pairs than this, drawn with a fixed seed."""
_PAIR_SEED = 0


@dataclass(frozen=True)
class Estimate:
    """A measure with its percentile interval. None where the data cannot tell: readers or judge
    give one value only.
    """

    value: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Agreement:
    """One judge against the readers, in one category or in S.

    ``kappa``: quadratic-weighted (Cohen 1968) over the bins. ``spearman``: rank correlation.
    ``pairwise``: of two reports that the readers tell apart, how often the judge puts them in the
    same order (a tie counts half); 0.5 is chance. ``calibration_error``: mean absolute difference
    between the judge's and the readers' mean severity in the judge's own bins, weighted by their
    size (expected calibration error, Naeini et al. 2015); 0 is best. ``bias``: mean of judge minus
    readers.
    """

    num_examples: int
    num_positive: int
    kappa: Estimate
    spearman: Estimate
    pairwise: Estimate
    calibration_error: Estimate
    bias: Estimate


@dataclass(frozen=True)
class AgreementSettings:
    """Resamples, confidence of the intervals, and the seed of both."""

    num_bootstrap: int = 500
    confidence: float = 0.95
    seed: int = 1


def quotient(top: Floats, bottom: Floats) -> Floats:
    """top / bottom, NaN where the bottom is 0."""
    safe = np.where(np.abs(bottom) > 1e-12, bottom, np.nan)
    return np.asarray(top / safe, dtype=np.float64)


def weighted_kappa(judge: Floats, reader: Floats, weights: Floats, edges: Floats) -> Floats:
    """Quadratic-weighted kappa for each row of ``weights`` (draws, examples)."""
    count = len(edges) + 1
    a, b = np.searchsorted(edges, judge), np.searchsorted(edges, reader)
    cells = a * count + b
    observed = np.zeros((len(weights), count * count))
    for cell in np.unique(cells):
        observed[:, cell] = weights[:, cells == cell].sum(axis=1)
    table = observed.reshape(-1, count, count)
    total = table.sum(axis=(1, 2))
    expected = np.einsum("di,dj->dij", table.sum(axis=2), table.sum(axis=1))
    step = (np.subtract.outer(np.arange(count), np.arange(count)) / (count - 1)) ** 2
    disagreement = (table * step).sum(axis=(1, 2)) * total
    return 1 - quotient(disagreement, (expected * step).sum(axis=(1, 2)))


def _ranks(values: Floats, weights: Floats) -> Floats:
    """Mid-ranks of ``values`` where example j stands ``weights[d, j]`` times; (draws, examples)."""
    _, where = np.unique(values, return_inverse=True)
    sizes = np.zeros((len(weights), int(where.max()) + 1))
    for index in range(sizes.shape[1]):
        sizes[:, index] = weights[:, where == index].sum(axis=1)
    middle = np.cumsum(sizes, axis=1) - sizes / 2
    return np.asarray(middle[:, where], dtype=np.float64)


def spearman(judge: Floats, reader: Floats, weights: Floats) -> Floats:
    """Spearman's rank correlation, ties at mid-rank, for each row of ``weights``."""
    a, b = _ranks(judge, weights), _ranks(reader, weights)
    total = weights.sum(axis=1, keepdims=True)
    a = a - (weights * a).sum(axis=1, keepdims=True) / total
    b = b - (weights * b).sum(axis=1, keepdims=True) / total
    spread = (weights * a**2).sum(axis=1) * (weights * b**2).sum(axis=1)
    return quotient((weights * a * b).sum(axis=1), np.sqrt(spread))


def _distinct_pairs(reader: Floats) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Pairs (i, j) whose reader severities differ; a seeded draw of them where they are many."""
    count = len(reader)
    if count * (count - 1) // 2 <= MAX_PAIRS:
        i, j = np.triu_indices(count, k=1)
    else:
        rng = np.random.default_rng(_PAIR_SEED)
        i, j = rng.integers(0, count, size=(2, 4 * MAX_PAIRS))
    apart = np.flatnonzero(np.abs(reader[i] - reader[j]) > 1e-9)[:MAX_PAIRS]
    return i[apart], j[apart]


def pairwise_accuracy(judge: Floats, reader: Floats) -> Callable[[Floats], Floats]:
    """A function of ``weights`` (draws, examples): the share of pairs in the readers' order."""
    i, j = _distinct_pairs(reader)
    gap = judge[i] - judge[j]
    same = np.where(np.abs(gap) < 1e-9, 0.5, (gap > 0) == (reader[i] > reader[j]))

    def accuracy(weights: Floats) -> Floats:
        if not len(i):
            return np.full(len(weights), np.nan)
        both = weights[:, i] * weights[:, j]
        return quotient(both @ same, both.sum(axis=1))

    return accuracy


def calibration_error(judge: Floats, reader: Floats, weights: Floats, edges: Floats) -> Floats:
    """Expected calibration error over the judge's bins, for each row of ``weights``."""
    bins = np.searchsorted(edges, judge)
    error = np.zeros(len(weights))
    for index in np.unique(bins):
        inside = bins == index
        error += np.abs(weights[:, inside] @ (judge[inside] - reader[inside]))
    return quotient(error, weights.sum(axis=1))


def _measures(
    judge: Floats, reader: Floats, edges: Sequence[float]
) -> dict[str, Callable[[Floats], Floats]]:
    cuts = np.array(edges)
    # np.searchsorted(left) puts a value equal to an edge below it: 0 is its own bin.
    return {
        "kappa": lambda w: weighted_kappa(judge, reader, w, cuts),
        "spearman": lambda w: spearman(judge, reader, w),
        "pairwise": pairwise_accuracy(judge, reader),
        "calibration_error": lambda w: calibration_error(judge, reader, w, cuts),
        "bias": lambda w: quotient(w @ (judge - reader), w.sum(axis=1)),
    }


def agreement(
    judge: Sequence[float],
    reader: Sequence[float],
    groups: Sequence[str],
    edges: Sequence[float],
    settings: AgreementSettings,
) -> Agreement:
    """A judge's severities against the readers', with intervals over case groups.

    Args:
        judge: severities in the order of ``reader``, which holds the readers' for the same reports.
        groups: case group of each report.
        edges: upper bounds of the bins, ``BIN_EDGES`` for a category or ``TOTAL_EDGES`` for S.
    """
    a, b = np.array(judge, dtype=np.float64), np.array(reader, dtype=np.float64)
    if not len(a):
        none = Estimate(None)
        return Agreement(0, 0, none, none, none, none, none)
    measures = _measures(a, b, edges)
    num_groups, places = group_places(groups)
    resampled: dict[str, list[Floats]] = {name: [] for name in measures}
    for block in draws(num_groups, settings.num_bootstrap, settings.seed):
        weights = block[:, places]
        for name, measure in measures.items():
            resampled[name].append(measure(weights))
    once = np.ones((1, len(a)))
    return Agreement(
        len(a),
        int((b > 0).sum()),
        **{
            name: estimate_from(measure(once)[0], np.concatenate(resampled[name]), settings)
            for name, measure in measures.items()
        },
    )


def estimate_from(value: float, resampled: Floats, settings: AgreementSettings) -> Estimate:
    """A measure with the percentile interval of its resamples; None where it is no number."""
    if not np.isfinite(value):
        return Estimate(None)
    interval = percentile_interval(resampled, settings.confidence)
    low, high = (None, None) if interval is None else interval
    return Estimate(float(value), low, high)
