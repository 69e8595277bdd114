"""The event schema ``negalign.feedback/1`` (DESIGN 2.1): JSON to record and back."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, get_args

from negalign_train.feedback.fields import (
    Problems,
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
from negalign_train.vocabulary.marks import has_unpriced_marks, marked_severities
from negalign_train.vocabulary.records import (
    CATEGORIES,
    DEFAULT_ROLE,
    EditType,
    ErrorMark,
    Event,
    Generator,
    Grade,
    Prompt,
    Reader,
    SeveritySource,
    Source,
)

__all__ = ["EVENT_SCHEMA", "QuarantineError", "event_to_dict", "parse_event"]

EVENT_SCHEMA = "negalign.feedback/1"

_REQUIRED = frozenset(
    [
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
    ]
)
_OPTIONAL = frozenset(
    ["study_id", "patient_id", "thread_id", "turn", "errors", "edited", "edit_type"]
)
_MARK, _MARK_MAY = frozenset({"category"}), frozenset({"severity", "span", "comment"})
_GENERATOR, _GENERATOR_MAY = frozenset({"base"}), frozenset({"adapter"})
_READER, _READER_MAY = frozenset({"id"}), frozenset({"role", "seconds", "saw_ai"})
_SOURCE, _SOURCE_MAY = frozenset({"system"}), frozenset({"ref"})
_MESSAGE = frozenset({"role", "content"})
ROLES = ("system", "user", "assistant")
_GRADES: dict[str, Grade] = {name: name for name in get_args(Grade)}
_EDIT_TYPES: dict[str, EditType] = {name: name for name in get_args(EditType)}


def parse_event(data: object) -> Event:
    """A decoded JSON value as an event, with the severities the reader gave.

    An accepted report has nine zeros, a report with marked errors their capped sums. A partial or
    rejected report has no severities if a mark has none, or if there are no marks; the scorer fills
    them later.

    Raises:
        QuarantineError: not a legal event; ``code`` is the first reason's, the message names all.
    """
    if not isinstance(data, Mapping):
        raise QuarantineError("not_object", f"an event must be an object, not {kind_of(data)}")
    if data.get("schema") != EVENT_SCHEMA:
        raise QuarantineError(
            "unknown_schema", f"schema must be {EVENT_SCHEMA!r}, not {shown(data.get('schema'))}"
        )
    problems = Problems()
    problems.read(check_keys, data, "event", _REQUIRED, _OPTIONAL)
    fields: dict[str, Any] = {}
    for name, reader in _FIELDS.items():
        value = data.get(name)
        if value is not None or (name in _REQUIRED and name in data):
            try:
                fields[name] = reader(value, name)
            except QuarantineError as problem:
                problems.append(problem)
    for name, parts_reader in _PARTS.items():
        if name in data:
            fields[name] = problems.read(parts_reader, data[name], name, problems)
    completion, edited = fields.get("completion"), fields.get("edited")
    errors = fields["errors"] = _errors(data.get("errors"), completion, problems)
    if not problems:
        problems.read(_check_grade, fields["grade"], errors, edited, completion)
    problems.refuse()
    severities = _reader_severities(fields["grade"], errors)
    source: SeveritySource | None = None if severities is None else "reader"
    return Event(severities=severities, severity_source=source, **fields)


def _completion(value: object, where: str) -> str:
    completion = text(value, where)
    if not completion.strip():
        raise QuarantineError("empty_completion", f"{where} is blank")
    return completion


def _edit_type(value: object, where: str) -> EditType:
    if not isinstance(value, str) or value not in _EDIT_TYPES:
        raise QuarantineError(
            "unknown_edit_type",
            f"{where} must be one of {', '.join(_EDIT_TYPES)}, not {shown(value)}",
        )
    return _EDIT_TYPES[value]


def event_to_dict(event: Event) -> dict[str, Any]:
    """The JSON object of DESIGN 2.1. Study, patient and edit type are left out where unknown, so
    that the content and the fingerprint of older events stay the same.

    Severities are not in it: the reader's follow from grade and errors, and the scorer's belong to
    the snapshot of a cycle, not to the log.
    """
    prompt = event.prompt
    value: dict[str, Any] = {
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
    }
    if event.study_id is not None:
        value["study_id"] = event.study_id
    if event.patient_id is not None:
        value["patient_id"] = event.patient_id
    if event.edit_type is not None:
        value["edit_type"] = event.edit_type
    return value


def _grade(value: object, where: str) -> Grade:
    if not isinstance(value, str) or value not in _GRADES:
        raise QuarantineError(
            "unknown_grade", f"{where} must be one of {', '.join(_GRADES)}, not {shown(value)}"
        )
    return _GRADES[value]


def _errors(value: object, completion: str | None, problems: Problems) -> tuple[ErrorMark, ...]:
    if value is None or problems.read(typed, value, list, "errors") is None:
        return ()
    assert isinstance(value, list)
    marks = [_mark(mark, f"errors[{n}]", completion, problems) for n, mark in enumerate(value)]
    return tuple(mark for mark in marks if mark is not None)


def _mark(
    value: object, where: str, completion: str | None, problems: Problems
) -> ErrorMark | None:
    mark = problems.read(check_keys, value, where, _MARK, _MARK_MAY)
    if mark is None:
        return None
    return ErrorMark(
        category=problems.read(_category, mark["category"], where),
        severity=problems.read(_severity, mark.get("severity"), where),
        span=problems.read(_span, mark.get("span"), where, completion),
        comment=problems.read(_comment, mark.get("comment"), where),
    )


def _comment(value: object, where: str) -> str | None:
    return None if value is None else text(value, f"{where}.comment")


def _category(value: object, where: str) -> str:
    if not isinstance(value, str) or value not in CATEGORIES:
        raise QuarantineError(
            "unknown_category",
            f"{where}: category {shown(value)} is not one of {', '.join(CATEGORIES)}",
        )
    return value


def _severity(value: object, where: str) -> float | None:
    if value is None:
        return None
    severity = real_number(value, f"{where}.severity")
    if not 0 <= severity <= 1:
        raise QuarantineError(
            "severity_out_of_range", f"{where}: severity {severity!r} is not in [0, 1]"
        )
    return severity


def _span(value: object, where: str, completion: str | None) -> tuple[int, int] | None:
    """Offsets [start, end); an empty span marks the place where something is missing."""
    if value is None:
        return None
    offsets = typed(value, list, f"{where}.span")
    if len(offsets) != 2:
        raise QuarantineError("bad_type", f"{where}.span must be [start, end]")
    start, end = (typed(offset, int, f"{where}.span") for offset in offsets)
    if completion is None:
        return start, end  # the completion has been refused
    if not 0 <= start <= end <= len(completion):
        raise QuarantineError(
            "span_out_of_text",
            f"{where}: span [{shown(start)}, {shown(end)}] is not inside the completion's "
            f"{len(completion)} characters",
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
    return marked_severities(errors)


def _prompt(value: object, where: str, problems: Problems) -> Prompt:
    if isinstance(value, str):
        if not value.strip():
            raise QuarantineError("empty_prompt", f"{where} is blank")
        return text(value, where)
    if not isinstance(value, list):
        raise QuarantineError(
            "bad_type", f"{where} must be text or a list of messages, not {kind_of(value)}"
        )
    messages = tuple(
        problems.read(_message, item, f"{where}[{index}]") for index, item in enumerate(value)
    )
    if not any(message is None or message["content"].strip() for message in messages):
        raise QuarantineError("empty_prompt", f"{where} holds no message with content")
    return messages


def _message(value: object, where: str) -> dict[str, str]:
    message = check_keys(value, where, _MESSAGE)
    if message["role"] not in ROLES:
        raise QuarantineError(
            "unknown_role",
            f"{where}: role {shown(message['role'])} is not one of {', '.join(ROLES)}",
        )
    return {"role": message["role"], "content": text(message["content"], f"{where}.content")}


def _seconds(value: object, where: str) -> float | None:
    if value is None:
        return None
    seconds = real_number(value, where)
    if not 0 <= seconds < math.inf:
        raise QuarantineError("bad_number", f"{where} {seconds!r} is not 0 or more, and finite")
    return seconds


def _reader(value: object, where: str, problems: Problems) -> Reader:
    fields = check_keys(value, where, _READER, _READER_MAY)
    role = fields.get("role")
    return Reader(
        id=problems.read(identifier, fields["id"], f"{where}.id"),
        role=DEFAULT_ROLE if role is None else problems.read(identifier, role, f"{where}.role"),
        seconds=problems.read(_seconds, fields.get("seconds"), f"{where}.seconds"),
        saw_ai=problems.read(typed, fields.get("saw_ai", True), bool, f"{where}.saw_ai"),
    )


def _generator(value: object, where: str, problems: Problems) -> Generator:
    fields = check_keys(value, where, _GENERATOR, _GENERATOR_MAY)
    adapter = fields.get("adapter")
    return Generator(
        base=problems.read(identifier, fields["base"], f"{where}.base"),
        adapter=None if adapter is None else problems.read(identifier, adapter, f"{where}.adapter"),
    )


def _source(value: object, where: str, problems: Problems) -> Source:
    fields = check_keys(value, where, _SOURCE, _SOURCE_MAY)
    return Source(
        system=problems.read(identifier, fields["system"], f"{where}.system"),
        ref=problems.read(text, fields.get("ref", ""), f"{where}.ref"),
    )


_FIELDS: Mapping[str, Callable[[Any, str], Any]] = {
    "event_id": identifier,
    "revision": positive_integer,
    "case_id": identifier,
    "created_at": utc_text,
    "completion": _completion,
    "grade": _grade,
    "edited": text,
    "edit_type": _edit_type,
    "study_id": identifier,
    "patient_id": identifier,
    "thread_id": identifier,
    "turn": positive_integer,
}
_PARTS: Mapping[str, Callable[[Any, str, Problems], Any]] = {
    "prompt": _prompt,
    "reader": _reader,
    "generator": _generator,
    "source": _source,
}
"""Fields that hold others, and may have several things wrong."""
