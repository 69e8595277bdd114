"""The figures of a judge on an expert set, each with an interval over cases. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from negalign_train.severity.trust.agreement import (
    AgreementSettings,
    Estimate,
    estimate_from,
    quotient,
    spearman,
)
from negalign_train.severity.trust.expert.expert_set import (
    RatedReport,
    is_charged,
    rated_categories,
)
from negalign_train.severity.trust.expert.order import (
    count_pairs,
    count_pairs_in_cases,
)
from negalign_train.severity.trust.intervals import Floats, Places, draws, group_places
from negalign_train.vocabulary.records import CATEGORIES

_Measures = Callable[[Floats], Mapping[str, Floats]]
"""From (draws, cases), how often each case is drawn, to the value of each measure in each draw."""


@dataclass(frozen=True)
class OrderFigures:
    """How far an order follows the experts'. ``pairwise_in_case`` compares reports of one case
    alone: which of two drafts of one study is better.
    """

    spearman: Estimate
    kendall: Estimate
    pairwise: Estimate
    pairwise_in_case: Estimate


@dataclass(frozen=True)
class CategoryFigures:
    """One category: reports with an error by at least half of the raters, by the judge, and how
    far the two meet. ``spearman`` is between the judge's severity and the raters' mean.
    """

    num_expert: int
    num_judge: int
    precision: Estimate
    recall: Estimate
    spearman: Estimate


def _estimates(
    measures: _Measures,
    num_cases: int,
    settings: AgreementSettings,
    progress: Callable[[int], None] = lambda _: None,
) -> dict[str, Estimate]:
    """Each measure with every case once, and its interval over drawn cases."""
    once = measures(np.ones((1, num_cases)))
    blocks = []
    for block in draws(num_cases, settings.num_bootstrap, settings.seed):
        blocks.append(measures(block))
        progress(len(block))
    return {
        name: estimate_from(value[0], np.concatenate([b[name] for b in blocks]), settings)
        for name, value in once.items()
    }


def order_figures(
    judge: Sequence[float],
    expert: Sequence[float],
    cases: Sequence[str],
    settings: AgreementSettings,
    progress: Callable[[int], None],
) -> OrderFigures:
    """A judge's scores against the experts' totals of the same reports; ``progress`` is told of
    resamples as they are done.
    """
    num_cases, places = group_places(cases)
    a, b = np.array(judge, dtype=np.float64), np.array(expert, dtype=np.float64)
    estimates = _estimates(lambda w: _order(a, b, places, w), num_cases, settings, progress)
    return OrderFigures(**estimates)


def _order(judge: Floats, expert: Floats, places: Places, w: Floats) -> dict[str, Floats]:
    weights = w[:, places]
    pairs = count_pairs(judge, expert, weights)
    with np.errstate(invalid="ignore"):  # none of a rater's cases drawn: NaN
        ranked = spearman(judge, expert, weights)
    return {
        "spearman": ranked,
        "kendall": pairs.kendall,
        "pairwise": pairs.pairwise,
        "pairwise_in_case": count_pairs_in_cases(judge, expert, places, w).pairwise,
    }


def rater_figures(
    reports: Sequence[RatedReport],
    settings: AgreementSettings,
    progress: Callable[[int], None],
) -> OrderFigures | None:
    """One rater against the mean of the others, averaged over the raters: what a judge can reach.

    None where no two raters rated one report.
    """
    raters = sorted({rating.rater for report in reports for rating in report.ratings})
    num_cases, places = group_places([report.case for report in reports])
    sides = [side for rater in raters if (side := _against_others(reports, rater)) is not None]
    if not sides:
        return None

    def mean_of_raters(w: Floats) -> dict[str, Floats]:
        each = [_order(own, others, places[rows], w) for rows, own, others in sides]
        return {name: np.mean([one[name] for one in each], axis=0) for name in each[0]}

    return OrderFigures(**_estimates(mean_of_raters, num_cases, settings, progress))


def _against_others(
    reports: Sequence[RatedReport], rater: str
) -> tuple[list[int], Floats, Floats] | None:
    """The reports that this rater and another one rated: their rows, the rater's totals, and the
    means of the others'.
    """
    rows, own, others = [], [], []
    for row, report in enumerate(reports):
        mine = [rating.total for rating in report.ratings if rating.rater == rater]
        rest = [rating.total for rating in report.ratings if rating.rater != rater]
        if mine and rest:
            rows.append(row)
            own.append(mine[0])
            others.append(sum(rest) / len(rest))
    return (rows, np.array(own), np.array(others)) if rows else None


def category_figures(
    severities: Sequence[Mapping[str, float]],
    reports: Sequence[RatedReport],
    settings: AgreementSettings,
) -> dict[str, CategoryFigures]:
    """Precision, recall and rank correlation of every category that all raters rated."""
    rated = rated_categories(reports)
    num_cases, places = group_places([report.case for report in reports])
    figures: dict[str, CategoryFigures] = {}
    for name in CATEGORIES:
        if name not in rated:
            continue
        judge = np.array([row[name] for row in severities])
        charged = np.array([is_charged(report, name) for report in reports])
        amount = np.array(
            [float(np.mean([r.errors[name] for r in report.ratings])) for report in reports]
        )
        measures = _Charges(judge, charged, amount, places)
        estimates = _estimates(measures, num_cases, settings)
        figures[name] = CategoryFigures(int(charged.sum()), int((judge > 0).sum()), **estimates)
    return figures


@dataclass(frozen=True)
class _Charges:
    """The measures of one category, as a function of how often each case is drawn."""

    judge: Floats
    charged: Floats
    amount: Floats
    places: Places

    def __call__(self, w: Floats) -> dict[str, Floats]:
        weights = w[:, self.places]
        both = weights @ ((self.judge > 0) & (self.charged > 0)).astype(np.float64)
        return {
            "precision": quotient(both, weights @ (self.judge > 0).astype(np.float64)),
            "recall": quotient(both, weights @ (self.charged > 0).astype(np.float64)),
            "spearman": spearman(self.judge, self.amount, weights),
        }


def share(held: Sequence[float], cases: Sequence[str], settings: AgreementSettings) -> Estimate:
    """The mean of ``held`` (0 to 1), with its interval."""
    if not held:
        return Estimate(None)
    num_cases, places = group_places(cases)
    values = np.array(held, dtype=np.float64)

    def mean(w: Floats) -> dict[str, Floats]:
        weights = w[:, places]
        return {"share": quotient(weights @ values, weights.sum(axis=1))}

    return _estimates(mean, num_cases, settings)["share"]
