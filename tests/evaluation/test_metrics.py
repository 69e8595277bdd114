"""Metrics of held-out reports."""

import pytest

from negalign_train.evaluation.metrics import summarise
from negalign_train.vocabulary.errors import GateError
from tests.evaluation_support import report

REFERENCES = {"a": "Heart normal.", "b": "Large left mass.", "c": "Lungs clear today."}


def test_metrics_of_three_reports_worked_by_hand():
    reports = [
        report("a", {}, "Heart normal."),
        report("b", {"false_negative": 0.8, "wrong_location": 0.5}, "Heart  normal."),
        report("c", None, "One two three four"),
    ]
    found = summarise(reports, REFERENCES, severe_threshold=0.8)
    assert (found.num_cases, found.num_scored) == (3, 2)
    assert found.mean_S == pytest.approx(0.65)
    assert found.per_category is not None
    assert found.per_category["false_negative"] == pytest.approx(0.4)
    assert found.per_category["wrong_location"] == pytest.approx(0.25)
    assert found.per_category["device_error"] == 0
    assert found.severe_rate == 0.5
    assert found.length_ratio == 1.0  # 2 + 2 + 4 words over 2 + 3 + 3
    assert found.template_share == pytest.approx(2 / 3)
    assert found.distinct_ratio == pytest.approx(2 / 3)
    assert found.placeholder_rate == 0
    assert found.unscored_rate == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("text", "truncated"),
    [
        (" \n", False),
        ("XXXX is clear.", False),
        ("Seen by ___.", False),
        ("Seen by [Redacted].", False),
        ("Heart <unk>.", False),
        ("Heart normal.<|im_start|>user", False),
        ("Heart normal. </s>", False),
        ("Heart normal", True),
    ],
)
def test_placeholders_are_counted(text, truncated):
    reports = [
        report("a", {}, text, truncated=truncated),
        report("b", {}, "Maxillary sinus clear."),
    ]
    assert summarise(reports, REFERENCES, 0.8).placeholder_rate == 0.5


def test_no_score_is_not_a_score_of_zero():
    found = summarise([report("a"), report("b")], REFERENCES, 0.8)
    assert (found.mean_S, found.per_category, found.severe_rate) == (None, None, None)
    assert found.unscored_rate == 1.0


def test_case_given_twice_is_an_error():
    with pytest.raises(GateError, match="case a has 2 held-out reports"):
        summarise([report("a", {}), report("a", {})], REFERENCES, 0.8)


def test_case_without_reference_is_an_error():
    with pytest.raises(GateError, match="case z has no reference"):
        summarise([report("z", {})], REFERENCES, 0.8)


def test_no_report_is_an_error():
    with pytest.raises(GateError, match="generate them first"):
        summarise([], REFERENCES, 0.8)
