"""The schema ``negalign.feedback/1`` as data: a JSON Schema, and the fields, rules and reasons that
``docs/feedback.md`` is written from. ``parse_event`` decides; tests hold the two together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from negalign_train.feedback.fields import MAX_ID_CHARACTERS, MAX_INTEGER
from negalign_train.feedback.lines import MAX_EVENT_BYTES
from negalign_train.feedback.schema import EVENT_SCHEMA, ROLES
from negalign_train.vocabulary.records import CATEGORIES, Grade

Fragment = dict[str, Any]

_NO_NUL = {"not": {"type": "string", "pattern": "\\u0000"}}
_NO_CONTROL = {"not": {"type": "string", "pattern": "[\\u0000-\\u001f\\u007f]"}}
_FILLED = {"pattern": "\\S"}


def _text(meaning: str, *, nullable: bool = False, filled: bool = False) -> Fragment:
    kind: Any = ["string", "null"] if nullable else "string"
    return {"description": meaning, "type": kind, **_NO_NUL, **(_FILLED if filled else {})}


def _identifier(meaning: str, *, nullable: bool = False) -> Fragment:
    return _text(meaning, nullable=nullable, filled=True) | {
        "maxLength": MAX_ID_CHARACTERS,
        **_NO_CONTROL,
    }


def _count(meaning: str) -> Fragment:
    return {"description": meaning, "type": "integer", "minimum": 1, "maximum": MAX_INTEGER}


def _object(meaning: str, required: Mapping[str, Any], optional: Mapping[str, Any]) -> Fragment:
    return {
        "description": meaning,
        "type": "object",
        "properties": {**required, **optional},
        "required": list(required),
        "additionalProperties": False,
    }


_MESSAGE = _object(
    "One chat message.",
    {
        "role": {"description": "Who speaks.", "type": "string", "enum": list(ROLES)},
        "content": _text("What is said; at least one message of a prompt is not blank."),
    },
    {},
)
_PROMPT = {
    "description": "What the generator was asked: text, or a list of chat messages.",
    "anyOf": [
        {"type": "string", **_NO_NUL, **_FILLED},
        {
            "type": "array",
            "items": _MESSAGE,
            "minItems": 1,
            "contains": {"properties": {"content": _FILLED}},
        },
    ],
}
_ERROR = _object(
    "One error that the reader marked.",
    {
        "category": {
            "description": "RadAlign category, R1 to R9 in this order.",
            "type": "string",
            "enum": list(CATEGORIES),
        },
    },
    {
        "severity": {
            "description": "How bad it is: 0 none, 1 worst. Several marks of a category add up. "
            "null: the reader did not say, and the scorer prices the mark against the edit.",
            "type": ["number", "null"],
            "minimum": 0,
            "maximum": 1,
        },
        "span": {
            "description": "Where: characters [start, end) of the completion, counted from 0; "
            "equal ends mark the place where something is missing.",
            "type": ["array", "null"],
            "items": {"type": "integer", "minimum": 0},
            "minItems": 2,
            "maxItems": 2,
        },
        "comment": _text("The reader's remark.", nullable=True),
    },
)  # fmt: skip
_GENERATOR = _object(
    "What wrote the completion. A text that a person wrote never carries a model's name.",
    {"base": _identifier("Base model, as in `model.model_name_or_path` of the recipe.")},
    {"adapter": _identifier("Id of the adapter on it; null: the bare base model.", nullable=True)},
)
_READER = _object(
    "Who graded.",
    {"id": _identifier("Pseudonym of the reader, the same in every event.")},
    {
        "role": _identifier("Such as radiologist (the default) or resident."),
        "seconds": {
            "description": "Time spent; null: not measured.",
            "type": ["number", "null"],
            "minimum": 0,
            "maximum": 1e300,
        },
        "saw_ai": {
            "description": "Whether the reader knew that a model wrote it; default true.",
            "type": "boolean",
        },
    },
)
_SOURCE = _object(
    "Where the event came from.",
    {"system": _identifier("Name of the system, such as label-studio.")},
    {"ref": _text("The event's own reference there; default empty.")},
)
_EVENT = _object(
    "One graded report.",
    {
        "schema": {"description": "The schema and its version.", "const": EVENT_SCHEMA},
        "event_id": _identifier("Id of the event, unique in the log."),
        "revision": _count("1 at first; a correction has the next number, and the newest counts."),
        "case_id": _identifier(
            "Id of the case, that is of what the generator was asked to report: the same for every "
            "report on it, and for no other. Two cases may have one prompt."
        ),
        "created_at": {
            "description": "When it was graded: ISO 8601 with a time zone.",
            "type": "string",
            "format": "date-time",
        },
        "prompt": _PROMPT,
        "completion": _text("The report that was graded, as generated.", filled=True),
        "generator": _GENERATOR,
        "grade": {
            "description": "accept: as it is. partial: part of it. reject: none of it.",
            "type": "string",
            "enum": list(get_args(Grade)),
        },
        "reader": _READER,
        "source": _SOURCE,
    },
    {
        "study_id": _identifier(
            "Id of the examination, where several cases are of one; null: none is known. Cases of "
            "one study are trained on or held out together.",
            nullable=True,
        ),
        "patient_id": _identifier(
            "Pseudonym of the patient; null: none is known. All cases of one patient are trained "
            "on or held out together.",
            nullable=True,
        ),
        "thread_id": _identifier(
            "Id of the negotiation that this turn belongs to; null: none.", nullable=True
        ),
        "turn": _count("Number of the turn in its thread; default 1."),
        "errors": {
            "description": "Errors that the reader marked; empty or null: none were marked.",
            "type": ["array", "null"],
            "items": _ERROR,
        },
        "edited": _text("The report as the reader corrected it; null: no edit.", nullable=True),
    },
)
_COSTS_NOTHING = {
    "required": ["severity"],
    "properties": {"severity": {"type": "number", "maximum": 0}},
}
_GRADE_MAY_BE = {
    "allOf": [
        {
            "if": {"properties": {"grade": {"const": "accept"}}},
            "then": {"properties": {"errors": {"items": _COSTS_NOTHING}}},
            "else": {"properties": {"errors": {"not": {
                "type": "array", "minItems": 1, "items": _COSTS_NOTHING}}}},
        }
    ]
}  # fmt: skip

GRADE_RULES = (
    "`accept` carries no error but of severity 0, and no edit that changes the completion.",
    "`partial` and `reject` may leave the errors out, or the severity of some: the scorer then "
    "prices the report against its edit, and the record says so (`severity_source: scorer`). What "
    "the reader priced stands; without an edit S stays unknown. Errors that are all of severity 0 "
    "contradict the grade.",
    "A span lies inside the completion.",
    "An edit that changes the completion makes the event a preference: the edit is chosen, the "
    "completion rejected. An edit box that came back unchanged says nothing.",
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
    "grade_contradicts_severities": "Grade, errors and edit contradict each other (rules above).",
    "line_too_long": f"The line is longer than {MAX_EVENT_BYTES} bytes.",
    "missing_key": "A required key is missing.",
    "not_json": "The line is no JSON.",
    "not_object": "The line is JSON, but no object.",
    "not_utf8": "The line is not UTF-8.",
    "revision_conflict": "This revision of the event is in the log with other content; give the "
    "correction a higher revision.",
    "severity_out_of_range": "A severity is not in [0, 1].",
    "span_out_of_text": "A span does not lie inside the completion.",
    "special_token": "A text holds a control token of a language model, such as `<|eot_id|>` or "
    "`</s>`, which would end or open a turn there.",
    "unknown_category": "A category is none of the nine.",
    "unknown_grade": "`grade` is none of accept, partial, reject.",
    "unknown_key": "An object holds a key that the schema does not know.",
    "unknown_role": "The role of a message is none of system, user, assistant.",
    "unknown_schema": f"`schema` is not `{EVENT_SCHEMA}`.",
}
"""What each reason code of the quarantine means."""

_FINDINGS = "Findings: Small left pleural effusion. The heart is normal in size."
ANNOTATED: tuple[tuple[str, Any, str], ...] = (
    ("schema", EVENT_SCHEMA, ""),
    ("event_id", "ls-8812", "made by your system"),
    ("revision", 1, ""),
    ("case_id", "study-1042", "a pseudonym: ids are stored, so they must not name a patient"),
    ("study_id", "acc-5510", "may be left out"),
    ("patient_id", "p-0093", "may be left out; a pseudonym, too"),
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
    (
        "reader",
        {"id": "r-03", "role": "radiologist", "seconds": 38.5, "saw_ai": True},
        "a pseudonym, too",
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


def event_json_schema() -> Fragment:
    """The JSON Schema (2020-12) of one event.

    It cannot say that a span lies inside the completion, that an accepted report's edit changes
    nothing, or which of the keys of an object come twice: ``parse_event`` refuses those, too.
    """
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": EVENT_SCHEMA}
    return head | _EVENT | _GRADE_MAY_BE


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
        return ", ".join(f"`{value}`" for value in part["enum"])
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


FIELDS: tuple[EventField, ...] = tuple(_fields(_EVENT))
"""Every field of an event, objects before what is in them."""
