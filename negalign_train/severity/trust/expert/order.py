"""How far two orders of the same reports agree, exactly over all pairs of them. Pure.

Every measure weighs each report by how often a bootstrap draw holds its case (rows of ``weights``).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from negalign_train.severity.trust.agreement import quotient
from negalign_train.severity.trust.intervals import Floats, Places

_ROWS = 256
"""Rows of the table of pairs that are held at once."""


@dataclass(frozen=True)
class PairCounts:
    """Weighted counts over all pairs of reports, one for each draw.

    ``agreeing`` is pairs in the same order minus pairs in the opposite one; ``apart_judge`` and
    ``apart_expert`` are the pairs that each side tells apart.
    """

    agreeing: Floats
    apart_judge: Floats
    apart_expert: Floats

    @property
    def kendall(self) -> Floats:
        """Kendall's tau-b (1945), which knows ties; NaN where a side tells nothing apart."""
        return quotient(self.agreeing, np.sqrt(self.apart_judge * self.apart_expert))

    @property
    def pairwise(self) -> Floats:
        """Of the pairs that the experts tell apart, the share in the judge's order; a tie counts
        half, so that 0.5 is chance.
        """
        return np.asarray((1 + quotient(self.agreeing, self.apart_expert)) / 2, dtype=np.float64)


def _signs(values: Floats, rows: slice) -> Floats:
    """The sign of each difference between ``rows`` and all values; 0 where they are equal."""
    gap = values[rows, None] - values[None, :]
    return np.asarray(np.where(np.abs(gap) < 1e-9, 0.0, np.sign(gap)), dtype=np.float64)


def count_pairs(judge: Floats, expert: Floats, weights: Floats) -> PairCounts:
    """The counts over all pairs of reports; ``weights`` is (draws, reports)."""
    counts = np.zeros((3, len(weights)))
    for first in range(0, len(judge), _ROWS):
        rows = slice(first, first + _ROWS)
        a, b = _signs(judge, rows), _signs(expert, rows)
        for place, table in enumerate((a * b, np.abs(a), np.abs(b))):
            counts[place] += ((weights[:, rows] @ table) * weights).sum(axis=1)
    return PairCounts(*counts)


def count_pairs_in_cases(
    judge: Floats, expert: Floats, places: Places, weights: Floats
) -> PairCounts:
    """The same over pairs of one case only: each copy of a drawn case brings its own pairs.

    Args:
        places: the number of each report's case.
        weights: (draws, cases).
    """
    by_case = np.zeros((3, weights.shape[1]))
    for case in np.unique(places):
        inside = places == case
        a, b = _signs(judge[inside], slice(None)), _signs(expert[inside], slice(None))
        by_case[:, case] = (a * b).sum(), np.abs(a).sum(), np.abs(b).sum()
    return PairCounts(*(np.asarray(weights @ counts, dtype=np.float64) for counts in by_case))
