"""Nine severities of one report against another."""

from __future__ import annotations

import random

import pytest

from negalign_train.cases.compose import compose, join_report
from negalign_train.cases.synthetic import synthetic_cases
from negalign_train.severity.pricing.score import score_report
from negalign_train.vocabulary.records import SeverityScore
from negalign_train.vocabulary.taxonomy import soft_cap


def scored(reference: str, candidate: str) -> SeverityScore:
    score = score_report(reference, candidate)
    assert score is not None
    return score


def costs(reference: str, candidate: str) -> dict[str, float]:
    """Summed error weights by category, before the cap."""
    weights = scored(reference, candidate).error_weights
    assert weights is not None
    return {k: v for k, v in weights.items() if v}


def test_another_wording_of_the_same_finding_costs_nothing() -> None:
    assert costs("Mild cardiomegaly.", "The cardiac silhouette is mildly enlarged.") == {}


def test_an_asserted_finding_that_the_reference_denies_is_a_false_positive() -> None:
    assert costs("No pleural effusion.", "Pleural effusion.") == {"false_positive": 0.5}


def test_a_wrong_degree_costs_less_than_a_missed_finding() -> None:
    wrong = costs("Mild pulmonary edema.", "Severe pulmonary edema.")
    missed = costs("Mild pulmonary edema.", "No pleural effusion.")
    assert wrong == {"wrong_severity": 0.25}
    assert missed == {"false_negative": 0.5}


def test_another_finding_with_an_invented_change_is_three_errors() -> None:
    reference = "Stable bibasilar atelectasis without consolidation."
    assert costs(reference, "New right lower lobe consolidation.") == {
        "false_positive": 0.5,
        "false_negative": 0.25,
        "temporal_error": 0.0625,
    }


@pytest.mark.parametrize(
    ("reference", "candidate", "expected"),
    [
        ("Left pleural effusion.", "Right pleural effusion.", {"wrong_location": 0.25}),
        ("Bilateral pleural effusions.", "Right pleural effusion.", {"wrong_location": 0.25}),
        ("Right upper lobe nodule.", "Right lower lobe nodule.", {"wrong_location": 0.1875}),
        ("Moderate atelectasis.", "Mild atelectasis.", {"wrong_severity": 0.0625}),
        ("A 5 mm nodule.", "A 2 cm nodule.", {"wrong_severity": 0.25}),
        ("Stable cardiomegaly.", "Worsening cardiomegaly.", {"temporal_error": 0.125}),
        ("Cardiomegaly.", "Stable cardiomegaly.", {"temporal_error": 0.03125}),
        ("No effusion.", "No effusion. No interval change.", {"temporal_error": 0.0625}),
        ("ET tube above the carina.", "ET tube in the right mainstem bronchus.",
         {"device_error": 1.0}),
        ("ET tube above the carina.", "No effusion.", {"device_error": 0.25}),
        ("No effusion.", "Chest tube at the right base. No effusion.", {"device_error": 0.25}),
        ("Right basilar opacity.", "Right basilar pneumonia.",
         {"artifact_overinterpretation": 0.25}),
        ("Possible pneumonia.", "Pneumonia.", {"artifact_overinterpretation": 0.125}),
        ("A skin fold projects over the left lung.", "Left pneumothorax.",
         {"artifact_overinterpretation": 1.0}),
        ("Right basilar pneumonia.", "Right basilar opacity.", {"false_negative": 0.125}),
        ("Calcified granuloma in the left lung.", "The lungs are clear.", {}),
        ("Findings: Large left pneumothorax. Impression: Left pneumothorax.",
         "Findings: Large left pneumothorax. Impression: No acute cardiopulmonary abnormality.",
         {"contradictory_diagnosis": 0.5}),
        ("Findings: Left effusion. Impression: Left effusion.",
         "Findings: Left effusion. Impression: Right effusion.",
         {"contradictory_diagnosis": 0.25, "wrong_location": 0.25}),
        ("No effusion.", "No effusion. The heart is normal. No effusion.",
         {"report_integrity": 0.25}),
        ("No effusion.", "Report of the chest of the patient.", {"report_integrity": 1.0}),
        ("Old right rib fracture. No effusion.", "No effusion.", {}),
        ("Right rib fracture. No effusion.", "No effusion.", {"false_negative": 0.5}),
        ("Increasing right effusion. Stable left effusion.",
         "Increasing left effusion. Stable right effusion.",
         {"temporal_error": 0.125}),
        ("Small right effusion. Large left effusion.", "Large right effusion. Small left effusion.",
         {"wrong_severity": 0.25}),
        ("Left basilar opacity.", "Right basilar pneumonia.",
         {"false_positive": 0.5, "false_negative": 0.5}),
        ("Calcified granuloma.", "Nodule.", {"false_negative": 0.125}),
        ("Bibasilar atelectasis.", "Bibasilar pneumonia.",
         {"false_negative": 0.25, "artifact_overinterpretation": 0.25}),
        ("ET tube 3 cm above the carina.", "ET tube 6 cm above the carina.",
         {"device_error": 0.0625}),
        ("Stable effusion.", "Effusion.", {}),
        ("Stable effusion.", "Effusion. No interval change.", {}),
        ("Worse effusion.", "Effusion.", {"temporal_error": 0.0625}),
        ("Stable effusion.", "Effusion. The findings have worsened.", {"temporal_error": 0.25}),
        ("Left effusion.", "Effusion.", {"wrong_location": 0.0625}),
        ("Mild edema.", "Edema.", {"wrong_severity": 0.0625}),
        ("Severe edema.", "Edema.", {"wrong_severity": 0.125}),
    ],
)  # fmt: skip
def test_each_error_costs_what_its_category_says(
    reference: str, candidate: str, expected: dict[str, float]
) -> None:
    assert costs(reference, candidate) == pytest.approx(expected)


