"""Orders compared over all pairs, against the definition written out."""

from __future__ import annotations

from itertools import combinations
from math import sqrt

import numpy as np
import pytest

from negalign_train.severity.trust.expert.order import count_pairs, count_pairs_in_cases

JUDGE = np.array([0.0, 0.5, 0.5, 1.0, 2.0, 0.2])
EXPERT = np.array([0.0, 1.0, 2.0, 2.0, 1.0, 3.0])


def by_definition(judge, expert) -> tuple[float, float]:
    """Kendall's tau-b and the pairwise accuracy of two lists."""
    agreeing = opposite = ties_judge = ties_expert = 0
    right, apart = 0.0, 0
    for (a, x), (b, y) in combinations(zip(judge, expert, strict=True), 2):
        agreeing += (a - b) * (x - y) > 0
        opposite += (a - b) * (x - y) < 0
        ties_judge += a == b
        ties_expert += x == y
        if x != y:
            apart += 1
            right += 0.5 if a == b else float((a > b) == (x > y))
    pairs = len(judge) * (len(judge) - 1) // 2
    kendall = (agreeing - opposite) / sqrt((pairs - ties_judge) * (pairs - ties_expert))
    return kendall, right / apart


def test_kendall_and_pairwise_are_those_of_the_definition():
    counts = count_pairs(JUDGE, EXPERT, np.ones((1, 6)))
    kendall, pairwise = by_definition(JUDGE, EXPERT)
    assert counts.kendall == pytest.approx([kendall])
    assert counts.pairwise == pytest.approx([pairwise])


def test_a_report_drawn_twice_counts_as_two_copies():
    weights = np.array([[2.0, 1.0, 0.0, 1.0, 3.0, 0.0]])
    copies = np.repeat(np.arange(6), weights[0].astype(int))
    kendall, pairwise = by_definition(JUDGE[copies], EXPERT[copies])
    counts = count_pairs(JUDGE, EXPERT, weights)
    assert counts.kendall == pytest.approx([kendall])
    assert counts.pairwise == pytest.approx([pairwise])


def test_more_reports_than_are_held_at_once_are_counted_alike():
    rng = np.random.default_rng(0)
    judge, expert = rng.integers(0, 9, size=(2, 600)).astype(float)
    kendall, pairwise = by_definition(judge, expert)
    counts = count_pairs(judge, expert, np.ones((1, 600)))
    assert counts.kendall == pytest.approx([kendall])
    assert counts.pairwise == pytest.approx([pairwise])


def test_within_cases_only_reports_of_one_case_are_compared():
    places = np.array([0, 0, 1, 1, 2, 2])
    counts = count_pairs_in_cases(JUDGE, EXPERT, places, np.array([[1.0, 5.0, 1.0], [0, 3, 0]]))
    # Case 0 in the experts' order, case 1 not told apart by them, case 2 in the opposite order.
    assert counts.pairwise[0] == pytest.approx(0.5)
    assert np.isnan(counts.pairwise[1])


def test_what_nobody_tells_apart_has_no_value():
    same = np.zeros(4)
    counts = count_pairs(same, same, np.ones((1, 4)))
    assert np.isnan(counts.kendall[0])
    assert np.isnan(counts.pairwise[0])
