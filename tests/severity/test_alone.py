"""A report judged alone: what is known without a right one, what is not, and what is no flag."""

from __future__ import annotations

import textwrap
import time

import pytest

from negalign_train.severity.alone.flags import FLAG_KINDS, Flag
from negalign_train.severity.alone.prompt import prompt_parts
from negalign_train.severity.alone.result import alone_object
from negalign_train.severity.alone.score import KNOWN_ALONE, explain_unscorable_alone, score_alone
from negalign_train.severity.alone.tables import plausibility
from negalign_train.severity.pricing.score import score_report
from negalign_train.severity.reading.context import CaseContext
from negalign_train.vocabulary.records import CATEGORIES, Prompt
from negalign_train.vocabulary.resources import data_path, read_table

RIGHT = "Findings: Small left pleural effusion. Heart size is normal. Impression: Left effusion."


def flags(report: str, prompt: Prompt | None = None, age: float | None = None) -> list[Flag]:
    score = score_alone(report, prompt, CaseContext(age=age))
    assert score is not None
    assert {flag.kind for flag in score.flags} <= FLAG_KINDS.keys()
    return list(score.flags)


def kinds(report: str, prompt: Prompt | None = None, age: float | None = None) -> set[str]:
    return {f"{flag.kind} {flag.category}" for flag in flags(report, prompt, age)}


def words(report: str, flag: Flag) -> str:
    assert flag.span is not None
    return report[slice(*flag.span)]


def test_a_right_report_has_two_severities_of_zero_and_seven_unknown_ones() -> None:
    score = score_alone(RIGHT)
    assert score is not None
    assert score.flags == ()
    assert [name for name in CATEGORIES if score.severities[name] is not None] == list(KNOWN_ALONE)
    assert set(score.severities.values()) == {0.0, None}


@pytest.mark.parametrize(
    "report",
    [
        "Small left pneumothorax. No pneumothorax.",
        "Findings: Left lung nodule. Impression: Right lung nodule.",
        "There is a small left effusion. There is a small left effusion. The heart is",
        "The the heart is enlarged. XXXX",
        "Findings: Small effusion. Impression:",
    ],
)
def test_R3_and_R9_are_those_that_the_scorer_gives_beside_a_reference(report: str) -> None:
    alone, beside = score_alone(report), score_report("No pneumothorax.", report)
    assert alone is not None
    assert beside is not None
    assert {name: alone.severities[name] for name in KNOWN_ALONE} == {
        name: beside.severities[name] for name in KNOWN_ALONE
    }
    assert sum(alone.severities[name] or 0 for name in KNOWN_ALONE) > 0


@pytest.mark.parametrize(
    ("report", "reason"),
    [
        ("", "empty_candidate"),
        ("Die Lunge ist frei. Kein Erguss.", "other_language"),
        ("Examination: CT of the head. No intracranial hemorrhage.", "other_examination"),
        ("?!", "unreadable_candidate"),
    ],
)
def test_what_cannot_be_read_has_no_score_and_a_reason(report: str, reason: str) -> None:
    assert score_alone(report) is None
    assert explain_unscorable_alone(report) == reason
    result = alone_object(report)
    assert (result["severities"], result["scorable"], result["flags"]) == (None, False, [])


@pytest.mark.parametrize(
    ("report", "category", "at"),
    [
        ("9 cm nodule in the right upper lobe.", "wrong_severity", "nodule"),
        ("3 mm mass in the right upper lobe.", "wrong_severity", "mass"),
        ("Left pleural effusion of 60 cm.", "wrong_severity", "pleural effusion"),
        ("ET tube ends 20 cm above the carina.", "device_error", "ET tube"),
        ("The endotracheal tube ends in the SVC.", "device_error", "endotracheal tube"),
        ("The tip of the PICC lies in the stomach.", "device_error", "PICC"),
        ("Opacity in the left middle lobe.", "wrong_location", "left middle lobe"),
        ("Atelectasis of the right lingula.", "wrong_location", "right lingula"),
        ("Fracture of the 14th left rib.", "wrong_location", "14th left rib"),
        ("Compression fracture of T15.", "wrong_location", "T15"),
        ("Left cardiomegaly.", "wrong_location", "Left cardiomegaly"),
        ("The cardiothoracic ratio is 1.4.", "wrong_location", "cardiothoracic ratio is 1.4"),
    ],
)
def test_what_no_patient_has_is_impossible_at_its_place_and_of_unknown_severity(
    report: str, category: str, at: str
) -> None:
    (flag,) = [each for each in flags(report) if each.kind == "impossible"]
    assert (flag.category, flag.severity) == (category, None)
    assert words(report, flag) == at
    score = score_alone(report)
    assert score is not None
    assert score.severities[category] is None


