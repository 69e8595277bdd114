"""Words and scope: kinds of wording that radiologists use, each in several forms."""

from __future__ import annotations

import pytest

from negalign_train.severity.reading.facts import extract_facts
from negalign_train.severity.reading.numbers import MANY
from negalign_train.severity.reading.statements import STUDY, Statement
from negalign_train.severity.words.lexicon import lexicon
from negalign_train.severity.words.phrases import expanded, merged
from negalign_train.severity.words.spelling import read_word
from negalign_train.severity.words.unknown import UNKNOWN, unknown_noun, unknown_phrase


def signed(text: str) -> set[str]:
    """Findings with + (asserted), ~ (probable), ? (possible) or - (denied in so many words)."""
    return {
        ("-" if not s.present else "+" if s.certain else "~" if s.probable else "?") + s.finding
        for s in extract_facts(text).statements
        if s.present or not s.implied
    }


def only(text: str) -> Statement:
    statements = [s for s in extract_facts(text).statements if s.present]
    assert len(statements) == 1, statements
    return statements[0]


def test_choices_stand_for_every_phrase() -> None:
    assert list(expanded("(is|are) likely (due to|)")) == [
        "is likely due to", "is likely", "are likely due to", "are likely",
    ]  # fmt: skip
    assert merged({"a": ["x"], "b": {"c": ["y"]}}, {"b": {"c": ["z"]}, "d": ["w"]}) == {
        "a": ["x"], "b": {"c": ["y", "z"]}, "d": ["w"],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # bones by name
        ("Fractures of three right ribs and of the left clavicle.",
         {"+rib_fracture", "+clavicle_fracture"}),
        ("Old fracture, left clavicle.", {"+clavicle_fracture"}),
        ("The sternum is fractured.", {"+sternal_fracture"}),
        ("Fractured left scapula.", {"+scapula_fracture"}),
        ("Fracture of the T7 vertebral body.", {"+vertebral_compression"}),
        ("The left shoulder is dislocated.", {"+dislocation"}),
        ("Acute fractures of the left 5th, 6th and 7th ribs.", {"+rib_fracture"}),
        ("No rib or clavicle fracture.", {"-rib_fracture", "-clavicle_fracture"}),
        # fluid and air where they lie
        ("Fluid collects in both pleural spaces.", {"+pleural_effusion"}),
        ("There is air in the right pleural space.", {"+pneumothorax"}),
        ("No fluid in the pleural cavity.", {"-pleural_effusion"}),
        ("The pericardial sac contains fluid.", {"+pericardial_effusion"}),
        ("Gas in the soft tissues of the neck.", {"+subcutaneous_emphysema"}),
        # coordination and word order
        ("Enlarged heart and mediastinum.", {"+cardiomegaly", "+wide_mediastinum"}),
        ("Prominent pulmonary vessels and interstitial markings.",
         {"+vascular_congestion", "+interstitial_opacities"}),
        ("Ectatic and calcified aorta.", {"+tortuous_aorta", "+atherosclerosis"}),
        ("Both lungs have little volume.", {"+hypoinflation"}),
        ("The heart looks a little larger than on the last film.", {"+cardiomegaly"}),
        ("Cardiothoracic ratio is increased at 60%.", {"+cardiomegaly"}),
        # verbs that deny, templates, abbreviations
        ("The lungs lack focal consolidation.", {"-consolidation"}),
        ("The film fails to show a pneumothorax.", {"-pneumothorax"}),
        ("Pleural effusion: absent. Pneumothorax: absent.", {"-pleural_effusion", "-pneumothorax"}),
        ("Cardiomegaly w/o CHF.", {"+cardiomegaly", "-heart_failure"}),
        ("RLL PNA, LLL ATX, no PTX.", {"+pneumonia", "+atelectasis", "-pneumothorax"}),
        ("Atelectasis rather than pneumonia.", {"+atelectasis", "-pneumonia"}),
        ("Not only effusion but also pneumothorax.", {"+pleural_effusion", "+pneumothorax"}),
        # a slash names both, or two readings of one sign
        ("Left effusion/atelectasis.", {"+pleural_effusion", "+atelectasis"}),
        ("Left atelectasis/pneumonia.", {"?atelectasis", "?pneumonia"}),
        # doubts and their ladder
        ("Opacity, likely pneumonia.", {"+opacity", "~pneumonia"}),
        ("Opacity that may be pneumonia.", {"+opacity", "?pneumonia"}),
        ("Nodule, likely benign.", {"+nodule"}),
        ("Pneumonia has not been excluded.", {"?pneumonia"}),
        # what a report only speaks of
        ("Lungs clear, with nothing to explain the suspected infection.", set()),
        ("Small metastases to the ribs may be beyond this study.", set()),
        ("A small nodule could be missed on this film.", set()),
        ("There is adequate opacification of the pulmonary arteries.", set()),
        ("History of pneumonia.", set()),
        # procedures and devices
        ("Changes after axillary surgery with a drain in the wound.",
         {"+postoperative_change", "+drain"}),
        ("Ventriculoperitoneal shunt tubing crosses the chest.", {"+shunt"}),
        ("Left chest wall CRT-D.", {"+pacemaker"}),
        ("NG tube in place, tip not identified.", {"+enteric_tube"}),
        ("The tip of the PICC is not seen.", {"+central_line"}),
        ("The chest tube is not seen.", {"-chest_tube"}),
        ("Apical lucency.", {"+lucency"}),
        ("Lines and tubes are unchanged. Left PICC.", {"+central_line"}),
        ("Right chest tube, with no residual pneumothorax.", {"+chest_tube", "-pneumothorax"}),
        # an artefact is no finding
        ("The nodular density is a nipple shadow.", {"+nipple_shadow"}),
        ("Mediastinal widening is artefactual.", {"-wide_mediastinum"}),
        # a tube by any other name
        ("Ryle's tube in situ. ICD tube in situ.", {"+enteric_tube", "+chest_tube"}),
    ],
)  # fmt: skip
def test_wording_is_read_as_a_radiologist_means_it(text: str, expected: set[str]) -> None:
    assert signed(text) == expected


