"""What a reader approved of."""

import pytest

from negalign_train.vocabulary.approval import (
    approved_text,
    edit_refusal,
    known_severity,
    own_edits,
)
from negalign_train.vocabulary.taxonomy import cap_severities

DRAFT = "Findings: Left effusion."
NOTHING = cap_severities({})


@pytest.mark.parametrize(
    ("grade", "edited", "approved", "reason"),
    [
        ("accept", None, DRAFT, None),
        ("accept", DRAFT, DRAFT, None),
        ("accept", "Findings: Clear.", DRAFT, "edit_on_accept"),
        ("partial", None, None, None),
        ("partial", "Findings: Right effusion.", "Findings: Right effusion.", None),
        ("reject", "Findings: Right effusion.", "Findings: Right effusion.", None),
        ("reject", None, None, None),
        ("reject", DRAFT, None, "unchanged_edit"),
        ("reject", "Findings:  Left\neffusion .", None, "unchanged_edit"),
        ("reject", " \n", None, "empty_edit"),
        ("reject", ".", None, "empty_edit"),
        ("reject", "___ ... -", None, "empty_edit"),
        ("reject", "N/A", None, "placeholder_edit"),
        ("partial", "ok.", None, "placeholder_edit"),
        ("reject", "See above.", None, "placeholder_edit"),
        ("reject", "Normal chest.", "Normal chest.", None),
        ("reject", "正常", "正常", None),
        ("accept", "", DRAFT, None),
        ("accept", DRAFT + "\n", DRAFT, None),
    ],
)
def test_accepted_drafts_and_edits_that_change_something_are_approved_of(
    make_event, grade, edited, approved, reason
):
    event = make_event(grade=grade, completion=DRAFT, edited=edited, errors=(), severities=None)
    assert approved_text(event) == approved
    assert edit_refusal(event) == reason
    own = {} if approved is None or grade == "accept" else {event.event_id: approved}
    assert own_edits([event]) == own


@pytest.mark.parametrize(
    ("grade", "severities", "known"),
    [
        ("accept", None, 0.0),
        ("accept", NOTHING, 0.0),
        ("reject", NOTHING, None),
        ("partial", NOTHING, None),
        ("reject", None, None),
        ("reject", cap_severities({"false_positive": 0.5}), 0.5),
    ],
)
def test_severity_0_is_known_of_accepted_reports_only(make_event, grade, severities, known):
    event = make_event(grade=grade, edited=None, errors=(), severities=severities)
    assert known_severity(event) == known
