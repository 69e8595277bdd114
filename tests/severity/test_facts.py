"""What a sentence states: presence, certainty, side, place, degree, change, size."""

from __future__ import annotations

import time

import pytest

from negalign_train.severity.pricing.score import score_report
from negalign_train.severity.reading.facts import extract_facts
from negalign_train.severity.reading.statements import STUDY, Statement
from negalign_train.severity.words.lexicon import _check_names, _tables, lexicon
from negalign_train.severity.words.spelling import read_word
from negalign_train.vocabulary.errors import DataError
from negalign_train.vocabulary.taxonomy import finding_types


def said(text: str) -> dict[str, Statement]:
    return {s.finding: s for s in extract_facts(text).statements}


def signed(text: str) -> set[str]:
    """Findings with + (asserted), - (denied) or ? (possible)."""
    return {
        ("-" if not s.present else "+" if s.certain else "?") + s.finding
        for s in extract_facts(text).statements
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("No focal consolidation, pleural effusion, or pneumothorax.",
         {"-consolidation", "-pleural_effusion", "-pneumothorax"}),
        ("The lungs are clear of focal airspace disease, pneumothorax, or pleural effusion.",
         {"-consolidation", "-pneumothorax", "-pleural_effusion"}),
        ("There is no pleural effusion and the heart is enlarged.",
         {"-pleural_effusion", "+cardiomegaly"}),
        ("No pneumothorax, mild cardiomegaly.", {"-pneumothorax", "+cardiomegaly"}),
        ("Stable bibasilar atelectasis without consolidation.", {"+atelectasis", "-consolidation"}),
        ("Pneumothorax or pleural effusion is not seen.", {"-pneumothorax", "-pleural_effusion"}),
        ("Pneumonia cannot be excluded.", {"?pneumonia"}),
        ("Cannot exclude a small pneumothorax.", {"?pneumothorax"}),
        ("Basilar atelectasis versus pneumonia.", {"?atelectasis", "?pneumonia"}),
        ("The heart is not enlarged.", {"-cardiomegaly"}),
        ("Heart size, mediastinal contour, and pulmonary vascularity are within normal limits.",
         {"-cardiomegaly", "-wide_mediastinum", "-mediastinal_shift", "-vascular_congestion"}),
        ("Cardiac size is normal with tortuous aorta.", {"-cardiomegaly", "+tortuous_aorta"}),
        ("Left pleural oedema and cardiomegally.", {"+pulmonary_edema", "+cardiomegaly"}),
        ("Follow-up is recommended to exclude a mass.", set()),
    ],
)  # fmt: skip
def test_presence_follows_negation_certainty_and_clauses(text: str, expected: set[str]) -> None:
    assert signed(text) == expected


@pytest.mark.parametrize(
    ("text", "finding", "side", "location", "degree", "change"),
    [
        ("Bibasilar atelectasis.", "atelectasis", ("left", "right"), ("lower",), None, None),
        ("New RUL opacity.", "opacity", ("right",), ("upper",), None, "new"),
        ("There is a moderate opacity in the left lower lobe, unchanged.", "opacity", ("left",),
         ("lower",), "moderate", "stable"),
        ("The cardiac silhouette is mildly enlarged.", "cardiomegaly", (), (), "mild", None),
        ("Blunting of the right costophrenic angle.", "blunted_costophrenic_angle", ("right",), (),
         None, None),
        ("The ET tube ends 3 cm above the carina.", "endotracheal_tube", (), ("above_carina",),
         None, None),
        ("Moderate to severe emphysema.", "emphysema", (), (), "severe", None),
    ],
)  # fmt: skip
def test_attributes_belong_to_their_finding(
    text: str,
    finding: str,
    side: tuple[str, ...],
    location: tuple[str, ...],
    degree: str | None,
    change: str | None,
) -> None:
    statement = said(text)[finding]
    assert (statement.side, statement.location, statement.degree, statement.change) == (
        side, location, degree, change,
    )  # fmt: skip


def test_two_findings_of_a_sentence_keep_their_own_attributes() -> None:
    found = said("Small left pleural effusion and severe right basilar atelectasis.")
    assert (found["pleural_effusion"].side, found["pleural_effusion"].degree) == (("left",), "mild")
    assert (found["atelectasis"].side, found["atelectasis"].degree) == (("right",), "severe")


def test_a_measurement_is_read_in_millimetres() -> None:
    assert said("There is a 1.2 cm nodule in the right lung.")["nodule"].size_mm == 12.0


def test_a_change_of_the_whole_study_is_no_finding() -> None:
    assert said("No significant interval change.")[STUDY].change == "stable"


