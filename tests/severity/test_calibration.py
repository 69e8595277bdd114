"""Calibration: found where readers differ from the scorer, absent where they do not."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from negalign_train.severity.judges.examples import GradedExample
from negalign_train.severity.pricing.calibration import (
    CategoryScale,
    identity,
    read_calibration,
)
from negalign_train.severity.trust.calibration_fit import FitSettings, fit_calibration
from negalign_train.storage.workspace import write_json
from negalign_train.vocabulary.errors import DataError
from negalign_train.vocabulary.records import CATEGORIES, SeverityScore

JUDGE = ("rules", "abc")
SETTINGS = FitSettings(min_events=40, min_groups=20, confidence=0.99)
NONE = dict.fromkeys(CATEGORIES, 0.0)
LEVELS = (0.25, 0.5, 1.0)


def material(reader_of, count=120, per_group=2, category="wrong_location"):
    """Examples whose scorer gives 0.25, 0.5, 1 in turn and whose reader gives ``reader_of(s)``."""
    scores = [NONE | {category: LEVELS[i % 3]} for i in range(count)]
    examples = [
        GradedExample(
            f"e{i}", f"c{i}", f"g{i // per_group}", "a", "b",
            NONE | {category: reader_of(score[category])},
        )
        for i, score in enumerate(scores)
    ]  # fmt: skip
    return examples, scores


def test_readers_who_give_half_halve_the_severities():
    rng = random.Random(0)
    examples, scores = material(lambda s: s / 2 + rng.uniform(-0.05, 0.05))
    found = fit_calibration(JUDGE, examples, scores, SETTINGS)
    assert found.adopted == ("wrong_location",)
    scale = found.categories["wrong_location"]
    assert [scale.apply(s) for s in LEVELS] == pytest.approx([0.125, 0.25, 0.5], abs=0.03)
    assert scale.ci_high is not None
    assert scale.ci_high < 0
    assert found.reason == "re-scaled: wrong_location"
    score = SeverityScore(NONE | {"wrong_location": 1.0, "false_positive": 1.0})
    assert found.apply(score).severities["false_positive"] == 1.0
    assert found.apply(score).severities["wrong_location"] == pytest.approx(0.5, abs=0.03)
    assert "calibrated" in found.label()


def test_a_curve_is_found_where_a_factor_does_not_follow_it():
    examples, scores = material(lambda s: s**2)
    scale = fit_calibration(JUDGE, examples, scores, SETTINGS).categories["wrong_location"]
    assert scale.exponent == 2.0
    assert [scale.apply(s) for s in LEVELS] == pytest.approx([0.0625, 0.25, 1.0], abs=0.02)


def test_readers_who_scatter_around_the_scorer_change_nothing():
    rng = random.Random(1)
    examples, scores = material(lambda s: min(1.0, max(0.0, s + rng.gauss(0, 0.15))))
    examples, scores = zip(
        *((e, s) for e, s in zip(examples, scores, strict=True) if s["wrong_location"] < 1),
        strict=True,
    )
    found = fit_calibration(JUDGE, examples, scores, SETTINGS)
    assert found.adopted == ()
    assert found.categories["wrong_location"].reason == "no_better"
    assert "nothing is changed" in found.reason
    assert found.label() == "rules abc"


def test_too_little_data_changes_nothing_and_says_so():
    for count, per_group, reason in ((39, 1, "too_few_events"), (120, 10, "too_few_groups")):
        examples, scores = material(lambda s: s / 2, count, per_group)
        found = fit_calibration(JUDGE, examples, scores, SETTINGS)
        assert found.adopted == ()
        assert found.categories["wrong_location"].reason == reason
        assert found.reason.startswith("too little data: no category has 40 events")
    assert fit_calibration(JUDGE, [], [], SETTINGS).num_events == 0


def test_an_error_that_readers_file_under_another_category_keeps_its_price():
    """The scorer says R1 where readers say R4: a lower R1 follows their R1 and loses the error."""
    scores = [NONE | {"false_positive": LEVELS[i % 3]} for i in range(120)]
    examples = [
        GradedExample(
            f"e{i}", f"c{i}", f"g{i}", "a", "b",
            NONE | {"artifact_overinterpretation": LEVELS[i % 3]},
        )
        for i in range(120)
    ]  # fmt: skip
    found = fit_calibration(JUDGE, examples, scores, SETTINGS)
    assert found.adopted == ()
    assert found.categories["false_positive"].reason == "worse_S"
    assert found.categories["false_positive"].ci_high is not None
    assert found.categories["false_positive"].ci_high < 0


def test_unscorable_reports_teach_nothing():
    examples, scores = material(lambda s: s / 2, count=60)
    found = fit_calibration(JUDGE, examples, [None, *scores[1:]], SETTINGS)
    assert found.num_events == 59


@given(
    st.floats(0.01, 5), st.floats(0.3, 3), st.floats(0, 1), st.floats(0, 1)
)  # fmt: skip
def test_a_scale_is_monotone_keeps_zero_and_stays_in_bounds(scale, exponent, a, b):
    one = CategoryScale(scale, exponent)
    low, high = sorted((a, b))
    assert one.apply(0.0) == 0.0
    assert 0 <= one.apply(low) <= one.apply(high) <= 1


def test_the_file_is_read_back_equal_and_only_by_its_own_judge(tmp_path):
    examples, scores = material(lambda s: s / 2)
    found = fit_calibration(JUDGE, examples, scores, SETTINGS)
    path = tmp_path / "calibration.json"
    write_json(path, found.to_json())
    assert read_calibration(path, *JUDGE) == found
    with pytest.raises(DataError, match="made for rules abc, this is rules new"):
        read_calibration(path, "rules", "new")
    data = json.loads(path.read_text())
    data["categories"]["wrong_location"]["scale"] = 0.9
    path.write_text(json.dumps(data))
    with pytest.raises(DataError, match="changed since it was written"):
        read_calibration(path, *JUDGE)
    path.write_text("[1]")
    with pytest.raises(DataError, match=r"not a negalign.calibration/1 file"):
        read_calibration(path, *JUDGE)
    with pytest.raises(DataError, match="cannot be read"):
        read_calibration(tmp_path / "none.json", *JUDGE)


def test_the_digest_follows_the_data():
    examples, scores = material(lambda s: s / 2)
    first = fit_calibration(JUDGE, examples, scores, SETTINGS)
    again = fit_calibration(JUDGE, examples[::-1], scores[::-1], SETTINGS)
    assert first.data_digest == again.data_digest
    other, _ = material(lambda s: s / 3)
    assert fit_calibration(JUDGE, other, scores, SETTINGS).data_digest != first.data_digest
    assert identity(*JUDGE, "x").data_digest is None