@pytest.mark.parametrize(
    "report",
    [
        "Tracheostomy tube in the trachea. Pacemaker leads in the right atrium and ventricle.",
        "The PICC ends 2 cm above the carina.",
        "2.8 cm nodule in the right upper lobe. 4 cm mass in the left lower lobe.",
        "ET tube ends 4 cm above the carina. PICC tip in the right atrium.",
        "The ET tube ends in the right main bronchus. The feeding tube ends in the esophagus.",
        "Opacity in the right middle lobe and in the lingula. Left lower lobe atelectasis.",
        "Old fracture of the left 10th rib. Compression fracture of T12 and L1.",
        "The left ventricle is enlarged. Mild cardiomegaly. Cardiothoracic ratio of 0.55.",
        "Right-sided effusion and left-sided pneumothorax.",
    ],
)
def test_what_a_patient_can_have_is_not_impossible(report: str) -> None:
    assert "impossible" not in {flag.kind for flag in flags(report)}


def test_findings_and_impression_of_far_degrees_or_opposite_changes_exclude_each_other() -> None:
    degrees = "Findings: Mild pulmonary edema. Impression: Severe pulmonary edema."
    changes = "Findings: The left effusion is improved. Impression: Worsening left effusion."
    lungs = "Findings: Low lung volumes. Flattened diaphragms."
    for report in (degrees, changes, lungs):
        (flag,) = flags(report)
        assert flag.kind == "self_contradiction"
        assert flag.severity is not None
        assert flag.severity > 0
        assert flag.conflict_span is not None
    near = "Findings: Mild edema. Moderate left effusion. Impression: Mild edema and left effusion."
    assert flags(near) == []


@pytest.mark.parametrize(
    ("report", "kind"),
    [
        ("No effusion no effusion no effusion no effusion.", "integrity report_integrity"),
        ("As an AI, I cannot see images. No pneumothorax.", "chatter report_integrity"),
        ("No effusion. Signed, [Your Name].", "chatter report_integrity"),
        (
            "The lungs are clear. No effusion. The heart is normal. Gloop wibble frob zorp quux.",
            "unread report_integrity",
        ),
    ],
)
def test_loops_chatter_and_unread_sentences_are_flagged(report: str, kind: str) -> None:
    assert kind in kinds(report)


@pytest.mark.parametrize(
    ("prompt", "report", "kind"),
    [
        ("Observations: nodule, lung, left.", "Lungs are clear. No nodule.",
         "prompt_contradicted false_negative"),
        ("Observations: nodule, lung, left; cardiomegaly.", "Right lung nodule. Cardiomegaly.",
         "prompt_contradicted wrong_location"),
        ("Observations: cardiomegaly.", "No pneumothorax.", "prompt_unanswered false_negative"),
        ("Indication: known left effusion.", "Right pleural effusion.",
         "prompt_contradicted wrong_location"),
        ("Status post right chest tube placement.", "No chest tube.",
         "prompt_contradicted device_error"),
        ("Comparison: none.", "The effusion is unchanged since the prior study.",
         "prompt_contradicted temporal_error"),
        ("Comparison: none.", "Compared to the prior study, no change. Small effusion.",
         "prompt_contradicted temporal_error"),
        ("72-year-old woman with cough.", "This 27-year-old patient has a small effusion.",
         "prompt_contradicted report_integrity"),
        ("45-year-old man.", "Small effusion. The woman was examined.",
         "prompt_contradicted report_integrity"),
        ("45-year-old male.", "Bilateral breast implants. No effusion.",
         "prompt_contradicted false_positive"),
        ("7 year old girl.", "Atherosclerosis of the aorta.", "prompt_contradicted false_positive"),
        ("Age: 60. Indication: cough.", "Thymic sail sign. No effusion.",
         "prompt_contradicted false_positive"),
    ],
)  # fmt: skip
def test_a_report_against_its_prompt_is_flagged(prompt: str, report: str, kind: str) -> None:
    flagged = [f for f in flags(report, prompt) if f"{f.kind} {f.category}" == kind]
    assert len(flagged) == 1
    assert flagged[0].severity is None
    assert flagged[0].prompt_span is not None


