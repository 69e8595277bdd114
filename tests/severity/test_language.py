"""Inpatient wording: what is read from it, and how many of our own pairs are judged right."""

from __future__ import annotations

import pytest
from benchmarks.severity_language import Half, expectations, half_of, is_right

from negalign_train.severity.pricing.score import score_report
from negalign_train.severity.reading.facts import extract_facts


def read(text: str) -> list[str]:
    """Each finding as +, - (denied) or ? (possible), with side, place, degree, change, size."""
    found = []
    for s in extract_facts(text).statements:
        told = ("old" if s.chronic else None, *s.side, *s.location, s.degree, s.change, s.size_mm)
        mark = "-" if not s.present else "+" if s.certain else "?"
        found.append(" ".join([mark + s.finding, *(str(part) for part in told if part)]))
    return found


def costs(reference: str, candidate: str) -> dict[str, float]:
    """The categories that cost something, with what they cost."""
    score = score_report(reference, candidate)
    assert score is not None
    return {name: round(value, 4) for name, value in score.severities.items() if value}


@pytest.mark.parametrize(("half", "least"), [("development", 0.97), ("held_back", 0.91)])
def test_most_of_our_own_pairs_are_judged_as_a_radiologist_would(half: Half, least: float) -> None:
    cases = [case for case in expectations() if case.half == half]
    right = sum(is_right(case) for case in cases)
    assert right / len(cases) >= least


def test_both_halves_have_enough_of_every_kind_and_share_no_reference() -> None:
    kinds: dict[str, dict[str, int]] = {"development": {}, "held_back": {}}
    for case in expectations():
        counts = kinds[case.half]
        counts[case.kind] = counts.get(case.kind, 0) + 1
        assert half_of(case.name.split("/")[0]) == case.half
    assert all(min(counts.values()) >= 10 and len(counts) == 4 for counts in kinds.values())
    names = [case.name for case in expectations()]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # what stands on two sides is told apart
        ("Small left and moderate right pleural effusions.",
         ["+pleural_effusion right moderate", "+pleural_effusion left mild"]),
        ("Bilateral effusions, large on the right and small on the left.",
         ["+pleural_effusion right severe", "+pleural_effusion left mild"]),
        ("Pneumonia in the right upper and left lower lobes.",
         ["+pneumonia right upper", "+pneumonia left lower"]),
        ("Small bilateral effusions, left larger than right.",
         ["+pleural_effusion left right mild"]),
        # a change that is denied, measured, shared
        ("No increase in the left effusion.", ["+pleural_effusion left stable"]),
        ("The edema has not progressed.", ["+pulmonary_edema stable"]),
        ("Substantial decrease in the small effusion.", ["+pleural_effusion mild improved"]),
        ("Small effusion with atelectasis is unchanged.",
         ["+pleural_effusion mild stable", "+atelectasis stable"]),
        ("The heart is enlarged and the effusions have increased.",
         ["+cardiomegaly", "+pleural_effusion worse"]),
        ("Nodules, unchanged since prior CT.", ["+nodule stable"]),
        ("New opacity, concerning for pneumonia.", ["+opacity new", "?pneumonia new"]),
        ("The heart remains enlarged.", ["+cardiomegaly stable"]),
        # doubt
        ("Opacity compatible with pneumonia in the appropriate clinical setting.",
         ["+opacity", "?pneumonia"]),
        ("Effusions, if any, are small.", ["?pleural_effusion mild"]),
        ("Basal opacities are likely due to atelectasis.",
         ["+opacity lower", "?atelectasis lower"]),
        ("Atelectasis is favored over pneumonia.", ["?atelectasis", "?pneumonia"]),
        ("Widened mediastinum may be due to technique.", ["?wide_mediastinum"]),
        # clauses
        ("There is no effusion and atelectasis is seen at the left base.",
         ["-pleural_effusion", "+atelectasis left lower"]),
        ("No effusion and atelectasis is seen.", ["-pleural_effusion", "-atelectasis"]),
        ("Evaluation for pneumothorax is limited by subcutaneous emphysema.",
         ["+subcutaneous_emphysema"]),
        # devices
        ("ETT 1 cm above the carina, should be pulled back 3 cm.",
         ["+endotracheal_tube above_carina misplaced 10.0"]),
        ("The ET tube has been removed and replaced by a tracheostomy.",
         ["-endotracheal_tube", "+tracheostomy"]),
        ("LVAD and intra-aortic balloon pump.", ["+circulatory_support", "+circulatory_support"]),
        ("PICC tip at the cavoatrial junction without pneumothorax.",
         ["+central_line cavoatrial_junction", "-pneumothorax"]),
        # the heart made large by technique
        ("Low lung volumes accentuate the cardiac silhouette.", ["+hypoinflation"]),
    ],
)  # fmt: skip
def test_inpatient_wording_is_read(text: str, expected: list[str]) -> None:
    assert read(text) == expected


@pytest.mark.parametrize(
    ("reference", "candidate", "expected"),
    [
        ("Pneumomediastinum.", "Subcutaneous emphysema.",
         {"false_positive": 0.5, "false_negative": 0.8161}),
        ("Moderate right and small left effusions.", "Small right and moderate left effusions.",
         {"wrong_severity": 0.125}),
        ("Nodule in the left apex.", "Calcified granuloma in the left apex.",
         {"wrong_severity": 0.125}),
        ("No effusion.", "The effusion has resolved.", {"temporal_error": 0.0625}),
        ("The effusion has resolved.", "No effusion.", {}),
        ("Tracheostomy.", "Right chest tube.", {"device_error": 0.5}),
        ("Left base effusion.", "Left effusion.", {}),
        ("Bibasilar atelectasis.", "Atelectasis at the lung bases.", {}),
    ],
)  # fmt: skip
def test_the_price_of_what_inpatient_reports_confuse(
    reference: str, candidate: str, expected: dict[str, float]
) -> None:
    assert costs(reference, candidate) == expected
