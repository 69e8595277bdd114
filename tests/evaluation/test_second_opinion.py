"""A second judge looks at the same reports: it stops nobody, and warns of the other direction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from negalign_train.evaluation.bootstrap import BootstrapSettings, paired_bootstrap
from negalign_train.evaluation.gate_records import gate_record_to_dict
from negalign_train.evaluation.second_opinion import (
    SecondOpinion,
    SecondReports,
    opinion_warnings,
    second_opinion,
)
from negalign_train.vocabulary.records import CATEGORIES, ScoredReport, SeverityScore
from tests.evaluation.test_gate import decided, evidence

SETTINGS = BootstrapSettings(level=0.025, num_bootstrap=500, severe_threshold=0.8, seed=1)


def reports(severities: Sequence[float | None]) -> list[ScoredReport]:
    """One report a severity, all of it false positives; None has no score."""
    found = []
    for number, severity in enumerate(severities):
        score = None
        if severity is not None:
            score = SeverityScore(dict.fromkeys(CATEGORIES, 0.0) | {"false_positive": severity})
        found.append(ScoredReport(f"c{number}", f"g{number}", "text", 1, False, score))
    return found


def opinion(
    first: tuple[float, float], second: tuple[float | None, float | None], **unscored: int
) -> tuple[SecondOpinion, Any]:
    """Severities of 40 reports before and after, by the first judge and by the second."""
    comparison = paired_bootstrap(reports([first[0]] * 40), reports([first[1]] * 40), SETTINGS)
    before, after = (reports([value] * 40) for value in second)
    told = SecondReports("other", "1", before, after, unscored)
    return second_opinion(comparison, told, SETTINGS), comparison


def test_judges_of_one_direction_agree_and_nobody_is_warned():
    found, comparison = opinion((0.5, 0.2), (0.9, 0.8))
    assert found.verdict == "agrees"
    assert found.change is not None
    assert found.change.estimate == pytest.approx(-0.1)
    assert found.mean_S_before == pytest.approx(0.9)
    assert found.mean_S_after == pytest.approx(0.8)
    assert opinion_warnings(found, comparison) == ()
    assert opinion_warnings(None, comparison) == ()


def test_a_judge_of_the_other_direction_warns_with_its_numbers():
    found, comparison = opinion((0.5, 0.2), (0.1, 0.9))
    assert (found.verdict, found.shown, found.num_cases) == ("disagrees", True, 40)
    (warning,) = opinion_warnings(found, comparison)
    assert "the second judge, other, disagrees on the direction and is sure of it" in warning
    assert "+0.800 [" in warning
    assert "first judge measures -0.300, on 40 cases" in warning
    unsure = replace(found, shown=False)
    assert "is not sure of it" in opinion_warnings(unsure, comparison)[0]


def test_a_judge_that_measures_nothing_is_no_agreement():
    still, comparison = opinion((0.5, 0.2), (0.3, 0.3))
    assert still.verdict == "unknown"
    assert opinion_warnings(still, comparison) == ()  # no direction, and so none that is another
    mute, comparison = opinion((0.5, 0.2), (None, None), judge_bad_answer=40)
    assert (mute.verdict, mute.change, mute.num_cases) == ("unknown", None, 0)
    assert (
        "scored no case for parent and candidate (judge_bad_answer 40)"
        in (opinion_warnings(mute, comparison)[0])
    )


def test_only_cases_that_it_scored_on_both_sides_count():
    before, after = reports([0.1] * 30 + [0.9] * 10), reports([0.2] * 30 + [None] * 10)
    told = SecondReports("other", "1", before, after, {"judge_timeout": 10})
    found = second_opinion(None, told, SETTINGS)
    assert found.num_cases == 30
    assert found.change is not None
    assert found.change.estimate == pytest.approx(0.1)
    assert found.verdict == "unknown"  # the first judge measured nothing
    assert found.unscored == {"judge_timeout": 10}


def test_a_warning_stands_in_the_gate_record_and_decides_nothing():
    against, _ = opinion((0.5, 0.2), (0.1, 0.9))
    record = decided(second=against)
    assert record.outcome == decided().outcome == "promoted"
    assert record.criteria == decided().criteria
    value = gate_record_to_dict(record)
    assert value["warnings"] == list(record.warnings)
    assert "disagrees" in value["warnings"][0]
    assert value["evidence"]["second"]["verdict"] == "disagrees"
    assert value["evidence"]["judge"] == evidence().judge
    assert gate_record_to_dict(decided())["warnings"] == []