def test_a_following_sentence_gives_its_change_to_the_finding_before() -> None:
    text = "Small left pleural effusion. This is unchanged."
    assert said(text)["pleural_effusion"].change == "stable"


def test_the_span_is_where_the_words_stand_in_the_report() -> None:
    text = "Findings: Heart normal. Large left pleural effusion. Impression: None."
    start, end = said(text)["pleural_effusion"].span
    assert text[start:end] == "pleural effusion"


def test_indication_and_technique_state_nothing() -> None:
    assert signed("Indication: pneumonia. Findings: No effusion.") == {"-pleural_effusion"}


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("No effusion. No effusion here. No effusion.", ["repeated_sentence"]),
        ("Findings: No effusion. Impression: No effusion.", []),
        ("Mild cardiomegaly. There is a small left", ["truncated"]),
        ("Mild cardiomegaly", []),
        ("Findings: No effusion. Impression:", ["empty_section"]),
        ("XXXX scarring.", ["placeholder"]),
        ("No effusion.<|im_start|>user", ["placeholder"]),
        ("[/INST] No effusion.", ["placeholder"]),
        ("No effusion.<<SYS>>.", ["placeholder"]),
        ("Small plural effusion.", ["misspelt"]),
        ("Small pnuemothroax.", []),
        ("There is is no effusion.", ["doubled_word"]),
        ("Follow up in one week. Plain film.", []),
        ("Week inspiration. Plain of the pleura.", ["misspelt", "misspelt"]),
    ],
)
def test_slips_of_the_text_are_found(text: str, kinds: list[str]) -> None:
    assert [slip.kind for slip in extract_facts(text).slips] == kinds


def test_a_one_letter_slip_is_read_as_meant_and_marked() -> None:
    assert read_word("cardiomegalyy").form == "cardiomegaly"
    assert read_word("cardiomegalyy").misspelt
    assert not read_word("pleura").misspelt
    assert not read_word("effusions").misspelt


def test_every_finding_has_a_phrase_that_is_read_as_it() -> None:
    for name in finding_types():
        assert f"+{name}" in signed(f"{name.replace('_', ' ')} is seen.") or name in (
            "calcification", "wide_mediastinum", "external_leads", "interstitial_opacities",
        ), name  # fmt: skip
    assert lexicon().version >= 1


@pytest.mark.parametrize(
    "text",
    ["effusion no " * 9000, "no or " * 17000, "x" * 100_000, "a b. " * 20000, "<p>" * 30000,
     " " * 100_000, "\x00\x01" * 50000, "heart lung " * 9000 + "normal"],
)  # fmt: skip
def test_time_stays_linear_on_hostile_text(text: str) -> None:
    started = time.process_time()
    extract_facts(text)
    assert time.process_time() - started < 5.0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The endotracheal tube tip lies 5.2 cm from the carina.", {"+endotracheal_tube"}),
        ("Interval extubation. Right chest tube has been removed.",
         {"-endotracheal_tube", "-chest_tube"}),
        ("ET and NG tubes are in standard position.", {"+endotracheal_tube", "+enteric_tube"}),
        ("Feeding tube extends below the diaphragm, tip not visualized.", {"+enteric_tube"}),
        ("Enteric tube tip and side port lie in the stomach.", {"+enteric_tube"}),
        ("Tiny left apical pneumothorax persists after chest tube removal.", {"+pneumothorax"}),
        ("Left basilar opacity likely reflects atelectasis, although pneumonia cannot be excluded.",
         {"+opacity", "?atelectasis", "?pneumonia"}),
        ("Left base opacity, pneumonia not excluded.", {"+opacity", "?pneumonia"}),
        ("Increased opacity at the right base is concerning for aspiration.",
         {"+opacity", "?pneumonia"}),
        ("Pneumonia is felt to be unlikely.", {"-pneumonia"}),
        ("No effusion, although a trace left effusion would be difficult to exclude.",
         {"-pleural_effusion", "?pleural_effusion"}),
        ("Tortuous and calcified thoracic aorta.", {"+tortuous_aorta", "+atherosclerosis"}),
        ("Complete white-out of the right hemithorax with mediastinal shift to the left.",
         {"+opacity", "+mediastinal_shift"}),
        ("There is no longer evidence of pulmonary edema.", {"-pulmonary_edema"}),
        ("Previously described right lower lobe opacity has cleared.", {"-opacity"}),
        ("Elevated pulmonary venous pressure.", {"+vascular_congestion"}),
        ("Known right upper lobe mass is better assessed on CT.", {"+mass"}),
        ("1 . small left effusion . 2 . no pneumothorax .", {"+pleural_effusion", "-pneumothorax"}),
        ("NOTIFICATION: Dr. A was called about the pneumothorax.", set()),
        ("INDICATION: rule out pneumonia\n\nSmall right effusion.", {"+pleural_effusion"}),
        ("Findings were discussed with the team regarding pneumothorax.", set()),
        ("Low lung volumes accentuate the cardiac silhouette.", {"+hypoinflation"}),
        ("The right costophrenic angle is not included.", set()),
        ("CHF. PTX. RLL PNA.", {"+heart_failure", "+pneumothorax", "+pneumonia"}),
        ("Status post CABG with intact sternal wires.", {"+sternal_wires"}),
    ],
)  # fmt: skip
def test_ward_and_intensive_care_style_is_read(text: str, expected: set[str]) -> None:
    assert signed(text) == expected


