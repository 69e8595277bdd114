"""What is the same thing in two reports, where it lies, and what a difference costs."""

from __future__ import annotations

import pytest

from negalign_train.severity.pricing.matching import place_share, relation, same_place
from negalign_train.severity.reading.facts import extract_facts
from negalign_train.severity.reading.mentions import Mention, mentions_of
from tests.severity.test_compare import costs


def mention(text: str, finding: str) -> Mention:
    return mentions_of(extract_facts(text))[finding]


@pytest.mark.parametrize(
    ("reference", "candidate"),
    [
        ("Scarring at the right apex.", "Mass at the left base."),
        ("Right upper lobe scarring.", "Right lower lobe mass."),
        ("Atelectasis at the left base.", "Opacity in the left upper lobe."),
        ("Right basilar opacity.", "Left basilar pneumonia."),
        ("Left apical granuloma.", "Right apical mass."),
    ],
)
def test_what_lies_elsewhere_is_no_stand_in_but_false_and_missing(
    reference: str, candidate: str
) -> None:
    charged = costs(reference, candidate)
    assert charged["false_positive"] == 0.5
    assert charged.get("false_negative", 0.0) > 0 or "granuloma" in reference
    assert charged.keys() <= {"false_positive", "false_negative"}


@pytest.mark.parametrize(
    ("reference", "candidate", "share"),
    [
        # Silent on place, side, degree, tip or number: nothing, whatever the candidate says of it.
        ("Effusion.", "Left effusion.", 0.0),
        ("Nodule.", "Nodule in the right upper lobe.", 0.0),
        ("Right effusion.", "Small right effusion.", 0.0),
        ("Bilateral opacities.", "Opacities in both lower zones.", 0.0),
        ("Opacities in both lungs.", "Opacities in both upper and lower zones.", 0.0),
        # The candidate vaguer: an eighth.
        ("Left effusion.", "Effusion.", 0.125),
        ("Nodule in the right upper lobe.", "Nodule in the right lung.", 0.125),
        ("Moderate effusion.", "Effusion.", 0.125),
        # Zones that touch: an eighth. Others: three eighths, less than another side.
        ("Right upper zone nodule.", "Right mid zone nodule.", 0.125),
        ("Perihilar opacity on the left.", "Left lower zone opacity.", 0.125),
        ("Right upper zone nodule.", "Right lower zone nodule.", 0.375),
        # A whole side added or missed costs as much as the wrong one.
        ("Opacity at the left base.", "Opacities at both bases.", 0.5),
        ("Bilateral effusions.", "Left effusion.", 0.5),
        ("Left effusion.", "Right effusion.", 0.5),
        # A place of the right side added or missed: a quarter.
        ("Right upper and right lower zone nodules.", "Right lower zone nodule.", 0.25),
    ],
)
def test_a_place_or_degree_costs_its_share_of_an_actionable_finding(
    reference: str, candidate: str, share: float
) -> None:
    assert sum(costs(reference, candidate).values()) == pytest.approx(0.5 * share)


def test_a_side_that_the_reference_denies_is_a_false_positive() -> None:
    reference = "Effusion on the left. No effusion on the right."
    assert costs(reference, "Bilateral effusions.") == {"false_positive": 0.5}
    assert costs(reference, "Left effusion. No right effusion.") == {}


@pytest.mark.parametrize(
    ("reference", "candidate", "expected"),
    [
        # The more wrong, the more it costs; reading error costs nothing.
        ("6 mm nodule.", "7 mm nodule.", 0.0),
        ("4.2 cm mass.", "45 mm mass.", 0.0),
        ("10 mm nodule.", "20 mm nodule.", 0.125),
        ("10 mm nodule.", "40 mm nodule.", 0.25),
        ("10 mm nodule.", "90 mm nodule.", 0.25),
        ("Nodule.", "9 mm nodule.", 0.0),
    ],
)
def test_a_size_costs_by_its_ratio(reference: str, candidate: str, expected: float) -> None:
    assert costs(reference, candidate).get("wrong_severity", 0.0) == pytest.approx(expected)


def test_sizes_in_between_cost_in_between() -> None:
    sizes = [costs("10 mm nodule.", f"{size} mm nodule.") for size in (13, 16, 20, 30)]
    shares = [each["wrong_severity"] for each in sizes]
    assert shares == sorted(shares)
    assert len(set(shares)) == 4


