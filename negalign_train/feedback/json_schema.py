"""The schema ``negalign.feedback/1`` as a JSON Schema. ``parse_event`` decides; tests hold the two
together.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from negalign_train.feedback.fields import MAX_ID_CHARACTERS, MAX_INTEGER
from negalign_train.feedback.schema import EVENT_SCHEMA, ROLES
from negalign_train.vocabulary.records import CATEGORIES, EditType, Grade

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


def _count(meaning: str, *, nullable: bool = False) -> Fragment:
    kind: Any = ["integer", "null"] if nullable else "integer"
    return {"description": meaning, "type": kind, "minimum": 1, "maximum": MAX_INTEGER}


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
        "role": _identifier("Such as resident; default and null: radiologist.", nullable=True),
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
EVENT = _object(
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
        "turn": _count("Number of the turn in its thread; default and null: 1.", nullable=True),
        "errors": {
            "description": "Errors that the reader marked; empty or null: none were marked.",
            "type": ["array", "null"],
            "items": _ERROR,
        },
        "edited": _text("The report as the reader corrected it; null: no edit.", nullable=True),
        "edit_type": {
            "description": "What the edit did: mended an error, added what was missing, or said "
            "the same more clearly; null: not said.",
            "type": ["string", "null"],
            "enum": [*get_args(EditType), None],
        },
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


def event_json_schema() -> Fragment:
    """The JSON Schema (2020-12) of one event.

    It cannot say that a span lies inside the completion, that an accepted report's edit changes
    nothing, or which of the keys of an object come twice: ``parse_event`` refuses those as well.
    """
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": EVENT_SCHEMA}
    return head | EVENT | _GRADE_MAY_BE
