"""Paired bootstrap over case groups: how sure a difference between two models is. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from negalign_train.errors import GateError
from negalign_train.evaluation.metrics import is_severe
from negalign_train.records import CATEGORIES, ScoredReport, SeverityScore

_CELLS = 4_000_000
"""Resampled counts held at once: 32 MB of float64."""


@dataclass(frozen=True)
class Interval:
    """A difference candidate - parent with its percentile interval."""

    estimate: float
    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """Differences on the cases that both models' reports could be scored on."""

    num_cases: int
    num_groups: int
    total: Interval
    per_category: Mapping[str, Interval]
    severe_rate: Interval


@dataclass(frozen=True)
class BootstrapSettings:
    """``confidence`` in (0.5, 1), ``num_bootstrap`` resamples, ``severe_threshold`` of s_i."""

    confidence: float
    num_bootstrap: int
    severe_threshold: float
    seed: int


def paired_bootstrap(
    parent: Sequence[ScoredReport],
    candidate: Sequence[ScoredReport],
    settings: BootstrapSettings,
) -> Comparison | None:
    """Percentile intervals of candidate - parent, whole case groups drawn with replacement.

    Cases of one group are not independent, so groups are drawn and not cases (cluster bootstrap,
    Davison and Hinkley 1997, section 3.8). All metrics share one resampling. None where no case was
    scored for both.

    Raises:
        GateError: the two sides hold different cases, or a case in two groups.
    """
    rows, groups = _differences(parent, candidate, settings.severe_threshold)
    if not groups:
        return None
    names, places = np.unique(np.array(groups), return_inverse=True)
    sums = np.zeros((len(names), rows.shape[1]))
    np.add.at(sums, places, rows)
    sizes = np.bincount(places, minlength=len(names)).astype(np.float64)
    means = _resampled_means(sums, sizes, settings)
    tail = 50 * (1 - settings.confidence)
    low, high = np.percentile(means, [tail, 100 - tail], axis=0)
    estimate = rows.mean(axis=0)
    intervals = [
        Interval(float(e), float(lo), float(hi))
        for e, lo, hi in zip(estimate, low, high, strict=True)
    ]
    return Comparison(
        num_cases=len(groups),
        num_groups=len(names),
        total=intervals[0],
        per_category=dict(zip(CATEGORIES, intervals[1:-1], strict=True)),
        severe_rate=intervals[-1],
    )


def _resampled_means(
    sums: NDArray[np.float64], sizes: NDArray[np.float64], settings: BootstrapSettings
) -> NDArray[np.float64]:
    """Means (num_bootstrap, metrics) over cases, of resampled groups; in blocks of bounded size."""
    rng = np.random.default_rng(settings.seed)
    num_groups = len(sizes)
    block = max(1, _CELLS // num_groups)
    means: list[NDArray[np.float64]] = []
    for first in range(0, settings.num_bootstrap, block):
        count = min(block, settings.num_bootstrap - first)
        # How often each group is drawn: (count, groups).
        draws = rng.multinomial(num_groups, np.full(num_groups, 1 / num_groups), size=count)
        means.append((draws @ sums) / (draws @ sizes)[:, None])
    return np.concatenate(means)


def _differences(
    parent: Sequence[ScoredReport], candidate: Sequence[ScoredReport], severe_threshold: float
) -> tuple[NDArray[np.float64], list[str]]:
    """Rows (cases, 1 + 9 + 1) of S, severities and severe errors, and each row's group."""
    before = {report.case_id: report for report in parent}
    after = {report.case_id: report for report in candidate}
    if before.keys() != after.keys() or len(before) != len(parent) or len(after) != len(candidate):
        raise GateError(
            f"parent ({len(parent)} reports) and candidate ({len(candidate)}) were not evaluated "
            "on the same cases, once each; generate both on one list of held-out cases"
        )
    rows: list[list[float]] = []
    groups: list[str] = []
    for case_id in sorted(before):
        old, new = before[case_id], after[case_id]
        if old.group != new.group:
            raise GateError(f"case {case_id} has two groups, {old.group!r} and {new.group!r}")
        if old.score is None or new.score is None:
            continue
        pairs = zip(
            _row(new.score, severe_threshold), _row(old.score, severe_threshold), strict=True
        )
        rows.append([a - b for a, b in pairs])
        groups.append(old.group)
    return np.array(rows, dtype=np.float64), groups


def _row(score: SeverityScore, severe_threshold: float) -> list[float]:
    severities = [score.severities[name] for name in CATEGORIES]
    return [score.total, *severities, float(is_severe(score, severe_threshold))]
