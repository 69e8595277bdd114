"""Errors that a model makes on request: the question, and which answers are kept as what."""

from __future__ import annotations

import re

import pytest

from negalign_train.generation.elicitation import (
    ELICITATION_REFUSALS,
    Elicited,
    elicitation_prompt,
    read_elicited,
)
from negalign_train.generation.reports import Generated
from negalign_train.vocabulary.taxonomy import taxonomy

REPORT = (
    "Findings: Small left pleural effusion. The heart is enlarged. No pneumothorax. "
    "Impression: Small left pleural effusion. Cardiomegaly."
)


def answer(text: str, truncated: bool = False) -> Generated:
    return Generated(text, 9, truncated)


@pytest.mark.parametrize("category", taxonomy(), ids=lambda category: category.id)
def test_the_question_names_one_category_and_holds_the_report_once_between_its_marks(category):
    question = elicitation_prompt(REPORT, category, "abc123")
    assert question.count(REPORT) == 1
    assert re.search(rf"<report-abc123>\n{re.escape(REPORT)}\n</report-abc123>$", question)
    assert category.definition in question
    assert category.name.replace("_", " ") in question
    assert "{" not in question


def test_a_report_that_looks_like_the_template_stays_as_it_is():
    report = "Left effusion {hint} {nonce} {report}."
    assert elicitation_prompt(report, taxonomy()[0], "1").count(report) == 1


def test_an_error_that_the_rules_see_is_verified_with_its_evidence():
    made = read_elicited(REPORT, "wrong_location", answer(REPORT.replace("left", "right")))
    assert isinstance(made, Elicited)
    assert made.verification == "verified"
    assert made.severities["wrong_location"] > 0
    assert [item.category for item in made.evidence] == ["wrong_location"]
    assert made.text[slice(*made.evidence[0].span or (0, 0))] == "pleural effusion"


def test_an_error_of_another_category_or_none_is_unverified_and_unknown():
    other = read_elicited(REPORT, "device_error", answer(REPORT.replace("left", "right")))
    reworded = read_elicited(REPORT, "device_error", answer(REPORT.replace("Small", "A small")))
    for made in (other, reworded):
        assert isinstance(made, Elicited)
        assert (made.verification, made.evidence) == ("unverified", ())
        assert made.severities["device_error"] == 0


def test_a_contradiction_that_the_right_report_holds_already_is_not_the_model_s():
    report = REPORT + " No pleural effusion."
    made = read_elicited(report, "contradictory_diagnosis", answer(report.replace("left", "right")))
    assert isinstance(made, Elicited)
    assert made.severities["contradictory_diagnosis"] == 0
    assert made.verification == "unverified"


@pytest.mark.parametrize(
    ("text", "truncated", "reason"),
    [
        (REPORT, False, "model_unchanged"),
        (f"  {REPORT.upper()}\n", False, "model_unchanged"),
        ("", False, "model_empty"),
        (REPORT.replace("left", "right"), True, "model_truncated"),
        (REPORT + "<|im_end|>", False, "model_control_token"),
        ("I'm sorry, I cannot change a report.", False, "model_chatter"),
        (f"Here is the changed report: {REPORT} Mass.", False, "model_chatter"),
        ("Findings: Clear lungs.", False, "model_rewritten"),
        (REPORT + " Mass." * 40, False, "model_rewritten"),
        (REPORT + " Kein Erguss. Die Lunge ist frei und nicht verdichtet.", False,
         "model_no_report"),
    ],
)  # fmt: skip
def test_an_answer_that_is_no_erroneous_report_is_refused_with_its_reason(text, truncated, reason):
    assert reason in ELICITATION_REFUSALS
    assert read_elicited(REPORT, "wrong_location", answer(text, truncated)) == reason


@pytest.mark.parametrize(
    "wrapped",
    ["```\n{}\n```", "```text\n{}\n```", '"{}"', "<report-0a>\n{}\n</report-0a>", " {} \n"],
)
def test_marks_fences_and_quotes_around_an_answer_are_taken_off(wrapped):
    changed = REPORT.replace("left", "right")
    made = read_elicited(REPORT, "wrong_location", answer(wrapped.format(changed)))
    assert isinstance(made, Elicited)
    assert made.text == changed