@pytest.mark.parametrize(
    ("prompt", "report"),
    [
        ("Indication: rule out left pneumothorax.", "No pneumothorax. Right rib fracture."),
        ("Indication: left chest pain.", "Right lower lobe pneumonia."),
        ("Observations: nodule, lung, left.", "There is a small nodule in the left lung."),
        (
            "Observations: none. Comparison: prior study.",
            "Small effusion, unchanged since the prior.",
        ),
        ("Observations: medical device.", "A pacemaker is in place."),
        ("Comparison: none.", "Small left effusion. Stable appearance of old rib fractures."),
        ("71-year-old woman, cough.", "This 71-year-old woman has degenerative changes."),
        ("45-year-old male.", "Nipple shadows. No effusion."),
        ("History of mastectomy in a woman and her husband.", "Breast implants. No effusion."),
        ("", "Small effusion."),
    ],
)
def test_a_report_that_fits_its_prompt_is_not(prompt: str, report: str) -> None:
    assert flags(report, prompt) == []


def test_a_comparison_in_a_report_that_knows_of_no_prior_contradicts_itself() -> None:
    report = "Comparison: None.\n\nSmall effusion, increased since the prior study."
    (flag,) = flags(report)
    assert (flag.kind, flag.category) == ("self_contradiction", "temporal_error")
    assert words(report, flag) == "since the prior"


@pytest.mark.parametrize("width", [12, 20, 33])
def test_a_wrapped_report_raises_the_same_flags(width: int) -> None:
    report = (
        "The left pleural effusion has increased since the prior study. Left middle lobe opacity "
        "is seen. There is a 9 cm nodule in the right upper lobe. I hope this helps. "
        "This 27-year-old woman has no pneumothorax."
    )
    prompt = "72-year-old man. Comparison: none. Observations: pneumothorax, right."
    wrapped = textwrap.fill(report, width, break_long_words=False)

    def kinds_of(text: str) -> list[tuple[str, str, str]]:
        return sorted((f.kind, f.category, f.detail) for f in flags(text, prompt))

    assert len(kinds_of(report)) >= 6
    assert kinds_of(wrapped) == kinds_of(report)


def test_chat_messages_are_read_by_their_user_and_the_age_of_the_context_counts() -> None:
    prompt = (
        {"role": "system", "content": "Observations: mass."},
        {"role": "user", "content": "Observations: cardiomegaly."},
    )
    assert kinds("No effusion. No mass.", prompt) == {"prompt_unanswered false_negative"}
    assert kinds("Atherosclerosis.", None, age=8) == {"prompt_contradicted false_positive"}
    assert kinds("Atherosclerosis.", None, age=80) == set()


def test_parts_of_a_prompt_keep_their_places() -> None:
    prompt = "Indication: cough. Comparison: none. Observations: nodule; mass."
    parts = prompt_parts(prompt)
    assert parts.asked.strip() == "cough."
    assert parts.observed.strip() == "nodule. mass."
    assert parts.observed.index("mass") == prompt.index("mass")
    assert parts.no_prior == (prompt.index("Comparison"), prompt.index("Observations"))
    assert prompt_parts("cough").asked == "cough"


def test_the_tables_name_known_findings_and_every_pattern_matches_something() -> None:
    tables = plausibility()
    assert len(tables.phrases) >= 10
    positions = read_table(data_path("lexicon.yaml"))["positions"].keys()
    assert all(places <= positions for places in tables.impossible_tips.values())
    assert tables.of_one_sex.keys() == tables.sex.keys() == {"female", "male"}


def test_time_is_linear_in_the_length_of_report_and_prompt() -> None:
    def seconds(count: int) -> float:
        report = "Small left effusion number one. " * count
        start = time.process_time()
        score_alone(report, "Observations: " + "nodule, lung, left; " * count)
        return time.process_time() - start

    seconds(50)
    short, long = min(seconds(200) for _ in range(3)), min(seconds(1600) for _ in range(3))
    assert long < 24 * short
