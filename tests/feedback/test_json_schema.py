"""The JSON Schema of an event and ``parse_event`` agree as far as a JSON Schema can say it."""

from __future__ import annotations

import ast
import copy
import json
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from negalign_train.feedback.fields import QuarantineError
from negalign_train.feedback.json_schema import event_json_schema
from negalign_train.feedback.reference import ANNOTATED, FIELDS, QUARANTINE_REASONS
from negalign_train.feedback.schema import event_to_dict, parse_event

PACKAGE = Path(__file__).resolve().parents[2] / "negalign_train"
EXAMPLE: dict[str, Any] = {name: value for name, value, _ in ANNOTATED}
CHAT = [{"role": "system", "content": ""}, {"role": "user", "content": "Cough."}]
# What a JSON Schema cannot say, or says only as an annotation (format).
UNSAID = {"span_out_of_text", "bad_time"}
_KINDS: dict[str, Any] = {
    "string": str, "array": list, "object": dict, "boolean": bool, "null": type(None),
    "integer": int, "number": (int, float),
}  # fmt: skip
_NOT_CHECKED = {"$schema", "title", "description", "format"}


def is_kind(value: object, kind: str) -> bool:
    return isinstance(value, _KINDS[kind]) and (not isinstance(value, bool) or kind == "boolean")


def valid(schema: dict[str, Any], value: Any) -> bool:
    """The keywords that our schema uses; another one raises KeyError."""
    return all(
        _CHECKS[name](schema, value) for name in schema.keys() - _NOT_CHECKED - _SIDE_KEYWORDS
    )


def _condition(schema: dict[str, Any], value: Any) -> bool:
    branch = schema["then"] if valid(schema["if"], value) else schema["else"]
    return valid(branch, value)


def _no_extra(schema: dict[str, Any], value: Any) -> bool:
    return not isinstance(value, dict) or value.keys() <= schema["properties"].keys()


_SIDE_KEYWORDS = {"then", "else"}
_CHECKS: dict[str, Any] = {
    "type": lambda s, v: any(
        is_kind(v, kind) for kind in (s["type"] if isinstance(s["type"], list) else [s["type"]])
    ),
    "const": lambda s, v: v == s["const"],
    "enum": lambda s, v: v in s["enum"],
    "pattern": lambda s, v: not isinstance(v, str) or re.search(s["pattern"], v) is not None,
    "maxLength": lambda s, v: not isinstance(v, str) or len(v) <= s["maxLength"],
    "minimum": lambda s, v: not is_kind(v, "number") or v >= s["minimum"],
    "maximum": lambda s, v: not is_kind(v, "number") or v <= s["maximum"],
    "minItems": lambda s, v: not isinstance(v, list) or len(v) >= s["minItems"],
    "maxItems": lambda s, v: not isinstance(v, list) or len(v) <= s["maxItems"],
    "items": lambda s, v: not isinstance(v, list) or all(valid(s["items"], i) for i in v),
    "contains": lambda s, v: not isinstance(v, list) or any(valid(s["contains"], i) for i in v),
    "properties": lambda s, v: (
        not isinstance(v, dict)
        or all(valid(part, v[name]) for name, part in s["properties"].items() if name in v)
    ),
    "required": lambda s, v: not isinstance(v, dict) or set(s["required"]) <= v.keys(),
    "additionalProperties": _no_extra,
    "anyOf": lambda s, v: any(valid(part, v) for part in s["anyOf"]),
    "allOf": lambda s, v: all(valid(part, v) for part in s["allOf"]),
    "not": lambda s, v: not valid(s["not"], v),
    "if": _condition,
}


