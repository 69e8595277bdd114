"""The simulated OpenI reader: faults by the codes, edits as small as can be."""

from __future__ import annotations

import random

import pytest

from negalign_train.cases.openi import load_openi
from negalign_train.simulate.mesh_reader import MeshTruth, code_faults
from negalign_train.vocabulary.records import Case, ErrorMark, Finding
from tests.cases.test_openi import OPENI, needs_openi

CASE = Case(
    case_id="openi-1",
    group="g",
    prompt="",
    reference="Findings: The heart is enlarged. There is a small left pleural effusion. "
    "No pneumothorax. Impression: Small left pleural effusion.",
    findings=(Finding("cardiomegaly"), Finding("pleural_effusion", side="left", degree="mild")),
)


def read_and_mend(case: Case, completion: str) -> tuple[tuple[ErrorMark, ...], str]:
    """The errors of a completion, and the completion mended until no fault is left.

    In a few rounds: striking one sentence can leave another finding out.
    """
    truth = MeshTruth()
    faults = truth.faults(case, completion)
    text = completion
    for _ in range(4):
        text = truth.mend(case, text, truth.faults(case, text))
    return tuple(fault.mark() for fault in faults), text


@pytest.mark.parametrize(
    ("completion", "errors", "edited"),
    [
        (CASE.reference, [], CASE.reference),
        (
            CASE.reference.replace("left", "right", 1),
            [("wrong_location", 0.25)],
            CASE.reference,
        ),
        (
            CASE.reference.replace("small", "large", 1),
            [("wrong_severity", 0.25)],
            CASE.reference,
        ),
        (
            "Findings: There is a small left pleural effusion. No pneumothorax. "
            "Impression: Small left pleural effusion.",
            [("false_negative", 0.5)],
            CASE.reference,
        ),
        (
            CASE.reference.replace("No pneumothorax.", "Right pneumothorax."),
            [("false_positive", 1.0)],
            CASE.reference.replace(" No pneumothorax.", ""),
        ),
        (
            CASE.reference.replace("No pneumothorax.", "A chest tube is present. No pneumothorax."),
            [("device_error", 0.25)],
            CASE.reference,
        ),
        (
            CASE.reference.replace("No pneumothorax.", "No pneumothorax. No pneumothorax."),
            [("report_integrity", 0.25)],
            CASE.reference,
        ),
        (
            CASE.reference.replace("No pneumothorax.", "No pneumothorax. XXXX lungs."),
            [("report_integrity", 0.5)],
            CASE.reference,
        ),
    ],
)
def test_each_error_is_marked_and_mended_in_place(
    completion: str, errors: list[tuple[str, float]], edited: str
) -> None:
    marks, text = read_and_mend(CASE, completion)
    assert [(mark.category, mark.severity) for mark in marks] == errors
    assert text == edited


def test_the_span_is_the_wrong_sentence() -> None:
    completion = CASE.reference.replace("No pneumothorax.", "Right pneumothorax.")
    (mark,), _ = read_and_mend(CASE, completion)
    assert mark.span is not None
    assert completion[mark.span[0] : mark.span[1]] == "Right pneumothorax."


def test_a_denied_coded_finding_is_struck_and_said() -> None:
    completion = "Findings: The heart is enlarged. No pleural effusion. Impression: Cardiomegaly."
    marks, text = read_and_mend(CASE, completion)
    assert [mark.category for mark in marks] == ["false_negative"]
    assert text == (
        "Findings: The heart is enlarged. There is a small left pleural effusion. "
        "Impression: Cardiomegaly."
    )


def test_hedged_findings_are_no_error() -> None:
    completion = CASE.reference.replace("No pneumothorax.", "Pneumonia cannot be excluded.")
    assert read_and_mend(CASE, completion) == ((), completion)


@needs_openi
def test_edits_of_other_reports_are_clean() -> None:
    cases = load_openi(OPENI)[::3]
    rng = random.Random(0)
    clean = [case for case in cases if not code_faults(case, case.reference)]
    assert len(clean) / len(cases) > 0.7
    mended = 0
    for case in clean:
        _, text = read_and_mend(case, rng.choice(cases).reference)
        mended += not code_faults(case, text)
    assert mended / len(clean) >= 0.95
