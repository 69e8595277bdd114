"""The paired bootstrap over case groups."""

import numpy as np
import pytest

from negalign_train.errors import GateError
from negalign_train.evaluation.bootstrap import (
    BootstrapSettings,
    Comparison,
    Interval,
    paired_bootstrap,
)
from tests.evaluation_support import report


def compared(before, after, settings) -> Comparison:
    found = paired_bootstrap(before, after, settings)
    assert found is not None
    return found


SETTINGS = BootstrapSettings(confidence=0.95, num_bootstrap=4000, severe_threshold=0.8, seed=0)


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
    half = 1.96 * difference.std() / 20
    assert found.total.estimate == pytest.approx(difference.mean())
    assert found.total.low == pytest.approx(difference.mean() - half, abs=0.002)
    assert found.total.high == pytest.approx(difference.mean() + half, abs=0.002)
    assert found.per_category["false_positive"] == found.total
    assert found.per_category["device_error"] == Interval(0.0, 0.0, 0.0)
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
    assert found.severe_rate.high < 0


def test_unscored_cases_are_left_out_of_both_sides():
    before, after = reports([0.5, 0.5, 0.5]), reports([0.1, 0.1, 0.1])
    before[0] = report("c0000", None, group="g0")
    after[1] = report("c0001", None, group="g1")
    found = compared(before, after, SETTINGS)
    assert found.num_cases == 1
    assert found.total.estimate == pytest.approx(-0.4)


def test_nothing_scored_gives_no_comparison():
    nothing = [report("c0", None)]
    assert paired_bootstrap(nothing, nothing, SETTINGS) is None


def test_order_does_not_matter_and_the_seed_does():
    before, after = reports([0.5] * 30), reports(np.linspace(0, 0.7, 30))
    first = compared(before, after, SETTINGS)
    assert compared(before[::-1], after, SETTINGS) == first
    other = BootstrapSettings(0.95, 4000, 0.8, seed=1)
    assert compared(before, after, other) != first


def test_coverage_of_the_interval_is_near_its_confidence():
    rng = np.random.default_rng(5)
    settings = BootstrapSettings(0.95, 400, 0.8, seed=0)
    covered = 0
    for _ in range(200):
        found = compared(reports(np.full(60, 0.5)), reports(rng.random(60)), settings)
        covered += found.total.low <= 0 <= found.total.high
    assert 178 <= covered <= 199


@pytest.mark.parametrize("other", [["c0", "c2"], ["c0"], ["c0", "c0"]])
def test_different_cases_cannot_be_compared(other):
    with pytest.raises(GateError, match="one list of held-out cases"):
        compared(
            [report("c0", {}), report("c1", {})], [report(name, {}) for name in other], SETTINGS
        )