def refusal(value: Any) -> str | None:
    try:
        parse_event(value)
    except QuarantineError as error:
        return error.code
    return None


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place inside a JSON value."""
    keys = value if isinstance(value, dict) else range(len(value)) if type(value) is list else ()
    for key in keys:
        yield (*path, key)
        yield from places(value[key], (*path, key))


STARTS = [
    EXAMPLE,
    EXAMPLE | {
        "prompt": CHAT, "grade": "accept", "edited": None,
        "errors": [{"category": "wrong_location", "severity": 0}],
    },
    EXAMPLE | {"grade": "reject", "errors": None, "edited": None, "thread_id": None},
]  # fmt: skip
WRONG: list[Any] = [
    None, "", " ", "x", "a\nb", "\x00", "x" * 201, "reject", "accept", 0, 1, -1, 0.5, 2, 1e308,
    2**31, True, [], [0, 1], [0, 10**6], [{}], {}, {"role": "user", "content": "x"},
]  # fmt: skip
MUTATIONS = [(start, place) for start in range(len(STARTS)) for place in places(STARTS[start])]


def changed(start: int, place: tuple[Any, ...], value: Any, remove: bool) -> dict[str, Any]:
    event = copy.deepcopy(STARTS[start])
    inner: Any = event
    for key in place[:-1]:
        inner = inner[key]
    if remove:
        del inner[place[-1]]
    else:
        inner[place[-1]] = value
    return event


def agree(event: dict[str, Any]) -> None:
    code, fits = refusal(event), valid(event_json_schema(), event)
    edited = event.get("edited") not in (None, event.get("completion"))
    if code in UNSAID or (code == "grade_contradicts_severities" and edited):
        return  # an accepted report with an edit: two fields compared, which a schema cannot do
    assert fits == (code is None), f"parse_event says {code}, the JSON Schema says {fits}"


@settings(max_examples=600, deadline=None)
@given(st.sampled_from(MUTATIONS), st.sampled_from(WRONG), st.booleans())
def test_schema_and_parser_agree_on_an_event_with_one_change(
    mutation: tuple[int, tuple[Any, ...]], value: Any, remove: bool
) -> None:
    agree(changed(*mutation, value, remove))


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.path)
def test_every_field_is_read_and_may_be_left_out_as_the_page_says(field: Any) -> None:
    path = field.path.replace("[]", ".0").split(".")
    place = tuple(int(part) if part == "0" else part for part in path)
    start = 1 if place[0] == "prompt" and len(place) > 1 else 0
    without = changed(start, place, None, True)
    assert refusal(STARTS[start]) is None
    expected = {"schema": "unknown_schema"}.get(field.path, "missing_key")
    assert refusal(without) == (expected if field.required else None)
    agree(without)
    agree(changed(start, place, None, False))


def test_the_fields_are_those_that_the_log_writes() -> None:
    """A field that the code learns must be described, or its page is not whole."""
    written = event_to_dict(parse_event(EXAMPLE | {"prompt": CHAT, "edit_type": "correction"}))
    seen = {re.sub(r"\.\d+", "[]", ".".join(map(str, place))) for place in places(written)}
    lists = {"prompt[]", "errors[]", "errors[].span[]"}  # their members are no fields
    assert seen - lists == {field.path for field in FIELDS}


@pytest.mark.parametrize("start", STARTS, ids=["partial", "accept", "reject"])
def test_good_events_are_good_to_both(start: dict[str, Any]) -> None:
    assert (refusal(start), valid(event_json_schema(), start)) == (None, True)


def test_every_reason_in_the_code_is_explained_and_no_other() -> None:
    raised = set()
    for path in sorted(PACKAGE.rglob("*.py")):
        if "QuarantineError(" not in path.read_text(encoding="utf-8"):
            continue
        name = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
        constants = vars(import_module(name))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "QuarantineError":
                code = node.args[0]
                if isinstance(code, ast.Constant):
                    raised.add(code.value)
                else:
                    assert isinstance(code, ast.Name), f"{path}:{node.lineno} computes its code"
                    raised.add(constants[code.id])
    assert raised == set(QUARANTINE_REASONS)


def test_the_schema_is_json_that_any_validator_can_read() -> None:
    schema = event_json_schema()
    assert json.loads(json.dumps(schema)) == schema
    assert schema["$schema"].startswith("https://json-schema.org/")
