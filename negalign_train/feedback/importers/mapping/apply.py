"""A mapping: which field of an export is which field of an event, and what its words mean.

One mechanism for every format: a format brings a mapping of its own, and a file (``--map``) and
``--set`` change it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import Any

from negalign_train.feedback.importers.mapping.values import (
    category_value,
    flag_value,
    grade_value,
    id_value,
    messages_value,
    number_value,
    time_value,
    word,
    word_span,
)
from negalign_train.feedback.lines import decode_json
from negalign_train.feedback.schema import EVENT_SCHEMA

TARGETS = (
    "event_id", "revision", "case_id", "study_id", "patient_id", "thread_id", "turn",
    "created_at", "prompt", "completion", "generator.base", "generator.adapter", "grade",
    "edited", "edit_type", "reader.id", "reader.role", "reader.seconds", "reader.saw_ai",
    "source.system", "source.ref", "errors",
)  # fmt: skip
MARK_TARGETS = ("errors.category", "errors.severity", "errors.span", "errors.comment")
REQUIRED = (
    "event_id", "case_id", "created_at", "prompt", "completion", "generator.base", "grade",
    "reader.id", "source.system",
)  # fmt: skip
_TEMPLATE = re.compile(r"\{([^{}]+)\}")
_MISSING = object()
FieldPath = str | tuple[str, str]
"""A dotted path, a template that holds paths in braces, or two paths (the ends of a span)."""


@dataclass(frozen=True)
class FieldMapping:
    """Where the fields of an event stand in a record, and how the record's words are read.

    ``fields``: target to path. ``constants``: target to a value that holds for the whole file.
    ``ignored``: paths that are known to hold nothing for an event. ``scale``: the best and the
    worst severity. ``word_spans``: None where nobody said.
    """

    fields: Mapping[str, FieldPath] = field(default_factory=dict)
    constants: Mapping[str, Any] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()
    grades: Mapping[str, str] = field(default_factory=dict)
    categories: Mapping[str, str] = field(default_factory=dict)
    severities: Mapping[str, float] = field(default_factory=dict)
    edit_types: Mapping[str, str] = field(default_factory=dict)
    scale: tuple[float, float] | None = None
    word_spans: bool | None = None
    time_zone: str | None = None
    assume_submitted: bool = False

    def changed_by(self, other: FieldMapping) -> FieldMapping:
        """This mapping with what ``other`` says, a constant in place of a path and vice versa."""
        own_fields = {k: v for k, v in self.fields.items() if k not in other.constants}
        if "errors" in other.fields or any(name in other.fields for name in MARK_TARGETS):
            marks = ("errors", *MARK_TARGETS)
            own_fields = {k: v for k, v in own_fields.items() if k not in marks}
        own_constants = {k: v for k, v in self.constants.items() if k not in other.fields}
        merged = {
            item.name: getattr(other, item.name)
            for item in fields(self)
            if getattr(other, item.name) != item.default
        }
        return replace(
            self,
            **merged
            | {
                "fields": {**own_fields, **other.fields},
                "constants": {**own_constants, **other.constants},
                "ignored": (*self.ignored, *other.ignored),
                "grades": {**self.grades, **other.grades},
                "categories": {**self.categories, **other.categories},
                "severities": {**self.severities, **other.severities},
                "edit_types": {**self.edit_types, **other.edit_types},
            },
        )


@dataclass(frozen=True)
class Mapped:
    """A record as an event in JSON, and the paths that gave it or are known to give nothing."""

    event: dict[str, Any]
    used: frozenset[str]


def map_record(record: Mapping[str, Any], mapping: FieldMapping) -> Mapped:
    """The event that a record stands for. What the record lacks is left out of it."""
    used: set[str] = set()
    find = partial(_find, record, used)
    event: dict[str, Any] = {"schema": EVENT_SCHEMA, "revision": 1}
    for target in TARGETS:
        value = mapping.constants.get(target, _MISSING)
        if value is _MISSING and target in mapping.fields and target != "errors":
            value = find(mapping.fields[target])
        if value is not _MISSING and value is not None:
            _put(event, target, _read_target(target, value, mapping))
    marks = _marks(record, mapping, used)
    if marks is not None:
        event["errors"] = [_mark(each, mapping, event.get("completion")) for each in marks]
    return Mapped(event, frozenset(used).union(mapping.ignored))


def _read_target(target: str, value: Any, mapping: FieldMapping) -> Any:
    if target == "grade":
        return _worded(value, mapping.grades, grade_value)
    if target == "edit_type":
        return _worded(value, mapping.edit_types, lambda each: each)
    if target == "created_at":
        return time_value(value, mapping.time_zone)
    if target in ("revision", "turn", "reader.seconds"):
        return number_value(value)
    if target == "reader.saw_ai":
        return flag_value(value)
    if target == "prompt":
        return messages_value(value)
    return value if target in ("completion", "edited") else id_value(value)


def _worded(value: Any, words: Mapping[str, Any], otherwise: Callable[[Any], Any]) -> Any:
    """What the mapping's table says a word means; without an entry what the word says itself."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, str | int | float):
        key = word(id_value(value))
        if key in words:
            return words[key]
    return otherwise(value)


