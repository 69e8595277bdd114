"""Measures of agreement against values worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from negalign_train.severity.trust.agreement import (
    BIN_EDGES,
    AgreementSettings,
    Estimate,
    agreement,
    calibration_error,
    pairwise_accuracy,
    spearman,
    weighted_kappa,
)

FAST = AgreementSettings(num_bootstrap=100)
ONCE = np.ones((1, 4))


def test_kappa_of_a_small_table_is_the_one_worked_out_by_hand():
    """Bins 0,0,3,3 against 0,3,3,3: observed w = 1 of 4; expected = (2*1*9 ... ) by margins.

    Rows (2, 0, 0, 2), columns (1, 0, 0, 3), squared step 1 between the outer bins:
    expected disagreement = (2*3 + 2*1) / 4 = 2, observed 1, kappa = 1 - 1/2.
    """
    judge, reader = np.array([0.0, 0.0, 1.0, 1.0]), np.array([0.0, 1.0, 1.0, 1.0])
    assert weighted_kappa(judge, reader, ONCE, np.array(BIN_EDGES)).tolist() == [0.5]


def test_spearman_gives_ties_their_middle_rank():
    """Ranks 1.5, 1.5, 3, 4 and 1, 2, 3, 4: covariance 4.5, variances 4.5 and 5."""
    judge, reader = np.array([0.0, 0.0, 0.5, 1.0]), np.array([0.0, 0.1, 0.2, 0.3])
    assert spearman(judge, reader, ONCE)[0] == pytest.approx(4.5 / math.sqrt(4.5 * 5))


def test_weights_stand_for_copies():
    judge, reader = np.array([0.0, 0.0, 0.5, 1.0]), np.array([0.2, 0.1, 0.2, 0.0])
    twice = np.repeat(np.arange(4), [2, 1, 0, 3])
    weights = np.array([[2.0, 1.0, 0.0, 3.0]])
    for measure in (spearman, lambda a, b, w: weighted_kappa(a, b, w, np.array(BIN_EDGES))):
        copied = measure(judge[twice], reader[twice], np.ones((1, 6)))
        assert measure(judge, reader, weights)[0] == pytest.approx(copied[0])


def test_pairwise_accuracy_counts_a_tie_as_half_and_skips_what_readers_tie():
    """Readers order (0,2), (0,3), (1,2), (1,3) and tie (0,1), (2,3); right, tie, right, wrong."""
    judge, reader = np.array([0.2, 0.3, 0.5, 0.2]), np.array([0.0, 0.0, 1.0, 1.0])
    assert pairwise_accuracy(judge, reader)(ONCE).tolist() == [2.5 / 4]


def test_calibration_error_is_the_mean_gap_of_the_judges_bins():
    """Bin 0: 0 against mean 0.25, two reports; top bin: 0.9 against 0.6, two reports."""
    judge, reader = np.array([0.0, 0.0, 0.9, 0.9]), np.array([0.0, 0.5, 0.6, 0.6])
    error = calibration_error(judge, reader, ONCE, np.array(BIN_EDGES))
    assert error[0] == pytest.approx(0.5 * 0.25 + 0.5 * 0.3)


def test_a_judge_that_says_what_readers_say_is_perfect():
    values = [0.0, 0.25, 0.5, 1.0] * 5
    found = agreement(values, values, [f"g{i}" for i in range(20)], BIN_EDGES, FAST)
    assert (found.kappa.value, found.pairwise.value) == (1.0, 1.0)
    assert found.spearman.value == pytest.approx(1.0)
    assert (found.calibration_error.value, found.bias.value) == (0.0, 0.0)
    assert (found.num_examples, found.num_positive) == (20, 15)
    assert found.kappa.low == 1.0


def test_what_cannot_be_told_is_none_and_not_zero():
    found = agreement([0.0] * 6, [0.0] * 6, list("abcdef"), BIN_EDGES, FAST)
    assert (found.kappa.value, found.spearman.value, found.pairwise.value) == (None, None, None)
    assert agreement([], [], [], BIN_EDGES, FAST).kappa.value is None


def test_reports_of_one_group_do_not_count_as_independent():
    rng = np.random.default_rng(3)
    reader = rng.random(60)
    judge = np.clip(reader + np.repeat(rng.normal(0, 0.4, 10), 6), 0, 1)
    both = judge.tolist(), reader.tolist()
    alone = agreement(*both, [str(i) for i in range(60)], BIN_EDGES, FAST).bias
    grouped = agreement(*both, [str(i // 6) for i in range(60)], BIN_EDGES, FAST).bias
    assert alone.value == grouped.value
    assert _width(grouped) > 1.3 * _width(alone)


def _width(found: Estimate) -> float:
    assert found.low is not None
    assert found.high is not None
    return found.high - found.low
