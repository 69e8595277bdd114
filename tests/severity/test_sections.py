"""Where a section begins and ends, in the dialects of exports."""

from __future__ import annotations

import pytest

from negalign_train.severity.pricing.score import score_report
from negalign_train.severity.reading.facts import extract_facts
from negalign_train.severity.text.layout import lay_out
from negalign_train.severity.text.sections import text_sections


def signed(text: str) -> set[str]:
    return {("+" if s.present else "-") + s.finding for s in extract_facts(text).statements}


@pytest.mark.parametrize(
    "text",
    [
        "Indication: rib fracture. Small left effusion is seen. No pneumothorax.",
        "INDICATION: rib fracture\nSmall left effusion.\nNo pneumothorax.",
        "Indication: rib fracture\n\nSmall left effusion. No pneumothorax.",
        "Clinical History:\n\n   Evaluate for edema\n\nReport:\n   Small left\n   effusion.\n"
        "   No pneumothorax.",
        "Technique: PA and lateral. Comparison: None. Small left effusion. No pneumothorax.",
        "Exam: Chest 2 views\nComparison: None\nSmall left effusion. No pneumothorax.",
        "Indication: cough. Pleura: Small left effusion. No pneumothorax.",
        "CLINICAL INFORMATION: ?edema. OPINION: Small left effusion. No pneumothorax.",
        "INDICATION: Rule out edema. Small left effusion. No pneumothorax.",
        "Clinical Indication - cough, r/o edema. Small left effusion. No pneumothorax.",
        "?Edema. Small left effusion. No pneumothorax.",
        "EXAM: XR CHEST, HISTORY: edema. Small left effusion. No pneumothorax.",
        "Wet Read: Small left effusion. Comment: No pneumothorax.",
        "PRELIM: Small left effusion. Recommendation: CT for edema.\n\nNo pneumothorax.",
        "Reason for exam: edema. FINDINGS Small left effusion. IMPRESSION: No pneumothorax.",
        "Clinical details: rule out edema. Report: Small left effusion. No pneumothorax.",
        "FINDINGS\nSmall left effusion\n\nIMPRESSION\nNo pneumothorax",
        "History: edema. Summary: Small left effusion. No pneumothorax. Dictated by: Dr. Edema",
    ],
)
def test_an_aside_ends_where_the_findings_begin(text: str) -> None:
    assert signed(text) == {"+pleural_effusion", "-pneumothorax"}


@pytest.mark.parametrize(
    "text",
    [
        "Indication: Pneumonia. Heart failure. Findings: No pneumothorax.",
        "Indication: Cough. Patient is concerned about pneumonia. Impression: No pneumothorax.",
        "History: Fall. Evaluate for effusion. No pneumothorax.",
        "Findings: No pneumothorax. Recommendations: CT. There is a risk of pneumonia.",
    ],
)
def test_what_is_asked_or_advised_is_no_finding(text: str) -> None:
    assert signed(text) == {"-pneumothorax"}


def test_the_opinion_is_the_impression() -> None:
    text = "Report: Left effusion. Opinion: Right effusion."
    assert [s.section for s in extract_facts(text).statements] == ["findings", "impression"]


def test_a_label_of_the_template_is_no_section() -> None:
    text = lay_out("Lungs: clear\nHeart: normal").text
    assert text_sections(text) == [("findings", 0, len(text))]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Pneumothorax: No\nEffusion: small left", {"-pneumothorax", "+pleural_effusion"}),
        ("Pneumothorax: absent. Effusion: present, left.", {"-pneumothorax", "+pleural_effusion"}),
        ("Pneumothorax? No. Effusion? Yes.", {"-pneumothorax", "+pleural_effusion"}),
        ("Pneumothorax (-), effusion (+).", {"-pneumothorax", "+pleural_effusion"}),
        ("Pneumothorax -ve. +ve for effusion.", {"-pneumothorax", "+pleural_effusion"}),
        ("- pneumothorax, + effusion.", {"-pneumothorax", "+pleural_effusion"}),
        ("Pneumothorax - nil. Effusion = yes", {"-pneumothorax", "+pleural_effusion"}),
        ("Pleura: no effusion. Pneumothorax: none.", {"-pleural_effusion", "-pneumothorax"}),
    ],
)
def test_a_template_is_answered_in_one_word(text: str, expected: set[str]) -> None:
    assert signed(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "No acute abnormality.", "Normal.", "Impression: Negative.", "NAD", "CXR: NAD",
        "Nil acute.",
        "Nothing abnormal detected.", "The study is within normal limits.", "Otherwise normal.",
        "No significant pathology seen.", "Normal appearances.",
        "Impression: no concerning findings",
    ],
)  # fmt: skip
def test_a_sentence_that_only_says_normal_denies_the_acute_findings(text: str) -> None:
    assert {"-pneumothorax", "-pleural_effusion", "-consolidation"} <= signed(text)


def test_normal_said_of_an_organ_stays_with_it() -> None:
    denied = signed("No acute abnormality of the bones.")
    assert {"-rib_fracture", "-bone_lesion"} <= denied
    assert not {"-pneumothorax", "-pneumonia", "-heart_failure"} & denied


@pytest.mark.parametrize(
    "text", ["Film is not normal.", "Abnormal study.", "XXXX are normal.", "No acute XXXX.",
             "No film.", "Limited study.", "Acute finding."]
)  # fmt: skip
def test_what_denies_no_abnormality_of_the_examination_says_nothing(text: str) -> None:
    assert extract_facts(text).statements == ()


def test_filler_is_no_language_and_costs() -> None:
    score = score_report("Small left effusion.", "Lorem ipsum dolor sit amet consectetur.")
    assert score is not None
    assert score.severities["report_integrity"] > 0
    assert score.severities["false_negative"] > 0


@pytest.mark.parametrize(
    "text", ["Opacity at the left base, ?TB.", "Left basal opacity ?pneumonia"]
)
def test_a_question_mark_before_a_reading_makes_it_possible(text: str) -> None:
    reading = next(s for s in extract_facts(text).statements if s.finding == "pneumonia")
    assert reading.present
    assert not reading.certain