def _put(event: dict[str, Any], target: str, value: Any) -> None:
    outer, _, inner = target.partition(".")
    if inner:
        event.setdefault(outer, {})[inner] = value
    else:
        event[outer] = value


def _find(record: Mapping[str, Any], used: set[str], path: FieldPath) -> Any:
    """The value at a path; ``_MISSING`` where there is none, or where a table's cell is blank."""
    if isinstance(path, tuple):
        ends = [number_value(_find(record, used, each)) for each in path]
        return _MISSING if _MISSING in ends else ends
    names = _TEMPLATE.findall(path)
    if names:
        values = {name: _find(record, used, name) for name in names}
        if any(value is _MISSING or value is None for value in values.values()):
            return _MISSING
        return _TEMPLATE.sub(lambda match: str(id_value(values[match[1]])), path)
    value = _walk(record, path)
    if value is not _MISSING:
        used.add(path)
    return _MISSING if isinstance(value, str) and not value.strip() else value


def _walk(value: Any, path: str) -> Any:
    """A dotted path through objects. A key that holds dots itself comes first."""
    if not isinstance(value, Mapping):
        return _MISSING
    if path in value:
        return value[path]
    parts = path.split(".")
    for length in range(len(parts) - 1, 0, -1):
        head, rest = ".".join(parts[:length]), ".".join(parts[length:])
        if head in value:
            return _walk(value[head], rest)
    return _MISSING


def _marks(
    record: Mapping[str, Any], mapping: FieldMapping, used: set[str]
) -> list[Mapping[str, Any]] | None:
    """The marks of a record before their words are read; None where the export has none."""
    paths = {name.partition(".")[2]: mapping.fields.get(name) for name in MARK_TARGETS}
    given = {name: path for name, path in paths.items() if path is not None}
    if "errors" not in mapping.fields:
        return _single_marks(record, given, used) if given else None
    where = mapping.fields["errors"]
    assert isinstance(where, str)
    items = _find(record, set(), where)
    if not (isinstance(items, list) and any(isinstance(each, Mapping) for each in items)):
        _find(record, used, where)
    if isinstance(items, str):
        items = decode_json(items)
    if items is _MISSING or items is None:
        return []
    if not isinstance(items, list):
        return [{"category": items}]
    marks: list[Mapping[str, Any]] = []
    for item in items:
        if not isinstance(item, Mapping):
            marks.append({"category": item})
            continue
        inner: set[str] = set()
        paths_of = given or {name: name for name in ("category", "severity", "span", "comment")}
        marks.append(_present({name: _find(item, inner, p) for name, p in paths_of.items()}))
        used.update(f"{where}[].{name}" for name in inner)
    return marks


def _single_marks(
    record: Mapping[str, Any], paths: Mapping[str, FieldPath], used: set[str]
) -> list[Mapping[str, Any]]:
    """Marks from fields of the record itself: one, or one for each category of a list."""
    mark = _present({name: _find(record, used, path) for name, path in paths.items()})
    category = mark.get("category")
    if category is None:
        return []
    names = category if isinstance(category, list) else [category]
    return [{**mark, "category": name} for name in names]


def _present(mark: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in mark.items() if value is not _MISSING}


def _mark(mark: Mapping[str, Any], mapping: FieldMapping, completion: Any) -> dict[str, Any]:
    result = dict(mark)
    if "category" in result:
        result["category"] = _worded(result["category"], mapping.categories, category_value)
    severity = _worded(result.get("severity"), mapping.severities, number_value)
    if isinstance(severity, int | float) and not isinstance(severity, bool):
        in_words = word(id_value(result["severity"])) in mapping.severities
        if mapping.scale is not None and not in_words:
            best, worst = mapping.scale
            severity = (severity - best) / (worst - best)
    if severity is not None:
        result["severity"] = severity
    if mapping.word_spans:
        result["span"] = word_span(result.get("span"), completion)
    return result


def leaf_paths(value: Any, path: str = "") -> Iterator[str]:
    """The path of every field of a record; ``[]`` marks the members of a list of objects."""
    if isinstance(value, Mapping) and value:
        for name, each in value.items():
            yield from leaf_paths(each, f"{path}.{name}".lstrip("."))
    elif isinstance(value, list) and value and all(isinstance(each, Mapping) for each in value):
        for each in value:
            yield from leaf_paths(each, f"{path}[]")
    elif path:
        yield path


def is_covered(path: str, names: Sequence[str] | frozenset[str]) -> bool:
    """Whether a path, or what it lies in, is among ``names``."""
    return any(path == name or path.startswith((f"{name}.", f"{name}[")) for name in names)
