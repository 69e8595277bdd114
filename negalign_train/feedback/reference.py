"""What ``docs/feedback.md`` says of ``negalign.feedback/1``: fields, rules, reasons, an example."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from negalign_train.feedback.fields import MAX_ID_CHARACTERS
from negalign_train.feedback.json_schema import EVENT, Fragment
from negalign_train.feedback.lines import MAX_EVENT_BYTES
from negalign_train.feedback.schema import EVENT_SCHEMA

GRADE_RULES = (
    "`accept` carries no error but of severity 0, and no edit that changes the completion. A "
    "blank edit box is no edit, and other white space no change.",
    "`partial` and `reject` may leave the errors out, or the severity of some: the scorer then "
    "prices the report against its edit, and the record says so (`severity_source: scorer`). What "
    "the reader priced stands; without an edit S stays unknown. Errors that are all of severity 0 "
    "contradict the grade.",
    "A span lies inside the completion.",
    "An edit that changes the completion makes the event a preference: the edit is chosen, the "
    "completion rejected. An edit box that came back unchanged says nothing. Nor does one without "
    "a letter, or one with a placeholder such as `n/a`, `ok` or `see above`.",
    "A `case_id` has one `study_id` and one `patient_id`. Where the log holds two of either, no "
    "event of the case is trained or evaluated on (`case_of_two_studies`): two studies of a "
    "patient are two cases. Correct the ids in a higher revision of each event.",
    "Events of one `thread_id` are turns of one negotiation on one case, numbered by `turn` from "
    "1; they may come in different imports and cycles. Without its first turn a thread trains "
    "nothing: the prompt that it began with is unknown (`root_prompt_unknown`).",
)

QUARANTINE_REASONS: Mapping[str, str] = {
    "bad_id": f"An id is blank, longer than {MAX_ID_CHARACTERS} characters, or holds control "
    "characters.",
    "bad_number": "A number is out of its range.",
    "bad_text": "A text holds a NUL or half of a surrogate pair.",
    "bad_time": "`created_at` is not ISO 8601 with a time zone.",
    "bad_type": "A value has another type than the schema says.",
    "duplicate_key": "An object holds the same key twice.",
    "empty_completion": "`completion` is blank.",
    "empty_prompt": "`prompt` is blank.",
    "event_of_another": "The id is in the log for an event of another reader or another system. An "
    "id belongs to who used it first; give yours the system's name in front.",
    "grade_contradicts_severities": "Grade, errors and edit contradict each other (rules above).",
    "line_too_long": f"The line is longer than {MAX_EVENT_BYTES} bytes.",
    "missing_key": "A required key is missing.",
    "no_counterpart": "Only one version of the report is there, or the row has no final text.",
    "no_text": "The report of a FHIR resource or HL7 message holds no text that can be read.",
    "not_a_report": "An HL7 message is no ORU.",
    "not_graded": "Nobody has graded the task or record yet.",
    "not_json": "The line is no JSON.",
    "not_object": "The line is JSON, but no object.",
    "not_submitted": "The answer was skipped, discarded or is a draft; or a FHIR report was "
    "cancelled or entered in error.",
    "not_utf8": "The line is not UTF-8.",
    "revision_conflict": "This revision of the event is in the log with other content; give the "
    "correction a higher revision.",
    "severity_out_of_range": "A severity is not in [0, 1].",
    "span_out_of_text": "A span does not lie inside the completion.",
    "special_token": "A text holds a control token of a language model, such as `<|eot_id|>` or "
    "`</s>`, which would end or open a turn there.",
    "unknown_category": "A category is none of the nine.",
    "unknown_edit_type": "`edit_type` is none of correction, addition, clarification.",
    "unknown_grade": "`grade` is none of accept, partial, reject.",
    "unknown_key": "An object holds a key that the schema does not know.",
    "unknown_role": "The role of a message is none of system, user, assistant.",
    "unknown_schema": f"`schema` is not `{EVENT_SCHEMA}`.",
    "unknown_status": "An HL7 message does not say whether its report is preliminary or final.",
}
"""What each reason code of the quarantine means."""

_FINDINGS = "Findings: Small left pleural effusion. The heart is normal in size."
ANNOTATED: tuple[tuple[str, Any, str], ...] = (
    ("schema", EVENT_SCHEMA, ""),
    ("event_id", "ls-8812", "made by your system"),
    ("revision", 1, ""),
    ("case_id", "study-1042", "a pseudonym: ids are stored, so they must not name a patient"),
    ("study_id", "acc-5510", "may be left out"),
    ("patient_id", "p-0093", "may be left out; also a pseudonym"),
    ("thread_id", "t-77", "the second report of this negotiation has the same `thread_id`"),
    ("turn", 1, ""),
    ("created_at", "2026-11-02T09:14:00Z", ""),
    ("prompt", "Indication: cough.", ""),
    ("completion", _FINDINGS, ""),
    (
        "generator",
        {"base": "Qwen/Qwen2.5-0.5B-Instruct", "adapter": None},
        "the bare base model wrote it",
    ),
    ("grade", "partial", ""),
    (
        "errors",
        [{"category": "wrong_location", "severity": 0.5, "span": [10, 37], "comment": None}],
        "characters 10 to 37 are `Small left pleural effusion`",
    ),
    ("edited", _FINDINGS.replace("left", "right"), "the whole report, not only the changed words"),
    ("edit_type", "correction", "may be left out"),
    (
        "reader",
        {"id": "r-03", "role": "radiologist", "seconds": 38.5, "saw_ai": True},
        "also a pseudonym",
    ),
    ("source", {"system": "label-studio", "ref": "task 8812"}, ""),
)
"""An example: key, value, and a remark for the reader of the page."""


@dataclass(frozen=True)
class EventField:
    """One field as the page shows it; ``path`` is dotted, ``[]`` marks the members of a list."""

    path: str
    required: bool
    takes: str
    meaning: str


def _fields(schema: Fragment, path: str = "") -> Iterator[EventField]:
    for name, part in schema.get("properties", {}).items():
        place = f"{path}.{name}".lstrip(".")
        yield EventField(place, name in schema["required"], _takes(part), part["description"])
        yield from _fields(part, place)
        for inner in (part, *part.get("anyOf", ())):
            yield from _fields(inner.get("items", {}), f"{place}[]")


def _takes(part: Fragment) -> str:
    if "const" in part:
        return f"`{part['const']}`"
    if "enum" in part:
        return ", ".join(f"`{'null' if value is None else value}`" for value in part["enum"])
    if "anyOf" in part:
        return " or ".join(_takes(each) for each in part["anyOf"])
    kinds = part["type"] if isinstance(part["type"], list) else [part["type"]]
    return " or ".join(_kind(kind, part) for kind in kinds)


def _kind(kind: str, part: Fragment) -> str:
    if kind == "string" and part.get("maxLength") is not None:
        return f"id (1 to {part['maxLength']} characters)"
    if kind == "string" and part.get("format") == "date-time":
        return "time"
    if kind == "array" and part.get("maxItems") is not None:
        return "[start, end]"
    words = {
        "string": "text", "integer": "whole number", "number": "number", "array": "list",
        "boolean": "true or false", "object": "object", "null": "null",
    }  # fmt: skip
    bounds = [part.get("minimum"), part.get("maximum")] if kind in ("number", "integer") else []
    if bounds == [0, 1]:
        return f"{words[kind]} in [0, 1]"
    if bounds and bounds[0] is not None:
        return f"{words[kind]} from {bounds[0]}"
    return words[kind]


FIELDS: tuple[EventField, ...] = tuple(_fields(EVENT))
"""Every field of an event, objects before what is in them."""
