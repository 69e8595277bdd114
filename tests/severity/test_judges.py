"""Judges that need no model: the rules, ensembles, and what a report of trust says of them."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from negalign_train.report.trust_page import render_trust_page
from negalign_train.severity.judges.base import Judgement, ReportPair
from negalign_train.severity.judges.ensemble import (
    EnsembleJudge,
    agreement_weights,
    equal_weights,
    read_ensemble,
)
from negalign_train.severity.judges.examples import GradedExample
from negalign_train.severity.judges.result import result_object
from negalign_train.severity.judges.rules import RulesJudge
from negalign_train.severity.trust.agreement import AgreementSettings
from negalign_train.severity.trust.table import (
    compare_judges,
    join_scored,
    member_weights,
    run_judge,
)
from negalign_train.vocabulary.errors import DataError
from negalign_train.vocabulary.records import CATEGORIES, Evidence, SeverityScore

NONE = dict.fromkeys(CATEGORIES, 0.0)
FAST = AgreementSettings(num_bootstrap=100)


class Fixed:
    """A judge that gives R1 what it was told, and cannot score a candidate that is empty."""

    def __init__(self, name: str, values: Sequence[float]) -> None:
        self.name, self.version, self._values = name, "1", list(values)

    def judge(self, pairs: Sequence[ReportPair]) -> list[Judgement]:
        found = []
        for pair in pairs:
            if not pair.candidate:
                found.append(Judgement(self.name, self.version, None, "empty_candidate"))
                continue
            value = self._values[int(pair.candidate)]
            evidence = (Evidence("false_positive", value, None, "told"),)
            score = SeverityScore(NONE | {"false_positive": value}, evidence)
            found.append(Judgement(self.name, self.version, score))
        return found


def examples(values: Sequence[float]) -> list[GradedExample]:
    return [
        GradedExample(f"e{i}", f"c{i}", f"g{i}", "x", str(i), NONE | {"false_positive": value})
        for i, value in enumerate(values)
    ]


def test_rules_answer_in_order_and_say_why_they_cannot() -> None:
    pairs = [ReportPair("Left pneumothorax.", "Right pneumothorax."), ReportPair("", "x")]
    first, second = RulesJudge().judge(pairs)
    assert first.score is not None
    assert first.score.total == 0.5
    assert (second.score, second.reason) == (None, "empty_reference")
    assert first.version == RulesJudge().version
    assert len(first.version) == 12


def test_a_result_shows_the_sentences_that_an_error_rests_on() -> None:
    pair = ReportPair(
        "The heart is normal. Left pneumothorax.", "Heart is normal. Right pneumothorax."
    )
    result = result_object(RulesJudge().judge_one(pair), pair)
    assert list(result["severities"]) == [f"R{n}" for n in range(1, 10)]
    assert result["S"] == result["severities"]["R5"] == 0.5
    (item,) = result["evidence"]
    assert (item["id"], item["category"], item["finding"]) == (
        "R5", "wrong_location", "pneumothorax",
    )  # fmt: skip
    assert item["sentence"] == "Right pneumothorax."
    assert item["reference_sentence"] == "Left pneumothorax."
    json.dumps(result, allow_nan=False)


def test_ensembles_join_by_mean_median_or_weight() -> None:
    judges = [Fixed("a", [0.0]), Fixed("b", [0.2]), Fixed("c", [1.0])]
    pair = [ReportPair("x", "0")]

    def joined(how, weights=None):
        score = EnsembleJudge(judges, how, weights or equal_weights(3)).judge(pair)[0].score
        assert score is not None
        return score.severities["false_positive"]

    assert joined("mean") == pytest.approx(0.4)
    assert joined("median") == 0.2
    weights = equal_weights(3) | {"false_positive": (0.0, 0.5, 0.5)}
    assert joined("weighted", weights) == pytest.approx(0.6)
    word = EnsembleJudge(judges, "mean", equal_weights(3)).judge(pair)[0]
    assert word.score is not None
    assert [item.detail for item in word.score.evidence] == ["a: told", "b: told", "c: told"]
    (none,) = EnsembleJudge(judges, "mean", equal_weights(3)).judge([ReportPair("x", "")])
    assert (none.score, none.reason) == (None, "empty_candidate")


def test_an_ensembles_version_follows_its_members_and_weights() -> None:
    a, b = Fixed("a", [0.0]), Fixed("b", [0.0])
    versions = {
        EnsembleJudge([a, b], "mean", equal_weights(2)).version,
        EnsembleJudge([b, a], "mean", equal_weights(2)).version,
        EnsembleJudge([a, b], "median", equal_weights(2)).version,
    }
    assert len(versions) == 3


def test_weights_follow_the_correlation_and_never_reward_a_wrong_one() -> None:
    none = dict.fromkeys(CATEGORIES, None)
    members = [none] * 5
    for index, value in ((0, 0.6), (1, 0.2), (4, -0.9)):
        members[index] = none | {"false_positive": value}
    weights = agreement_weights(members)
    assert weights["false_positive"] == pytest.approx((0.75, 0.25, 0.0, 0.0, 0.0))
    assert weights["false_negative"] == (0.2,) * 5


@pytest.mark.parametrize(
    "change",
    [{"schema": "x"}, {"how": "max"}, {"judges": ["rules"]}, {"weights": {"a": [1]}}],
)
def test_a_wrong_ensemble_file_is_refused(tmp_path, change) -> None:
    good = {"schema": "negalign.ensemble/1", "how": "mean", "judges": ["rules", "nli:x"]}
    path = tmp_path / "e.json"
    path.write_text(json.dumps(good))
    assert read_ensemble(path).weights["false_positive"] == (0.5, 0.5)
    path.write_text(json.dumps(good | change))
    with pytest.raises(DataError, match=r"negalign\.ensemble/1"):
        read_ensemble(path)


def test_judges_are_compared_on_the_reports_that_all_of_them_scored() -> None:
    reader = [0.0, 0.25, 0.5, 1.0] * 10
    material = examples(reader)
    material.append(GradedExample("e99", "c99", "g99", "x", "", NONE))
    right = run_judge("right", Fixed("right", reader), material)
    wrong = run_judge("wrong", Fixed("wrong", [1 - r for r in reader]), material)
    report = compare_judges([right, wrong], material, FAST)
    assert (report.num_examples, report.num_groups, report.left_out) == (40, 40, 1)
    assert right.unscorable == {"empty_candidate": 1}
    values = [j.agreement["false_positive"].spearman.value for j in report.judges]
    assert values == [pytest.approx(1.0), pytest.approx(-1.0)]
    assert report.judges[0].agreement["S"].kappa.value == 1.0
    shown = report.to_json() | {"confidence": 0.95}
    page = render_trust_page(shown, {"R1": "R1 <b>", "S": "S"})
    assert "R1 &lt;b&gt;" in page
    assert "1.00 [1.00, 1.00]" in page
    assert page.count("<circle") == 4


def test_a_weighted_ensemble_leans_on_the_judge_that_follows_the_readers() -> None:
    reader = [0.0, 0.25, 0.5, 1.0] * 10
    material = examples(reader)
    right = run_judge("right", Fixed("right", reader), material)
    wrong = run_judge("wrong", Fixed("wrong", [1 - r for r in reader]), material)
    weights = member_weights([right, wrong], material, [True] * 40)
    assert weights["false_positive"] == pytest.approx((1.0, 0.0))
    joined = join_scored([right, wrong], material, "weighted")
    assert [row and row["false_positive"] for row in joined.scores] == pytest.approx(reader)
    mean = join_scored([right, wrong], material, "mean")
    assert [row and row["false_positive"] for row in mean.scores] == pytest.approx([0.5] * 40)