@pytest.mark.parametrize(
    ("text", "finding", "side", "location", "degree", "change"),
    [
        ("Small left effusion with adjacent atelectasis.", "atelectasis", ("left",), (), None,
         None),
        ("Left basilar opacity, likely pneumonia.", "pneumonia", ("left",), ("lower",), None, None),
        ("Opacities in the right middle and lower lobes.", "opacity", ("right",), ("lower", "mid"),
         None, None),
        ("Compressive atelectasis at the bases.", "atelectasis", ("left", "right"), ("lower",),
         None, None),
        ("Chest tube toward the base.", "chest_tube", (), ("pleural_base",), None, None),
        ("Left apical pleural thickening.", "pleural_thickening", ("left",), ("upper",), None,
         None),
        ("Redemonstrated right effusion, increased.", "pleural_effusion", ("right",), (), None,
         "worse"),
        ("Lung volumes are slightly decreased.", "hypoinflation", (), (), "mild", None),
        ("Interval increase of the right effusion, now large.", "pleural_effusion", ("right",), (),
         "severe", "worse"),
        ("There is little overall change.", "study", (), (), None, "stable"),
    ],
)  # fmt: skip
def test_places_degrees_and_changes_in_context(
    text: str,
    finding: str,
    side: tuple[str, ...],
    location: tuple[str, ...],
    degree: str | None,
    change: str | None,
) -> None:
    statement = said(text)[finding]
    assert (statement.side, statement.location, statement.degree, statement.change) == (
        side, location, degree, change,
    )  # fmt: skip


def test_of_two_numbers_the_larger_is_the_size_and_old_findings_are_marked() -> None:
    assert said("A 1.2 x 0.8 cm nodule.")["nodule"].size_mm == 12.0
    assert said("A nodule of 8 by 12 mm.")["nodule"].size_mm == 12.0
    assert said("Old healed rib fractures.")["rib_fracture"].chronic
    assert not said("Acute rib fracture.")["rib_fracture"].chronic


def test_a_place_of_a_device_without_phrases_is_refused() -> None:
    data, _ = _tables()
    _check_names(data, "lexicon.yaml")
    del data["positions"]["svc"]
    with pytest.raises(DataError, match="svc not in both lexicon and data/findings"):
        _check_names(data, "lexicon.yaml")


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("Findings: Heart normal. No effusion. Impression: Clear lungs", False),
        ("Findings: Heart normal. No effusion. Impression: No acute", True),
        ("Findings: Heart normal. Impression: 1. No effusion. 2. Mild cardiomegaly", False),
        ("Findings: Heart normal. Impression: 1. No effusion. 2. Mild", True),
        ("Heart normal. No effusion on the left", True),
        ("Heart normal.\n\nSmall effusion on the left", True),
        ("Heart normal. No effusion. There is a pleural effusion", True),
        ("Heart normal\nNo effusion\nClear lungs", False),
        ("Findings: Heart normal.\ni. No effusion\nii. Clear lungs", False),
    ],
)
def test_a_section_of_one_phrase_needs_no_stop(text: str, cut: bool) -> None:
    assert ("truncated" in [slip.kind for slip in extract_facts(text).slips]) == cut


@pytest.mark.parametrize(
    ("text", "conflict"),
    [
        ("Lungs are clear. 6 mm nodule at the left base.", False),
        ("Lungs are clear. Large right consolidation.", True),
        ("The lungs are clear. Right hilar mass.", False),
        ("No XXXX infiltrate. Infiltrate in the right lower lobe.", False),
        ("No focal infiltrate. Stable bibasilar opacities.", False),
        ("No focal infiltrate. Infiltrate in the right lower lobe.", True),
        ("Does not appear to be a hydropneumothorax. Small left effusion.", False),
        ("No effusion. Small left effusion.", True),
    ],
)
def test_what_a_reader_would_not_call_a_contradiction_is_none(text: str, conflict: bool) -> None:
    score = score_report("No pneumothorax.", text)
    assert score is not None
    assert (score.severities["contradictory_diagnosis"] > 0) == conflict