@pytest.mark.parametrize(
    ("reference", "candidate", "expected"),
    [
        ("Effusion.", "Stable effusion.", {"temporal_error": 0.03125}),
        ("Stable effusion.", "Effusion.", {}),
        ("Worse effusion.", "Improved effusion.", {"temporal_error": 0.25}),
        ("New effusion.", "Effusion.", {"temporal_error": 0.0625}),
        ("No effusion.", "New effusion.", {"false_positive": 0.5, "temporal_error": 0.0625}),
        ("Normal heart.", "Normal heart. No interval change.", {"temporal_error": 0.0625}),
        ("Effusion. No interval change.", "Stable effusion.", {}),
    ],
)
def test_a_comparison_costs_a_trace_and_a_contrary_one_half(
    reference: str, candidate: str, expected: dict[str, float]
) -> None:
    assert costs(reference, candidate) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("reference", "candidate", "expected"),
    [
        # Readings of a sign that both name: the possible ones cost nothing either way.
        ("Left basal opacity, possibly pneumonia.", "Left basal opacity.", {}),
        ("Left basal opacity.", "Left basal opacity, possibly pneumonia.", {}),
        ("Left basal pneumonia.", "Left basal opacity.", {"false_negative": 0.125}),
        # A certain finding that is only possible in the candidate is mostly missed, nothing more.
        ("Moderate right effusion.", "A small effusion cannot be excluded.",
         {"false_negative": 0.25}),
        ("Possible effusion.", "Effusion.", {"artifact_overinterpretation": 0.125}),
        ("Possible effusion.", "Possible effusion.", {}),
        # A denial in part leaves a small one half as false.
        ("No large effusion.", "Small left effusion.", {"false_positive": 0.25}),
        ("No large effusion.", "Large left effusion.", {"false_positive": 0.5}),
    ],
)  # fmt: skip
def test_doubt_is_priced_on_both_sides(
    reference: str, candidate: str, expected: dict[str, float]
) -> None:
    assert costs(reference, candidate) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("reference", "candidate"),
    [
        ("Perihilar haziness and septal lines consistent with edema.", "Pulmonary edema."),
        ("Blunting of the left costophrenic angle from a small effusion.", "Small left effusion."),
        ("Hyperinflation with flattened diaphragms.", "Emphysema."),
        ("Right lower lobe opacity consistent with pneumonia.", "Right lower lobe pneumonia."),
    ],
)
def test_a_named_diagnosis_says_its_signs(reference: str, candidate: str) -> None:
    assert costs(reference, candidate) == {}
    assert costs(candidate, reference) == {}


def test_a_sign_elsewhere_is_not_said_by_the_diagnosis() -> None:
    missed = costs("Left upper lobe opacity. Right basal pneumonia.", "Right basal pneumonia.")
    assert missed == {"false_negative": 0.5}


def test_two_words_for_one_disease_cost_an_eighth() -> None:
    assert relation("consolidation", "pneumonia", frozenset()) == "near"
    assert costs("Lingular consolidation.", "Lingular pneumonia.") == {
        "artifact_overinterpretation": 0.0625
    }
    assert costs("Lingular pneumonia.", "Lingular consolidation.") == {"false_negative": 0.0625}


@pytest.mark.parametrize(
    ("reference", "candidate", "cost"),
    [
        ("ET tube 1 cm above the carina.", "ET tube 5 cm above the carina.", 0.5),
        ("ET tube 5 cm above the carina.", "ET tube 9 cm above the carina.", 0.5),
        ("ET tube in good position.", "ET tube 4 cm above the carina.", 0.0),
        ("ET tube 4 cm above the carina.", "ET tube 4.5 cm above the carina.", 0.0),
        ("Feeding tube.", "Feeding tube in the stomach.", 0.0),
        ("PICC in the SVC.", "PICC at the cavoatrial junction.", 0.125 * 0.25),
    ],
)
def test_a_tip_costs_by_where_it_ends(reference: str, candidate: str, cost: float) -> None:
    assert costs(reference, candidate).get("device_error", 0.0) == pytest.approx(cost)


def test_places_are_compared_in_one_direction_only() -> None:
    exact, vague = ("left", "lower"), ("left", None)
    assert place_share([vague], [exact]) == 0.0
    assert place_share([exact], [vague]) == 0.125
    assert place_share([(None, None)], [exact]) == 0.0


def test_a_place_that_is_not_said_may_be_any() -> None:
    left, anywhere = "Opacity at the left base.", "Opacity."
    assert same_place(mention(left, "opacity"), mention(anywhere, "opacity"))
    apex = mention("Opacity at the left apex.", "opacity")
    assert not same_place(mention(left, "opacity"), apex)


def test_a_possible_cause_of_what_both_name_is_a_reading_and_no_finding() -> None:
    effusion = "Left effusion."
    doubtful = "Left effusion. Possible heart failure."
    assert costs(doubtful, effusion) == costs(effusion, doubtful) == {}
    certain = costs(effusion, "Left effusion. Heart failure.")
    assert certain == {"false_positive": 0.5}


def test_the_sign_that_was_left_out_is_what_a_disease_was_said_for() -> None:
    """Edema stays said; the heart failure stands for the cardiomegaly, which it leaps from."""
    charged = costs("Cardiomegaly and mild edema.", "Heart failure and mild edema.")
    assert charged == {"artifact_overinterpretation": 0.25}