@pytest.mark.parametrize(
    "text",
    ["Mediastinal ganglioneuroma.", "Left basal necrotic change.", "Hamartoma in the left lung.",
     "Right upper lobe abnormality.", "Osteopetrosis."],
)  # fmt: skip
def test_an_abnormal_word_that_nobody_knows_is_still_something(text: str) -> None:
    assert UNKNOWN in {s.finding for s in extract_facts(text).statements if s.present}


def test_an_ordinary_word_is_no_unknown_abnormality() -> None:
    for word in ("diagnosis", "hemithorax", "basis", "film", "patient"):
        assert unknown_noun(word) is None
    assert unknown_phrase("technical", "change") is None
    assert unknown_phrase("necrotic", "film") is None
    assert not {"+other_abnormality"} & signed("Diagnosis: technical changes of position.")


@pytest.mark.parametrize(
    ("text", "numbers", "how_many"),
    [
        ("Fractures of the left third to fifth ribs.", ("rib 3", "rib 4", "rib 5"), None),
        ("Fractures of the 3rd and 5th ribs.", ("rib 3", "rib 5"), None),
        ("Right rib fractures 4-6.", (), None),
        ("Wedge fractures of T7 and T8.", ("t7", "t8"), None),
        ("T10-T12 compression fractures.", ("t10", "t11", "t12"), None),
        ("Two nodules in the right lung.", (), 2),
        ("Multiple nodules.", (), MANY),
        ("A 5 mm nodule.", (), None),
    ],
)
def test_ribs_vertebrae_and_counts_are_attributes(
    text: str, numbers: tuple[str, ...], how_many: int | None
) -> None:
    statement = only(text)
    assert statement.numbers == numbers
    assert statement.how_many == how_many


@pytest.mark.parametrize(
    ("text", "degree", "change", "size_mm"),
    [
        ("Small left effusion, previously moderate.", "mild", "improved", None),
        ("Effusion has increased from small to large.", "severe", "worse", None),
        ("The effusion, which was large, is now small.", "mild", "improved", None),
        ("Left effusion now moderate (previously small).", "moderate", "worse", None),
        ("The nodule is 12 mm (8 mm before).", None, "worse", 12.0),
        ("Nodule, 8 mm, previously 5 mm.", None, "worse", 8.0),
        ("Nodule decreased from 8 mm to 4 mm.", None, "improved", 4.0),
        ("Increased opacity at the right base.", None, None, None),
        ("Increased opacity at the right base since the prior study.", None, "worse", None),
        ("Increased right effusion.", None, "worse", None),
    ],
)
def test_what_was_is_told_from_what_is(
    text: str, degree: str | None, change: str | None, size_mm: float | None
) -> None:
    statement = only(text)
    assert (statement.degree, statement.change, statement.size_mm) == (degree, change, size_mm)


def test_a_larger_side_compares_two_sides_and_no_earlier_study() -> None:
    text = "Right pleural effusion and larger left pleural effusion."
    assert {s.change for s in extract_facts(text).statements} == {None}


@pytest.mark.parametrize(
    ("text", "side", "location"),
    [
        ("L pleural effusion.", ("left",), ()),
        ("B/L opacities.", ("left", "right"), ()),
        ("Opacities in both lower lobes.", ("left", "right"), ("lower",)),
        ("Opacity in the right upper zone.", ("right",), ("upper",)),
        ("Consolidated right lower lobe.", ("right",), ("lower",)),
    ],
)
def test_short_forms_and_zones_are_places(
    text: str, side: tuple[str, ...], location: tuple[str, ...]
) -> None:
    statement = only(text)
    assert (statement.side, statement.location) == (side, location)


@pytest.mark.parametrize(
    ("british", "form"),
    [("oedema", "edema"), ("haemothorax", "hemothorax"), ("oesophageal", "esophageal"),
     ("localised", "localized"), ("tumour", "tumor"), ("demineralised", "demineralized"),
     ("tunnelled", "tunneled")],
)  # fmt: skip
def test_british_spelling_is_american_by_rule_and_no_slip(british: str, form: str) -> None:
    word = read_word(british)
    assert (word.form, word.misspelt, word.known) == (form, False, True)


def test_a_sweeping_denial_leaves_a_change_to_the_whole_study() -> None:
    statements = extract_facts("Stable chest radiograph with no acute abnormality.").statements
    assert [s.change for s in statements if s.finding == STUDY] == ["stable"]


def test_the_places_of_a_subtype_are_findings_of_the_catalogue() -> None:
    readings = lexicon().trie["loculated"][""]
    assert readings.first["subtype"] == "pleural_effusion.loculated"
    assert only("Loculated right effusion.").subtypes == ("loculated",)
    assert only("Loculated mass.").subtypes == ()
