"""The paired bootstrap over case groups."""

import math

import numpy as np
import pytest

from negalign_train.evaluation.bootstrap import (
    BootstrapSettings,
    Comparison,
    Interval,
    cases_needed,
    expected_width,
    paired_bootstrap,
    placeholder_rate,
)
from negalign_train.vocabulary.errors import GateError
from tests.evaluation_support import report


def compared(before, after, settings) -> Comparison:
    found = paired_bootstrap(before, after, settings)
    assert found is not None
    return found


SETTINGS = BootstrapSettings(level=0.025, num_bootstrap=4000, severe_threshold=0.8, seed=0)


def reports(values, group_size=1, name="false_positive"):
    return [
        report(f"c{i:04d}", {name: value}, group=f"g{i // group_size}")
        for i, value in enumerate(values)
    ]


def test_interval_of_the_mean_is_the_normal_one_where_cases_are_independent():
    rng = np.random.default_rng(1)
    after = rng.uniform(0, 0.7, 400)
    found = compared(reports(np.full(400, 0.5)), reports(after), SETTINGS)
    difference = after - 0.5
    half = expected_width(difference.std(), 400, level=0.025)
    assert 1.96 * difference.std() / 20 < half < 1.12 * 1.96 * difference.std() / 20
    assert found.total.estimate == pytest.approx(difference.mean())
    assert found.total.low == pytest.approx(difference.mean() - half, abs=0.003)
    assert found.total.high == pytest.approx(difference.mean() + half, abs=0.003)
    assert found.per_category["false_positive"] == found.total
    assert (found.num_cases, found.num_groups) == (400, 400)


def test_equal_cases_of_one_group_count_as_one():
    rng = np.random.default_rng(1)
    after = rng.uniform(0, 0.7, 100)
    single = compared(reports(np.full(100, 0.5)), reports(after), SETTINGS).total
    grouped = compared(reports(np.full(400, 0.5), 4), reports(np.repeat(after, 4), 4), SETTINGS)
    assert grouped.num_groups == 100
    width = grouped.total.high - grouped.total.low
    assert width == pytest.approx(single.high - single.low, rel=0.05)


def test_severe_rate_is_the_difference_of_shares():
    found = compared(reports([0.9] * 10), reports([0.9] * 5 + [0.1] * 5), SETTINGS)
    assert found.severe_rate.estimate == -0.5
    assert found.severe_rate.low < -0.5
    assert (found.parent.severe_rate, found.candidate.severe_rate) == (1.0, 0.5)


def test_unscored_cases_are_left_out_of_both_sides():
    before, after = reports([0.5, 0.5, 0.5]), reports([0.1, 0.1, 0.1])
    before[0] = report("c0000", None, group="g0")
    after[1] = report("c0001", None, group="g1")
    found = compared(before, after, SETTINGS)
    assert found.num_cases == 1
    assert found.total.estimate == pytest.approx(-0.4)
    assert found.parent.mean_S == pytest.approx(0.5)
    assert found.candidate.mean_S == pytest.approx(0.1)


def test_nothing_scored_gives_no_comparison():
    nothing = [report("c0", None)]
    assert paired_bootstrap(nothing, nothing, SETTINGS) is None


def test_order_does_not_matter_and_the_seed_does():
    before, after = reports([0.5] * 30), reports(np.linspace(0, 0.7, 30))
    first = compared(before, after, SETTINGS)
    assert compared(before[::-1], after, SETTINGS) == first
    other = BootstrapSettings(level=0.025, num_bootstrap=4000, severe_threshold=0.8, seed=1)
    assert compared(before, after, other) != first


def test_coverage_of_the_interval_is_near_its_confidence():
    rng = np.random.default_rng(5)
    settings = BootstrapSettings(level=0.025, num_bootstrap=400, severe_threshold=0.8, seed=0)
    covered = 0
    for _ in range(200):
        found = compared(reports(np.full(60, 0.5)), reports(rng.random(60)), settings)
        covered += found.total.low <= 0 <= found.total.high
    assert covered >= 184


@pytest.mark.parametrize("other", [["c0", "c2"], ["c0"], ["c0", "c0"]])
def test_different_cases_cannot_be_compared(other):
    with pytest.raises(GateError, match="one list of held-out cases"):
        compared(
            [report("c0", {}), report("c1", {})], [report(name, {}) for name in other], SETTINGS
        )


@pytest.mark.parametrize(("num_cases", "level"), [(30, 0.05), (30, 0.00625), (400, 0.05)])
def test_what_was_never_seen_is_bounded_as_by_clopper_and_pearson(num_cases, level):
    """No event in n cases: an upper end p with (1 - p)^n = level. A resampling would say 0."""
    settings = BootstrapSettings(level=level, num_bootstrap=20_000, severe_threshold=0.8, seed=0)
    same = reports(np.zeros(num_cases))
    exact = 1 - level ** (1 / num_cases)
    found = compared(same, same, settings)
    for interval in (found.per_category["device_error"], found.severe_rate):
        assert interval.estimate == 0
        assert interval.high == pytest.approx(exact, rel=0.08)
        assert interval.low == pytest.approx(-exact, rel=0.08)
    assert placeholder_rate(same, settings).high == pytest.approx(exact, rel=0.08)


def test_cases_needed_follow_the_rule_of_three_and_the_square_law():
    # Nothing seen: the width falls as 1/n.
    unseen = Interval(0.0, -0.1, -math.log(0.05) / 30)
    assert cases_needed(unseen, 0.02, 30, 0.05) == 150
    # Much spread: as 1/sqrt(n), so that half the width takes four times the cases.
    assert cases_needed(Interval(0.0, -1.0, 1.0), 0.5, 400, 0.05) == pytest.approx(1600, rel=0.01)
    # At or above the margin no number would do.
    assert cases_needed(Interval(0.02, -0.1, 0.1), 0.02, 30, 0.05) is None


@pytest.mark.parametrize("level", [0.0, 0.5, 0.95])
def test_a_confidence_in_place_of_a_level_is_refused(level):
    with pytest.raises(GateError, match=r"level .* is not in \(0, 0.5\); .* 0.025 for a 95 %"):
        BootstrapSettings(level=level, num_bootstrap=100, severe_threshold=0.8, seed=0)
