"""Age and indication move the price of an error, and the evidence says so."""

from __future__ import annotations

import pytest
import yaml

from negalign_train.severity.judges.base import ReportPair
from negalign_train.severity.judges.rules import RulesJudge
from negalign_train.severity.pricing import prices
from negalign_train.severity.reading.context import CaseContext, context_of, named_findings
from negalign_train.vocabulary.errors import DataError
from negalign_train.vocabulary.records import CATEGORIES
from negalign_train.vocabulary.resources import data_path
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


CHOKING = CaseContext(age=2.0, indication="Choking episode.")


@pytest.mark.parametrize(
    ("context", "reference", "candidate", "weights"),
    [
        # A child without an accident; with one; and a child who may have inhaled something.
        (CaseContext(age=3.0), "Left rib fracture.", "Normal bones.", {"R2": 1.0}),
        (CaseContext(age=3.0, indication="Fall from a height."), "Left rib fracture.",
         "Normal bones.", {"R2": 0.5}),
        (CaseContext(age=3.0, indication="No trauma."), "Left rib fracture.", "Normal bones.",
         {"R2": 1.0}),
        (CHOKING, "Left lower lobe collapse.", "Clear lungs.", {"R2": 1.0}),
        (CaseContext(age=50.0), "Left lower lobe collapse.", "Clear lungs.", {"R2": 0.25}),
        # After surgery what belongs to it is less; without surgery it is urgent.
        (CaseContext(indication="Two days after CABG."), "Pneumomediastinum.", "Clear lungs.",
         {"R2": 0.5}),
        (CaseContext(indication="Chest pain."), "Pneumomediastinum.", "Clear lungs.", {"R2": 1.0}),
        (CaseContext(indication="Post-op day 1."), "Small left effusion.", "Clear lungs.",
         {"R2": 0.25}),
        (CaseContext(indication="Post-op day 1."), "Large left effusion.", "Clear lungs.",
         {"R2": 0.5}),
        # One disease in two words, where the indication says which.
        (CaseContext(indication="Fever and cough."), "Lingular consolidation.",
         "Lingular pneumonia.", {}),
        (CaseContext(indication="Orthopnea, leg swelling."), "Pulmonary vascular congestion.",
         "Pulmonary edema.", {}),
        # Calcified arteries are expected in the old and not in the young.
        (CaseContext(age=28.0), "Aortic calcification.", "Clear lungs.", {"R2": 0.5}),
        (CaseContext(age=80.0), "Aortic calcification.", "Clear lungs.", {}),
        # Thin bones are expected in the old, but not where a fall asks about them.
        (CaseContext(age=80.0), "Osteopenia.", "Normal bones.", {}),
        (CaseContext(age=80.0, indication="Fall."), "Osteopenia.", "Normal bones.", {"R2": 0.25}),
    ],
)  # fmt: skip
def test_age_and_indication_set_the_price(context, reference, candidate, weights):
    ids = {f"R{n}": name for n, name in enumerate(CATEGORIES, start=1)}
    found = score(context, reference, candidate).error_weights
    assert found is not None
    assert {name: w for name, w in found.items() if w} == {ids[k]: w for k, w in weights.items()}


def test_what_the_context_makes_right_is_right_in_Q_too():
    """Consolidation called pneumonia: half right without a fever, all right with one."""
    texts = "Lingular consolidation.", "Lingular pneumonia."
    feverish = score(CaseContext(indication="Fever."), *texts)
    plain = score(CaseContext(), *texts)
    assert feverish.quality == 0.0 < plain.quality
    assert plain.correct_weight < feverish.correct_weight == 0.5


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"rules": [{"why": "x", "weight": {}}]}, "weight"),
        ({"rules": [{"why": "x", "weights": {"effusion": 1.0}}]}, "effusion"),
        ({"schema": "negalign.context/1"}, "schema"),
    ],
)
def test_a_rule_that_nothing_reads_is_refused(monkeypatch, tmp_path, change, says):
    data = yaml.safe_load(data_path("context.yaml").read_text(encoding="utf-8"))
    path = tmp_path / "context.yaml"
    path.write_text(yaml.safe_dump(data | change), encoding="utf-8")
    monkeypatch.setattr(prices, "data_path", lambda _: path)
    prices._context.cache_clear()
    try:
        with pytest.raises(DataError, match=says):
            prices._context()
    finally:
        prices._context.cache_clear()


@pytest.mark.parametrize(
    ("prompt", "age", "indication"),
    [
        ("Indication: shortness of breath. Technique: PA view. Observations: emphysema.", None,
         "shortness of breath"),
        ("65-year-old man. Clinical information: fall\nTechnique: AP", 65.0, "fall"),
        ("A 3 month old boy with cough.", 0.25, None),
        ("INDICATION: 7 yo with fever\n\nFINDINGS:", 7.0, "7 yo with fever"),
        ("Age: 71. Reason for exam: r/o PTX", 71.0, "r/o PTX"),
        ("Newborn. Write the report.", 0.0, None),
        ("Write the report.", None, None),
        ("Seen at age 999. Write the report.", None, None),
        (({"role": "system", "content": "Indication: none of it."},
          {"role": "user", "content": "Indication: fever. Findings?"},
          {"role": "assistant", "content": "..."},
          {"role": "user", "content": "Indication: another."}), None, "fever. Findings?"),
    ],
)  # fmt: skip
def test_a_prompt_tells_age_and_indication(prompt, age, indication):
    assert context_of(prompt) == CaseContext(age, indication)
