"""Which events can teach or test a judge."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from negalign_train.severity.judges.examples import graded_examples
from negalign_train.vocabulary.records import Event

GROUPS = {"a": "ga", "b": "gb"}


def test_an_edit_is_the_reference_and_else_another_approved_text_of_the_case(
    make_event: Callable[..., Event],
) -> None:
    events = [
        make_event(event_id="1", case_id="a"),
        make_event(event_id="2", case_id="a", grade="accept", completion="The lungs are clear."),
        make_event(event_id="3", case_id="a", edited=None, completion="Nothing."),
        make_event(event_id="4", case_id="b", edited=None),
        replace(make_event(event_id="5", case_id="b", edited=None), severity_source="scorer"),
        make_event(event_id="6", case_id="b", edited="  "),
    ]
    examples, refused = graded_examples(events, GROUPS)
    assert [(e.event_id, e.group) for e in examples] == [("1", "ga"), ("2", "ga"), ("3", "ga")]
    assert examples[0].reference == events[0].edited
    # An accepted text is judged against the edit, never against itself.
    assert examples[1].reference == events[0].edited
    assert refused.counts == {"no_reader_severities": 1, "no_reference": 2}
    own, _ = graded_examples(events, GROUPS, own_edit_only=True)
    assert [example.event_id for example in own] == ["1"]
    assert examples[0].row[4] == 0.5
    assert examples[0].total == 0.5


def test_a_case_id_of_two_studies_teaches_no_judge(make_event: Callable[..., Event]) -> None:
    events = [
        make_event(event_id="1", case_id="a", study_id="s1"),
        make_event(event_id="2", case_id="a", study_id="s2"),
        make_event(event_id="3", case_id="b", study_id="s3"),
    ]
    examples, refused = graded_examples(events, GROUPS)
    assert [example.event_id for example in examples] == ["3"]
    assert refused.counts == {"case_of_two_studies": 2}


def test_a_text_that_another_reader_rejected_is_nobodys_reference(
    make_event: Callable[..., Event],
) -> None:
    disputed = "The lungs are clear."
    events = [
        make_event(event_id="1", case_id="a", grade="accept", completion=disputed),
        make_event(event_id="2", case_id="a", grade="reject", completion=disputed, edited=None),
        make_event(event_id="3", case_id="a", edited=None),
    ]
    examples, refused = graded_examples(events, GROUPS)
    assert examples == []
    assert refused.counts == {"no_reference": 3}
