"""The event schema ``negalign.feedback/1`` (DESIGN 2.1): JSON to record and back."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from negalign_train.feedback.fields import (
    QuarantineError,
    check_keys,
    identifier,
    kind_of,
    positive_integer,
    real_number,
    shown,
    text,
    typed,
    utc_text,
)
from negalign_train.vocabulary.approval import changes_completion
from negalign_train.vocabulary.marks import has_unpriced_marks, summed_marks
from negalign_train.vocabulary.records import (
    CATEGORIES,
    ErrorMark,
    Event,
    Generator,
    Grade,
    Prompt,
    Reader,
    Source,
)
from negalign_train.vocabulary.taxonomy import cap_severities

__all__ = ["EVENT_SCHEMA", "QuarantineError", "event_to_dict", "parse_event"]

EVENT_SCHEMA = "negalign.feedback/1"

_REQUIRED = (
    "schema",
    "event_id",
    "revision",
    "case_id",
    "created_at",
    "prompt",
    "completion",
    "generator",
    "grade",
    "reader",
    "source",
)
_OPTIONAL = ("study_id", "patient_id", "thread_id", "turn", "errors", "edited")
ROLES = ("system", "user", "assistant")
_GRADES: dict[str, Grade] = {"accept": "accept", "partial": "partial", "reject": "reject"}


def parse_event(data: object) -> Event:
    """A decoded JSON value as an event, with the severities the reader gave.

    An accepted report has nine zeros, a report with marked errors their capped sums. A partial or
    rejected report has no severities if a mark has none, or if there are no marks; the scorer fills
    them later.

    Raises:
        QuarantineError: not a legal event; ``code`` says why.
    """
    if not isinstance(data, Mapping):
        raise QuarantineError("not_object", f"an event must be an object, not {kind_of(data)}")
    if data.get("schema") != EVENT_SCHEMA:
        raise QuarantineError(
            "unknown_schema", f"schema must be {EVENT_SCHEMA!r}, not {shown(data.get('schema'))}"
        )
    check_keys(data, "event", _REQUIRED, _OPTIONAL)
    completion = text(data["completion"], "completion")
    if not completion.strip():
        raise QuarantineError("empty_completion", "completion is blank")
    grade = _grade(data["grade"])
    errors = _errors(data.get("errors", []), len(completion))
    edited = None if data.get("edited") is None else text(data["edited"], "edited")
    _check_grade(grade, errors, edited, completion)
    severities = _reader_severities(grade, errors)
    return Event(
        event_id=identifier(data["event_id"], "event_id"),
        revision=positive_integer(data["revision"], "revision"),
        case_id=identifier(data["case_id"], "case_id"),
        created_at=utc_text(data["created_at"], "created_at"),
        prompt=_prompt(data["prompt"]),
        completion=completion,
        grade=grade,
        reader=_reader(data["reader"]),
        generator=_generator(data["generator"]),
        source=_source(data["source"]),
        errors=errors,
        edited=edited,
        study_id=_optional_id(data, "study_id"),
        patient_id=_optional_id(data, "patient_id"),
        thread_id=_optional_id(data, "thread_id"),
        turn=positive_integer(data.get("turn", 1), "turn"),
        severities=severities,
        severity_source=None if severities is None else "reader",
    )


def event_to_dict(event: Event) -> dict[str, Any]:
    """The JSON object of DESIGN 2.1. Study and patient are left out where they are unknown, so that
    the content and the fingerprint of older events stay the same.

    Severities are not in it: the reader's follow from grade and errors, and the scorer's belong to
    the snapshot of a cycle, not to the log.
    """
    prompt = event.prompt
    joins = {"study_id": event.study_id, "patient_id": event.patient_id}
    return {
        "schema": EVENT_SCHEMA,
        "event_id": event.event_id,
        "revision": event.revision,
        "case_id": event.case_id,
        "thread_id": event.thread_id,
        "turn": event.turn,
        "created_at": event.created_at,
        "prompt": prompt if isinstance(prompt, str) else [dict(message) for message in prompt],
        "completion": event.completion,
        "generator": {"base": event.generator.base, "adapter": event.generator.adapter},
        "grade": event.grade,
        "errors": [
            {
                "category": error.category,
                "severity": error.severity,
                "span": None if error.span is None else list(error.span),
                "comment": error.comment,
            }
            for error in event.errors
        ],
        "edited": event.edited,
        "reader": {
            "id": event.reader.id,
            "role": event.reader.role,
            "seconds": event.reader.seconds,
            "saw_ai": event.reader.saw_ai,
        },
        "source": {"system": event.source.system, "ref": event.source.ref},
    } | {name: value for name, value in joins.items() if value is not None}


def _optional_id(data: Mapping[str, Any], name: str) -> str | None:
    value = data.get(name)
    return None if value is None else identifier(value, name)


def _grade(value: object) -> Grade:
    if not isinstance(value, str) or value not in _GRADES:
        raise QuarantineError(
            "unknown_grade", f"grade must be one of {', '.join(_GRADES)}, not {shown(value)}"
        )
    return _GRADES[value]


def _errors(value: object, completion_length: int) -> tuple[ErrorMark, ...]:
    marks = typed([] if value is None else value, list, "errors")
    return tuple(
        _error(mark, f"errors[{index}]", completion_length) for index, mark in enumerate(marks)
    )


def _error(value: object, where: str, completion_length: int) -> ErrorMark:
    mark = check_keys(value, where, ("category",), ("severity", "span", "comment"))
    if mark["category"] not in CATEGORIES:
        raise QuarantineError(
            "unknown_category",
            f"{where}: category {shown(mark['category'])} is not one of {', '.join(CATEGORIES)}",
        )
    severity = mark.get("severity")
    if severity is not None:
        severity = real_number(severity, f"{where}.severity")
    if severity is not None and not 0 <= severity <= 1:
        raise QuarantineError(
            "severity_out_of_range", f"{where}: severity {severity!r} is not in [0, 1]"
        )
    comment = mark.get("comment")
    return ErrorMark(
        category=mark["category"],
        severity=severity,
        span=_span(mark.get("span"), where, completion_length),
        comment=None if comment is None else text(comment, f"{where}.comment"),
    )


def _span(value: object, where: str, completion_length: int) -> tuple[int, int] | None:
    """Offsets [start, end); an empty span marks the place where something is missing."""
    if value is None:
        return None
    offsets = typed(value, list, f"{where}.span")
    if len(offsets) != 2:
        raise QuarantineError("bad_type", f"{where}.span must be [start, end]")
    start, end = (typed(offset, int, f"{where}.span") for offset in offsets)
    if not 0 <= start <= end <= completion_length:
        raise QuarantineError(
            "span_out_of_text",
            f"{where}: span [{shown(start)}, {shown(end)}] is not inside the completion's "
            f"{completion_length} characters",
        )
    return start, end


def _check_grade(
    grade: Grade, errors: Iterable[ErrorMark], edited: str | None, completion: str
) -> None:
    severities = [error.severity for error in errors]
    if grade == "accept" and None in severities:
        reason = "accept with an error that has no severity; 0 would agree with the grade"
    elif grade == "accept" and any(severities):
        reason = "accept with an error of severity above 0"
    elif grade == "accept" and changes_completion(edited, completion):
        reason = "accept with an edit that changes the completion"
    elif grade != "accept" and severities and not any(value != 0 for value in severities):
        reason = f"{grade} although every marked severity is 0"
    else:
        return
    raise QuarantineError("grade_contradicts_severities", reason)


def _reader_severities(grade: Grade, errors: tuple[ErrorMark, ...]) -> dict[str, float] | None:
    if grade != "accept" and (not errors or has_unpriced_marks(errors)):
        return None
    return cap_severities(summed_marks(errors))


def _prompt(value: object) -> Prompt:
    if isinstance(value, str):
        if not value.strip():
            raise QuarantineError("empty_prompt", "prompt is blank")
        return text(value, "prompt")
    if not isinstance(value, list):
        raise QuarantineError(
            "bad_type", f"prompt must be text or a list of messages, not {kind_of(value)}"
        )
    messages = tuple(_message(item, f"prompt[{index}]") for index, item in enumerate(value))
    if not any(message["content"].strip() for message in messages):
        raise QuarantineError("empty_prompt", "prompt holds no message with content")
    return messages


def _message(value: object, where: str) -> dict[str, str]:
    message = check_keys(value, where, ("role", "content"))
    if message["role"] not in ROLES:
        raise QuarantineError(
            "unknown_role",
            f"{where}: role {shown(message['role'])} is not one of {', '.join(ROLES)}",
        )
    return {"role": message["role"], "content": text(message["content"], f"{where}.content")}


def _reader(value: object) -> Reader:
    fields = check_keys(value, "reader", ("id",), ("role", "seconds", "saw_ai"))
    seconds = fields.get("seconds")
    if seconds is not None:
        seconds = real_number(seconds, "reader.seconds")
        if not 0 <= seconds < math.inf:
            raise QuarantineError(
                "bad_number", f"reader.seconds {seconds!r} is not 0 or more, and finite"
            )
    return Reader(
        id=identifier(fields["id"], "reader.id"),
        role=identifier(fields.get("role", "radiologist"), "reader.role"),
        seconds=seconds,
        saw_ai=typed(fields.get("saw_ai", True), bool, "reader.saw_ai"),
    )


def _generator(value: object) -> Generator:
    fields = check_keys(value, "generator", ("base",), ("adapter",))
    adapter = fields.get("adapter")
    return Generator(
        base=identifier(fields["base"], "generator.base"),
        adapter=None if adapter is None else identifier(adapter, "generator.adapter"),
    )


def _source(value: object) -> Source:
    fields = check_keys(value, "source", ("system",), ("ref",))
    return Source(
        system=identifier(fields["system"], "source.system"),
        ref=text(fields.get("ref", ""), "source.ref"),
    )
