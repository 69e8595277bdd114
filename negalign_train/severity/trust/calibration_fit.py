"""Finds a judge's calibration from readers' severities, and adopts it only on evidence. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from negalign_train.cases.splits import group_fraction
from negalign_train.severity.judges.examples import GradedExample
from negalign_train.severity.pricing.calibration import Calibration, CategoryScale, identity
from negalign_train.severity.trust.intervals import Floats, draws, group_places, percentile_interval
from negalign_train.storage.fingerprint import fingerprint
from negalign_train.vocabulary.records import CATEGORIES

SCALES = np.round(np.geomspace(0.1, 4.0, 75), 4)
EXPONENTS = np.array([0.5, 0.625, 0.75, 0.875, 1.0, 1.25, 1.5, 1.75, 2.0])
"""The grid that is searched, so that the same data gives the same numbers everywhere."""
NUM_FOLDS = 5
NUM_BOOTSTRAP = 2000


@dataclass(frozen=True)
class FitSettings:
    """How much evidence a category needs: events with s > 0, their case groups, and the confidence
    of the interval that must lie below 0.
    """

    min_events: int
    min_groups: int
    confidence: float
    seed: int = 0


@dataclass(frozen=True)
class _Rows:
    """Informative events of one category: the judge's s > 0, the reader's r, the case groups, and
    the two S.
    """

    s: Floats
    r: Floats
    groups: tuple[str, ...]
    judge_S: Floats
    reader_S: Floats


def _best(s: Floats, r: Floats, exponents: Floats) -> tuple[float, float]:
    """(scale, exponent) of least squared error on the grid; of equals the one closest to 1."""
    values, where = np.unique(s, return_inverse=True)
    count = np.bincount(where).astype(np.float64)
    sum_r = np.bincount(where, weights=r)
    # (scales, exponents, distinct s)
    predicted = np.minimum(1.0, SCALES[:, None, None] * values ** exponents[None, :, None])
    error = (count * predicted**2 - 2 * predicted * sum_r).sum(axis=2)
    distance = np.abs(np.log(SCALES))[:, None] + np.abs(np.log(exponents))[None, :]
    order = np.lexsort((distance.ravel(), np.round(error.ravel(), 9)))
    scale, exponent = np.unravel_index(order[0], error.shape)
    return float(SCALES[scale]), float(exponents[exponent])


def _out_of_fold(rows: _Rows, exponents: Floats) -> Floats:
    """Each event's re-scaled s under the fit that never saw its case group."""
    folds = np.array([int(group_fraction(g, seed=0) * NUM_FOLDS) for g in rows.groups])
    predicted = rows.s.copy()
    for fold in range(NUM_FOLDS):
        held = folds == fold
        if held.any() and not held.all():
            scale, exponent = _best(rows.s[~held], rows.r[~held], exponents)
            predicted[held] = np.minimum(1.0, scale * rows.s[held] ** exponent)
    return predicted


def _change(rows: _Rows, predicted: Floats, settings: FitSettings) -> tuple[float, float, float]:
    """Mean squared error of ``predicted`` minus that of s itself, with its interval over groups."""
    difference = (predicted - rows.r) ** 2 - (rows.s - rows.r) ** 2
    num_groups, places = group_places(rows.groups)
    sums = np.bincount(places, weights=difference, minlength=num_groups)
    sizes = np.bincount(places, minlength=num_groups).astype(np.float64)
    means = np.concatenate(
        [(d @ sums) / (d @ sizes) for d in draws(num_groups, NUM_BOOTSTRAP, settings.seed)]
    )
    interval = percentile_interval(means, settings.confidence)
    assert interval is not None  # every draw holds an event
    return float(difference.mean()), *interval


def _raises_error_of_S(rows: _Rows, predicted: Floats) -> bool:
    """Whether S follows the readers' S less well with this category re-scaled.

    Then the scorer and the readers name different categories for the same error. A lower price
    would not correct the category; it would lose the error.
    """
    moved = rows.judge_S - rows.s + predicted
    return bool(((moved - rows.reader_S) ** 2 - (rows.judge_S - rows.reader_S) ** 2).sum() > 0)


def _fit_category(rows: _Rows, settings: FitSettings) -> CategoryScale:
    """A scale alone, or scale and exponent: the better in cross-validation, if it is shown to beat
    leaving the severities as they are.
    """
    scale = CategoryScale(num_informative=len(rows.s), num_groups=len(set(rows.groups)))
    if scale.num_informative < settings.min_events:
        return replace(scale, reason="too_few_events")
    if scale.num_groups < settings.min_groups:
        return replace(scale, reason="too_few_groups")
    # The simpler family first, so that it wins a tie.
    families = (np.array([1.0]), EXPONENTS)
    predictions = [_out_of_fold(rows, some) for some in families]
    changes = [_change(rows, predicted, settings) for predicted in predictions]
    best = min(range(len(families)), key=lambda index: changes[index][0])
    change, low, high = changes[best]
    scale = replace(scale, reason="no_better", change=change, ci_low=low, ci_high=high)
    if high >= 0:
        return scale
    if _raises_error_of_S(rows, predictions[best]):
        return replace(scale, reason="worse_S")
    factor, exponent = _best(rows.s, rows.r, families[best])
    return replace(scale, scale=factor, exponent=exponent, reason="adopted")


def _rows_of(
    category: str, examples: Sequence[GradedExample], scores: Sequence[Mapping[str, float]]
) -> _Rows:
    informative = [
        (example, score)
        for example, score in zip(examples, scores, strict=True)
        if score[category] > 0
    ]
    return _Rows(
        np.array([score[category] for _, score in informative], dtype=np.float64),
        np.array([example.severities[category] for example, _ in informative], dtype=np.float64),
        tuple(example.group for example, _ in informative),
        np.array([sum(score.values()) for _, score in informative], dtype=np.float64),
        np.array([example.total for example, _ in informative], dtype=np.float64),
    )


def fit_calibration(
    judge: tuple[str, str],
    examples: Sequence[GradedExample],
    scores: Sequence[Mapping[str, float] | None],
    settings: FitSettings,
) -> Calibration:
    """The calibration that the readers' severities support; most often the identity.

    Args:
        judge: name and version of what gave ``scores``.
        scores: the judge's nine severities of each example; None where it could not score.
    """
    known = [(e, s) for e, s in zip(examples, scores, strict=True) if s is not None]
    if not known:
        return identity(*judge, "no earlier event with a reader's severities and an edit")
    used, values = [e for e, _ in known], [s for _, s in known]
    categories = {
        name: _fit_category(_rows_of(name, used, values), settings) for name in CATEGORIES
    }
    calibration = Calibration(
        *judge,
        categories,
        reason="",
        num_events=len(used),
        num_groups=len({example.group for example in used}),
        data_digest=fingerprint(
            sorted([e.event_id, e.group, list(e.row), dict(s)] for e, s in known)
        ),
        confidence=settings.confidence,
    )
    return _with_reason(calibration, settings)


def _with_reason(calibration: Calibration, settings: FitSettings) -> Calibration:
    """The calibration with its verdict in words."""
    if calibration.adopted:
        reason = f"re-scaled: {', '.join(calibration.adopted)}"
    elif any(scale.reason in ("no_better", "worse_S") for scale in calibration.categories.values()):
        reason = "no re-scaling was shown to follow the readers better; nothing is changed"
    else:
        reason = (
            f"too little data: no category has {settings.min_events} events with a severity above "
            f"0 in {settings.min_groups} case groups; nothing is changed"
        )
    return replace(calibration, reason=reason)
