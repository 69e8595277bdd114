"""Age and indication move the price of an error, and the evidence says so."""

from __future__ import annotations

import pytest

from negalign_train.severity.judges.base import ReportPair
from negalign_train.severity.judges.rules import RulesJudge
from negalign_train.severity.reading.context import CaseContext, named_findings
from negalign_train.vocabulary.taxonomy import soft_cap

REFERENCE = "Tortuous aorta. Calcified granuloma in the left lung. Hiatal hernia."
CANDIDATE = "The heart is normal."


def score(context, reference=REFERENCE, candidate=CANDIDATE):
    found = RulesJudge().judge_one(ReportPair(reference, candidate, context)).score
    assert found is not None
    return found


def test_without_a_context_nothing_changes():
    assert score(CaseContext()) == score(CaseContext(age=40.0))
    assert score(CaseContext()) == score(CaseContext(indication="Cough."))


def test_what_is_expected_at_an_age_costs_nothing_and_stays_in_the_evidence():
    young, old = score(CaseContext(age=64.0)), score(CaseContext(age=65.0))
    assert young.total - old.total == pytest.approx(0.25)
    noted = [item for item in old.evidence if item.finding == "tortuous_aorta"]
    assert [(item.severity, item.detail) for item in noted] == [
        (0.0, "not mentioned; expected at this age")
    ]


def test_a_missed_finding_that_the_indication_asks_about_is_actionable():
    for finding, words in (("hiatal_hernia", "Hiatal hernia?"), ("granuloma", "Known granuloma.")):
        found = score(CaseContext(indication=words))
        asked = [item for item in found.evidence if item.finding == finding]
        assert [(item.severity, item.category) for item in asked] == [(0.5, "false_negative")]
        assert asked[0].detail.endswith("the indication asks about it")


def test_the_indication_outranks_the_age():
    found = score(CaseContext(age=80.0, indication="Evaluate tortuous aorta."))
    assert [e.severity for e in found.evidence if e.finding == "tortuous_aorta"] == [0.5]


def test_an_urgent_finding_costs_the_same_in_every_context():
    for context in (CaseContext(), CaseContext(age=90.0, indication="Rule out pneumothorax.")):
        found = score(context, "Left pneumothorax.", "No pneumothorax.")
        assert found.severities["false_negative"] == soft_cap(1.0)


def test_asked_feared_and_excluded_findings_are_all_named():
    assert named_findings("Rule out pneumothorax, no known effusion.") == {
        "pneumothorax",
        "pleural_effusion",
    }
    assert named_findings("55-year-old with a normal heart.") == frozenset()


def test_the_indication_raises_a_missed_port_and_leaves_a_malposition_at_its_own_price():
    asked = CaseContext(indication="Port placement.")
    for reference, cost in (
        ("Right chest port ends in the SVC.", 0.5),
        ("Right chest port ends in the right atrium.", 0.5),
        ("Right chest port ends in the right ventricle.", 0.5),
        ("Right chest port ends in the subclavian artery.", 1.0),
    ):
        assert score(asked, reference, CANDIDATE).severities["device_error"] == soft_cap(cost)
