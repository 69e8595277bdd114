"""The retention matrix and backward transfer, with values worked out by hand."""

import pytest

from negalign_train.cycle.closing.retention import retention_matrix
from negalign_train.report.result import RetentionMatrix
from negalign_train.vocabulary.records import CATEGORIES, ScoredReport, SeverityScore


def reports(*totals):
    """Reports whose S is as given, all of it in one category; None cannot be scored."""
    none = dict.fromkeys(CATEGORIES, 0.0)
    scores = [None if s is None else SeverityScore(none | {"wrong_location": s}) for s in totals]
    return [
        ScoredReport(f"c{n}", f"g{n}", "text", 3, False, score) for n, score in enumerate(scores)
    ]


def test_the_first_cycle_has_nothing_to_retain():
    assert retention_matrix(1, {}, {}, None) == RetentionMatrix({}, {}, None)


def test_the_second_cycle_measures_the_first_ones_cases_before_and_after():
    """Of cycle 1: (0.2 + 0.4) / 2 = 0.3 before, (0.5 + 0.3) / 2 = 0.4 after: 0.1 forgotten."""
    matrix = retention_matrix(2, {1: reports(0.2, 0.4)}, {1: reports(0.5, 0.3)}, None)
    assert matrix.mean_S == {1: {1: pytest.approx(0.3), 2: pytest.approx(0.4)}}
    assert matrix.num_cases == {1: 2}
    assert matrix.backward_transfer == pytest.approx(0.1)


def test_backward_transfer_is_the_mean_over_the_earlier_cycles():
    """Cycle 1's cases 0.3 -> 0.1 since cycle 1, cycle 2's 0.6 -> 0.7: (-0.2 + 0.1) / 2 = -0.05."""
    earlier = RetentionMatrix({1: {1: 0.3, 2: 0.4}}, {1: 2}, 0.1)
    parent = {1: reports(0.4), 2: reports(0.6)}
    champion = {1: reports(0.1), 2: reports(0.7)}
    matrix = retention_matrix(3, parent, champion, earlier)
    assert matrix.mean_S == {
        1: {1: 0.3, 2: pytest.approx(0.4), 3: pytest.approx(0.1)},
        2: {2: pytest.approx(0.6), 3: pytest.approx(0.7)},
    }
    assert matrix.backward_transfer == pytest.approx(-0.05)
    assert earlier.mean_S == {1: {1: 0.3, 2: 0.4}}


def test_nothing_promoted_is_nothing_forgotten():
    same = {1: reports(0.2, 0.4)}
    assert retention_matrix(2, same, same, None).backward_transfer == 0.0


def test_reports_that_cannot_be_scored_do_not_count_as_0():
    """0.2 and an unknown: mean 0.2, not 0.1; a cycle without any scored report has no entry."""
    parent = {1: reports(0.2, None), 2: reports(None)}
    matrix = retention_matrix(3, parent, parent, None)
    assert matrix.mean_S == {1: {2: 0.2, 3: 0.2}}
    assert matrix.backward_transfer is None  # cycle 1 was not measured right after cycle 1
    assert matrix.num_cases == {1: 2, 2: 1}