_IN_BRONCHUS = "ET tube ends in the right main bronchus."


@pytest.mark.parametrize(
    ("reference", "candidate", "cost"),
    [
        # Missed or invented: the weight of the malposition, whatever the other report says of it.
        (_IN_BRONCHUS, "ET tube ends 4 cm above the carina.", 1.0),
        (_IN_BRONCHUS, "ET tube in place.", 1.0),
        ("ET tube in place.", _IN_BRONCHUS, 1.0),
        (_IN_BRONCHUS, "No pneumothorax.", 1.0),
        ("No pneumothorax.", _IN_BRONCHUS, 1.0),
        ("Right mainstem intubation.", "ET tube ends 4 cm above the carina.", 1.0),
        ("Feeding tube ends in the right lower lobe bronchus.", "Feeding tube in place.", 1.0),
        ("PICC ends in the SVC.", "PICC ends in the right subclavian artery.", 1.0),
        ("NG tube ends in the stomach.", "NG tube ends in the distal esophagus.", 0.5),
        ("Chest port ends in the right ventricle.", "No pneumothorax.", 0.5),
        ("PICC ends in the SVC.", "PICC ends in the right atrium.", 0.25),
        # Both say that it is misplaced: how far apart in weight, at least as another place.
        (_IN_BRONCHUS, "ET tube ends in the left main bronchus.", 0.125),
        (_IN_BRONCHUS, "ET tube ends at the carina.", 0.5),
        (_IN_BRONCHUS, "Right mainstem intubation.", 0.0),
        # The place farthest along the way is the tip's; what is proposed does not mend it.
        ("NG tube passes the esophagus and ends in the stomach.",
         "NG tube passes through the esophagus into the stomach.", 0.0),
        (f"{_IN_BRONCHUS} Withdraw the ET tube to above the carina.", "ET tube in place.", 1.0),
        # A place denied is none, and no device denied.
        ("ET tube in place.", "ET tube in place, not in the right main bronchus.", 0.0),
        ("ET tube above the carina.",
         "ET tube above the carina. No evidence of mainstem intubation.", 0.0),
        # Places where nothing is dangerous stay attributes.
        ("Chest tube at the right apex.", "Chest tube at the right base.", 0.125),
    ],
)  # fmt: skip
def test_a_malposition_costs_its_own_clinical_weight(
    reference: str, candidate: str, cost: float
) -> None:
    assert costs(reference, candidate) == ({"device_error": pytest.approx(cost)} if cost else {})


def test_a_malposition_that_is_only_possible_costs_half() -> None:
    possible = "Possible endotracheal tube in the right main bronchus."
    assert costs("No pneumothorax.", possible) == {"device_error": 0.5}


def test_a_missed_benign_finding_is_not_a_missed_pneumothorax() -> None:
    benign = scored("Degenerative changes of the spine.", "The lungs are clear.").total
    urgent = scored("Left pneumothorax.", "The lungs are clear.").total
    assert (benign, urgent) == (0.0, soft_cap(1.0))


def test_a_second_error_always_costs_more_and_evidence_explains_it() -> None:
    candidate = "Pneumothorax. Pulmonary edema. Lung mass."
    score = scored("No pneumothorax.", candidate)
    assert score.severities["false_positive"] == soft_cap(2.0)
    one = scored("No pneumothorax.", "Pneumothorax.").severities["false_positive"]
    assert 0.81 < one == soft_cap(1.0) < soft_cap(2.0) < 1
    assert [(e.finding, e.severity) for e in score.evidence] == [
        ("pneumothorax", 1.0),
        ("pulmonary_edema", 0.5),
        ("mass", 0.5),
    ]
    span = score.evidence[0].span
    assert span is not None
    assert candidate[span[0] : span[1]] == "Pneumothorax"


def test_a_report_against_itself_and_against_its_paraphrase_costs_nothing() -> None:
    """Every phrasing of the synthetic grammar is read as the same ground truth."""
    unequal = []
    for case in synthetic_cases(0, 200, seed=11):
        other = join_report(compose(case.findings, random.Random(case.case_id)))
        if scored(case.reference, other).total or scored(case.reference, case.reference).total:
            unequal.append(case.case_id)
    assert unequal == []


def test_evidence_points_at_both_reports_and_at_both_sides_of_a_contradiction() -> None:
    reference = "Findings: There is a small left pleural effusion. The heart is normal."
    candidate = "Findings: Right pleural effusion. No pneumothorax. Impression: No effusion."
    found = {e.category: e for e in scored(reference, candidate).evidence}
    side = found["wrong_location"]
    assert side.span is not None
    assert side.reference_span is not None
    assert candidate[slice(*side.span)] == "pleural effusion"
    assert reference[slice(*side.reference_span)] == "pleural effusion"
    conflict = found["contradictory_diagnosis"]
    assert conflict.conflict_span is not None
    assert candidate[slice(*conflict.conflict_span)] == "effusion"
    assert conflict.conflict_span[0] > candidate.index("Impression")