def test_a_sized_finding_beside_its_related_one_is_another_one() -> None:
    granuloma = "Calcified granuloma in the right upper lobe."
    both = f"{granuloma} 9 mm nodule in the right upper lobe."
    assert costs(granuloma, both) == {"false_positive": 0.5}
    assert costs(granuloma, f"{granuloma} Right upper lobe nodule.") == {}


def test_a_graver_disease_for_a_grave_sign_is_a_leap_and_a_harmless_one_is_not() -> None:
    leap = costs("Wide mediastinum.", "Aortic aneurysm.")
    assert leap == {"artifact_overinterpretation": 0.5}
    assert costs("Right nodule.", "Right calcified granuloma.") == {"wrong_severity": 0.125}


@pytest.mark.parametrize(
    ("reference", "candidate", "expected"),
    [
        # How many: several for several an eighth, one for several a quarter, left out an eighth.
        ("Two nodules.", "Five nodules.", {"wrong_severity": 0.0625}),
        ("Single nodule.", "Four nodules.", {"wrong_severity": 0.125}),
        ("Two masses in the right lung.", "Mass in the right lung.", {"wrong_severity": 0.0625}),
        ("Nodules.", "Three nodules.", {}),
        ("Two chest tubes.", "Three chest tubes.", {"device_error": 0.03125}),
        # Which rib, vertebra, node group or bone.
        ("Fracture of the left third rib.", "Fractures of the left eighth and ninth ribs.",
         {"wrong_location": 0.25}),
        ("Wedge fractures of T7 and T8.", "Wedge fracture of T7.", {"wrong_location": 0.125}),
        ("Hilar and mediastinal lymphadenopathy.", "Hilar lymphadenopathy.",
         {"false_negative": 0.25}),
        ("Fractures of the left scapula and clavicle.", "Fracture of the left scapula.",
         {"false_negative": 0.5}),
        # Which device, statement by statement.
        ("Left PICC.", "Left dialysis catheter.", {"device_error": 0.25}),
        ("UAC tip at T7. UVC tip at T8.", "UVC tip at T8.", {"device_error": 0.25}),
        ("Right jugular dialysis catheter.", "Right dialysis catheter.", {}),
        # What kind of finding.
        ("Loculated right effusion.", "Free-flowing right effusion.", {"wrong_severity": 0.125}),
        ("Left lung mass.", "Malignant left lung mass.", {"artifact_overinterpretation": 0.25}),
        # What a report only calls misplaced.
        ("Low-lying endotracheal tube.", "Endotracheal tube in good position.",
         {"device_error": 0.5}),
        ("Endotracheal tube in good position.", "Endotracheal tube, too high.",
         {"device_error": 0.5}),
        ("NG tube coiled in the hypopharynx.", "NG tube in the stomach.", {"device_error": 0.5}),
        # A degree over-called is priced at what it is called.
        ("Borderline heart size.", "Severe cardiomegaly.", {"wrong_severity": 0.25}),
        # A general word for what is urgent leaves half of it unsaid.
        ("Right apical pneumothorax.", "Lucency at the right apex.", {"false_negative": 0.5}),
        # Another pattern is another finding.
        ("Airspace opacity at the right base.", "Reticular opacities at the right base.",
         {"false_positive": 0.5, "false_negative": 0.5}),
        # A sign whose reading is only possible in the candidate is half said.
        ("Opacity at the left base. Possible pneumonia.", "Possible pneumonia at the left base.",
         {"false_negative": 0.25}),
    ],
)  # fmt: skip
def test_which_how_many_and_what_kind(
    reference: str, candidate: str, expected: dict[str, float]
) -> None:
    assert costs(reference, candidate) == pytest.approx(expected)


def test_being_sure_of_what_is_nearly_said_costs_less() -> None:
    consolidation = "Right lower lobe consolidation, possibly pneumonia."
    assert costs(consolidation, "Right lower lobe pneumonia.") == {
        "artifact_overinterpretation": 0.0625
    }
    opacity = "Right lower lobe opacity, possibly pneumonia."
    assert costs(opacity, "Right lower lobe pneumonia.") == {"artifact_overinterpretation": 0.125}


def test_a_general_word_costs_by_what_it_leaves_unsaid() -> None:
    assert costs("Left basal atelectasis.", "Left basal opacity.") == {"false_negative": 0.0625}
    assert costs("Left basal pneumonia.", "Left basal opacity.") == {"false_negative": 0.125}


@pytest.mark.parametrize(
    ("reference", "candidate", "cost"),
    [
        ("Prosthetic aortic valve.", "Prosthetic mitral valve.", 0.25),
        ("NG tube in the stomach.", "NG tube with its side port above the GE junction.", 0.5),
        ("Chest tube, side hole outside the pleural space.", "Chest tube in place.", 0.5),
        ("Pacer leads in RA and RV.", "Pacer leads in the right atrium and right ventricle.", 0),
    ],
)
def test_devices_are_told_apart_by_kind_and_place(
    reference: str, candidate: str, cost: float
) -> None:
    assert costs(reference, candidate) == ({"device_error": cost} if cost else {})
