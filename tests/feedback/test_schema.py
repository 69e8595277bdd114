"""Events in and out of JSON: exact round trips, and a stable reason for each refusal."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from negalign_train.feedback.entries import Entry
from negalign_train.feedback.fields import QuarantineError
from negalign_train.feedback.importers.native import entry_of_line
from negalign_train.feedback.lines import RawLine
from negalign_train.feedback.schema import event_to_dict, parse_event
from negalign_train.vocabulary.records import CATEGORIES, ErrorMark, Event
from negalign_train.vocabulary.taxonomy import soft_cap

EventDict = Callable[..., dict[str, Any]]
MakeEvent = Callable[..., Event]
SECRET = "Large pneumothorax, Mr Example"


def mark(**overrides: Any) -> dict[str, Any]:
    return {
        "category": "wrong_location",
        "severity": 0.5,
        "span": None,
        "comment": None,
    } | overrides


def test_a_full_event_parses_to_its_record(event_dict: EventDict, make_event: MakeEvent) -> None:
    assert parse_event(event_dict()) == make_event()


def test_an_event_returns_to_exactly_the_json_it_came_from(event_dict: EventDict) -> None:
    messages = [{"role": "system", "content": ""}, {"role": "user", "content": "Cough."}]
    for value in (event_dict(), event_dict(prompt=messages, thread_id="t-77", turn=2)):
        assert event_to_dict(parse_event(value)) == value


def test_optional_keys_take_their_defaults(event_dict: EventDict) -> None:
    value = event_dict(reader={"id": "r-1"}, generator={"base": "b"}, source={"system": "s"})
    for key in ("thread_id", "turn", "edited", "errors"):
        del value[key]
    event = parse_event(value)
    assert (event.thread_id, event.turn, event.edited, event.errors) == (None, 1, None, ())
    assert (event.reader.seconds, event.generator.adapter, event.source.ref) == (None, None, "")


def test_marked_errors_give_capped_sums_per_category(event_dict: EventDict) -> None:
    """0.7 + 0.6 is 0.899 under the soft cap; 0.25 stands."""
    marks = [
        mark(severity=0.7),
        mark(severity=0.6),
        mark(category="device_error", severity=0.25),
    ]
    event = parse_event(event_dict(errors=marks))
    assert event.severities == dict.fromkeys(CATEGORIES, 0.0) | {
        "wrong_location": soft_cap(0.7 + 0.6),
        "device_error": 0.25,
    }
    assert event.total_severity == pytest.approx(soft_cap(1.3) + 0.25)
    assert event.severity_source == "reader"


def test_an_accepted_report_has_nine_zeros_from_the_reader(event_dict: EventDict) -> None:
    event = parse_event(event_dict(grade="accept", errors=[], edited=None))
    assert (event.total_severity, event.severity_source) == (0.0, "reader")


def test_a_report_without_marks_has_unknown_severities_not_zeros(event_dict: EventDict) -> None:
    event = parse_event(event_dict(grade="reject", errors=[]))
    assert (event.severities, event.severity_source) == (None, None)


def test_an_accept_may_repeat_the_completion_as_its_edit(event_dict: EventDict) -> None:
    value = event_dict(grade="accept", errors=[])
    for edited in (value["completion"], value["completion"] + "\n", "", " \n"):
        assert parse_event(value | {"edited": edited}).grade == "accept"
    with pytest.raises(QuarantineError, match="edit that changes the completion"):
        parse_event(value | {"edited": value["completion"] + " No change."})


def refusal(value: dict[str, Any]) -> str:
    """What is said about ``value``; empty where it is legal."""
    try:
        parse_event(value)
    except QuarantineError as error:
        return str(error)
    return ""


BAD: list[tuple[str, dict[str, Any]]] = [
    ("unknown_schema", {"schema": "negalign.feedback/2"}),
    ("unknown_schema", {"schema": None}),
    ("unknown_key", {"severity": 0.5}),
    ("unknown_key", {"errors": [mark(weight=1)]}),
    ("unknown_key", {"reader": {"id": "r", "name": SECRET}}),
    ("missing_key", {"errors": [{"severity": 0.5}]}),
    ("missing_key", {"generator": {}}),
    ("bad_type", {"completion": 7}),
    ("bad_type", {"errors": SECRET}),
    ("bad_type", {"errors": [SECRET]}),
    ("bad_type", {"edited": [SECRET]}),
    ("bad_type", {"prompt": {"text": SECRET}}),
    ("bad_type", {"turn": "1"}),
    ("bad_type", {"revision": True}),
    ("bad_type", {"revision": "1"}),
    ("bad_type", {"errors": [mark(severity="0.5")]}),
    ("bad_type", {"errors": [mark(severity=True)]}),
    ("bad_type", {"errors": [mark(span=[1])]}),
    ("bad_type", {"errors": [mark(span=[1, 2.0])]}),
    ("bad_type", {"reader": {"id": "r", "saw_ai": 1}}),
    ("bad_number", {"revision": 0}),
    ("bad_number", {"turn": 2**31}),
    ("bad_number", {"reader": {"id": "r", "seconds": -1}}),
    ("bad_number", {"reader": {"id": "r", "seconds": 10**400}}),
    ("bad_id", {"event_id": "  "}),
    ("bad_id", {"case_id": "a\nb"}),
    ("bad_id", {"event_id": "x" * 201}),
    ("bad_text", {"edited": "half of a pair \ud800"}),
    ("bad_text", {"completion": "nul \x00"}),
    ("unknown_category", {"errors": [mark(category="wrong_lobe")]}),
    ("unknown_category", {"errors": [mark(category=[SECRET])]}),
    ("severity_out_of_range", {"errors": [mark(severity=1.01)]}),
    ("severity_out_of_range", {"errors": [mark(severity=-0.1)]}),
    ("severity_out_of_range", {"errors": [mark(severity=10**400)]}),
    ("span_out_of_text", {"errors": [mark(span=[0, 10_000])]}),
    ("span_out_of_text", {"errors": [mark(span=[-1, 3])]}),
    ("span_out_of_text", {"errors": [mark(span=[5, 4])]}),
    ("unknown_grade", {"grade": "rejected"}),
    ("unknown_grade", {"grade": ["accept"]}),
    ("grade_contradicts_severities", {"grade": "accept", "edited": None}),
    ("grade_contradicts_severities", {"grade": "accept", "errors": []}),
    ("grade_contradicts_severities", {"errors": [mark(severity=0)]}),
    ("grade_contradicts_severities", {"grade": "reject", "errors": [mark(severity=0.0)]}),
    ("bad_time", {"created_at": "2026-11-02T09:14:00"}),
    ("bad_time", {"created_at": "yesterday"}),
    ("empty_prompt", {"prompt": " \n"}),
    ("empty_prompt", {"prompt": []}),
    ("empty_prompt", {"prompt": [{"role": "user", "content": ""}]}),
    ("unknown_role", {"prompt": [{"role": "doctor", "content": SECRET}]}),
    ("empty_completion", {"completion": "\t"}),
]


@pytest.mark.parametrize(("code", "overrides"), BAD)
def test_each_defect_has_its_code(
    event_dict: EventDict, code: str, overrides: dict[str, Any]
) -> None:
    with pytest.raises(QuarantineError) as caught:
        parse_event(event_dict(**overrides))
    assert caught.value.code == code


def test_a_message_names_the_place_and_what_is_allowed(event_dict: EventDict) -> None:
    with pytest.raises(QuarantineError) as caught:
        parse_event(event_dict(errors=[mark(), mark(severity=1.5)]))
    assert caught.value.message == "errors[1]: severity 1.5 is not in [0, 1]"


def test_each_required_key_is_missed_by_name(event_dict: EventDict) -> None:
    required = set(event_dict()) - {"schema", "thread_id", "turn", "errors", "edited"}
    for key in required:
        value = event_dict()
        del value[key]
        with pytest.raises(QuarantineError, match=f"event lacks {key}") as caught:
            parse_event(value)
        assert caught.value.code == "missing_key"


@pytest.mark.parametrize(
    ("code", "raw"),
    [
        ("not_utf8", b'{"a": "\xff"}'),
        ("not_json", b"{'a': 1}"),
        ("not_json", b'{"a": NaN}'),
        ("not_json", b'{"a": "\x00"}'),
        ("not_json", b"[" * 100_000),
        ("not_json", b"9" * 10_000),
        ("duplicate_key", b'{"a": 1, "a": 2}'),
        ("not_object", b"[1]"),
        ("not_object", b'"text"'),
    ],
)
def test_a_line_that_is_no_event_object_has_its_code(code: str, raw: bytes) -> None:
    entry = entry_of(raw)
    assert entry.event is None
    assert entry.problem is not None
    assert entry.problem.code == code


def test_a_good_line_is_an_event(event_dict: EventDict, make_event: MakeEvent) -> None:
    assert entry_of(json.dumps(event_dict()).encode()).event == make_event()


def entry_of(raw: bytes) -> Entry:
    return entry_of_line(RawLine("log.jsonl", 1, 0, len(raw) + 1, True, raw + b"\n"))


def test_all_that_is_wrong_with_an_event_is_said_at_once(event_dict: EventDict) -> None:
    wrong = event_dict(
        grade="?", turn="one", errors=[mark(category="typo", severity=3, span=[5, 999])],
        reader={"id": "", "seconds": -1}, generator={"base": "b", "adaptor": "x"},
    )  # fmt: skip
    del wrong["case_id"]
    with pytest.raises(QuarantineError) as caught:
        parse_event(wrong)
    assert caught.value.code == "missing_key"
    said = caught.value.message
    for part in (
        "event lacks case_id",
        "unknown_grade: grade must be one of accept",
        "unknown_category: errors[0]: category 'typo'",
        "severity_out_of_range: errors[0]: severity 3.0",
        "span_out_of_text: errors[0]: span [5, 999]",
        "bad_id: reader.id must hold",
        "bad_number: reader.seconds -1.0",
        "unknown_key: generator holds 1 unknown key(s): 'adaptor'",
        "bad_type: turn must be a number",
    ):
        assert part in said
    assert said.count("; also ") == 8


@pytest.mark.parametrize("written", [1, 1.0])
def test_a_whole_number_may_be_written_with_a_point(event_dict: EventDict, written: float) -> None:
    assert parse_event(event_dict(revision=written)).revision == 1
    with pytest.raises(QuarantineError, match=r"revision 1\.5 is not a whole number"):
        parse_event(event_dict(revision=1.5))


def test_an_edit_says_what_kind_it_is(event_dict: EventDict) -> None:
    event = parse_event(event_dict(edit_type="addition"))
    assert event.edit_type == "addition"
    assert event_to_dict(event)["edit_type"] == "addition"
    assert "edit_type" not in event_to_dict(parse_event(event_dict(edit_type=None)))
    with pytest.raises(QuarantineError, match="correction, addition, clarification"):
        parse_event(event_dict(edit_type="typo"))


def test_a_reader_without_a_role_is_a_radiologist(event_dict: EventDict) -> None:
    assert parse_event(event_dict(reader={"id": "r-1", "role": None})).reader.role == "radiologist"


@given(
    path=st.sampled_from(["prompt", "completion", "edited", "grade", "errors", "source", "x y"]),
    value=st.sampled_from(
        [SECRET, [SECRET], {SECRET: SECRET}, [{"category": SECRET, "severity": SECRET}]]
    ),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_no_message_ever_holds_report_text(event_dict: EventDict, path: str, value: object) -> None:
    """Every text of the event is the secret; whatever is refused, the message is free of it."""
    secret = {"prompt": SECRET, "completion": SECRET, "edited": SECRET, "errors": []}
    message = refusal(event_dict(**secret) | {path: value})
    assert "pneumothorax" not in message
    assert "Example" not in message


@given(
    marks=st.lists(
        st.builds(
            ErrorMark,
            category=st.sampled_from(CATEGORIES),
            severity=st.floats(0.01, 1),
            span=st.none() | st.just((0, 4)),
            comment=st.none() | st.just("here"),
        ),
        min_size=1,
        max_size=6,
    ),
    grade=st.sampled_from(["partial", "reject"]),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_any_legal_event_survives_the_round_trip(
    make_event: MakeEvent, marks: list[ErrorMark], grade: str
) -> None:
    event = make_event(grade=grade, errors=tuple(marks))
    through_text = json.loads(json.dumps(event_to_dict(event)))
    found = parse_event(through_text)
    assert found.errors == event.errors
    assert found.total_severity == pytest.approx(event.total_severity, abs=1e-12)
    assert event_to_dict(found) == event_to_dict(event)


def test_study_and_patient_are_kept_and_an_event_without_them_is_as_it_always_was(event_dict):
    plain = parse_event(event_dict())
    assert (plain.study_id, plain.patient_id) == (None, None)
    assert {"study_id", "patient_id"}.isdisjoint(event_to_dict(plain))
    assert parse_event(event_dict(study_id=None, patient_id=None)) == plain
    named = event_dict(study_id="acc-1", patient_id="p-1")
    event = parse_event(named)
    assert (event.study_id, event.patient_id) == ("acc-1", "p-1")
    assert event_to_dict(event) == named


@pytest.mark.parametrize("name", ["study_id", "patient_id"])
def test_a_blank_study_or_patient_is_quarantined(event_dict, name):
    with pytest.raises(QuarantineError) as told:
        parse_event(event_dict(**{name: " "}))
    assert told.value.code == "bad_id"
