"""Argilla: records as ``to_json`` writes them (nested), flat rows, and the server's own answers.

The nested form does not say whether an answer was submitted: a discarded one reads like a real one.
Such a file is refused unless the user says that all of it was submitted. Shape: Argilla 2.8.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from negalign_train.feedback.documents import RawRecord
from negalign_train.feedback.fields import QuarantineError
from negalign_train.feedback.importers.mapping.apply import FieldMapping
from negalign_train.feedback.importers.record import (
    Format,
    ReadingRules,
    Record,
    Sample,
    malformed,
    member,
    object_of,
    record_of,
    undecoded,
)
from negalign_train.feedback.lines import decode_json

_SUBMITTED = "submitted"
SYSTEM = "argilla"


def _records(items: Iterable[RawRecord], reading: ReadingRules) -> Iterator[Record]:
    """One record for each reader of an Argilla record: ``fields``, ``metadata``, ``answers`` by
    question, ``user_id``. A prompt of several messages stands in the metadata, as the exporter
    writes it.
    """
    for item in items:
        if item.problem is not None:
            yield undecoded(item)
            continue
        row = object_of(item, "a record")
        nested = "fields" in row
        by_reader = _nested(item, row) if nested else _flat(item, row)
        head: dict[str, Any] = {
            "id": row.get("id"),
            "fields": row["fields"] if nested else _plain(row),
            "metadata": row.get("metadata", {}) if nested else _plain(row),
        }
        messages = head["metadata"].get("messages")
        if isinstance(messages, str):
            head["fields"] = dict(head["fields"]) | {"prompt": decode_json(messages)}
        if not by_reader:
            yield record_of(item, head, QuarantineError("not_graded", "nobody has answered yet"))
        for user, (answers, statuses) in by_reader.items():
            fields = head | {"user_id": user, "answers": answers}
            yield record_of(item, fields, _refusal(item, statuses, reading.mapping))


_ByReader = dict[str, tuple[dict[str, Any], set[str | None]]]


def _refusal(
    item: RawRecord, statuses: set[str | None], mapping: FieldMapping
) -> QuarantineError | None:
    if None in statuses and not mapping.assume_submitted:
        raise malformed(
            item,
            "this form of export does not say whether an answer was submitted or discarded: export "
            "flat (records.to_list(flatten=True)), or say that all were: "
            "--set assume_submitted=true",
        )
    if statuses - {None, _SUBMITTED}:
        other = sorted(status for status in statuses if status not in (None, _SUBMITTED))
        shown = other[0] if other[0] in ("draft", "discarded") else "not submitted"
        return QuarantineError("not_submitted", f"the answer is {shown}")
    return None


def _nested(item: RawRecord, row: Mapping[str, Any]) -> _ByReader:
    """``responses``: by question (the SDK), or a list of whole answers (the server)."""
    responses = row.get("responses")
    if responses is None:
        raise malformed(item, "a record lacks 'responses'")
    by_reader: _ByReader = {}
    if isinstance(responses, list):
        for response in responses:
            values = member(item, response, "values", Mapping, "a response")
            answers, statuses = by_reader.setdefault(str(response.get("user_id")), ({}, set()))
            answers |= {name: _value(each) for name, each in values.items()}
            statuses.add(response.get("status"))
        return by_reader
    if not isinstance(responses, Mapping):
        raise malformed(item, "'responses' must be an object or a list")
    for question, given in responses.items():
        if not isinstance(given, list):
            raise malformed(item, "'responses' must hold a list for each question")
        for response in given:
            if not isinstance(response, Mapping):
                raise malformed(item, "a response must be an object")
            answers, statuses = by_reader.setdefault(str(response.get("user_id")), ({}, set()))
            answers[question] = _value(response)
            statuses.add(response.get("status"))
    return by_reader


def _value(response: Any) -> Any:
    return response.get("value") if isinstance(response, Mapping) else response


def _flat(item: RawRecord, row: Mapping[str, Any]) -> _ByReader:
    by_reader: _ByReader = {}
    questions = [name.removesuffix(".responses") for name in row if name.endswith(".responses")]
    for question in questions:
        values = row[f"{question}.responses"] or []
        users = row.get(f"{question}.responses.users") or []
        statuses = row.get(f"{question}.responses.status") or [None] * len(values)
        if not len(values) == len(users) == len(statuses):
            raise malformed(item, "responses, users and status of a question differ in number")
        for value, user, status in zip(values, users, statuses, strict=True):
            answers, known = by_reader.setdefault(str(user), ({}, set()))
            answers[question] = value
            known.add(status)
    return by_reader


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    """The fields and metadata of a flat row, which stand side by side."""
    marks = (".responses", ".responses.users", ".responses.status", ".suggestion",
             ".suggestion.score", ".suggestion.agent")  # fmt: skip
    own = ("id", "status", "_server_id", "vectors")
    return {
        name: value for name, value in row.items() if not name.endswith(marks) and name not in own
    }


def _is_argilla(sample: Sample) -> bool:
    nested = {"fields", "responses"} <= sample.keys
    return nested or any(name.endswith(".responses") for name in sample.keys)


ARGILLA = Format(
    name="argilla",
    title="Argilla 2: nested or flat records, or a dataset's folder",
    looks_like=_is_argilla,
    records=_records,
    mapping=FieldMapping(
        fields={
            "event_id": "argilla-{id}-{user_id}",
            "case_id": "metadata.case_id",
            "study_id": "metadata.study_id",
            "patient_id": "metadata.patient_id",
            "thread_id": "metadata.thread_id",
            "turn": "metadata.turn",
            "created_at": "metadata.created_at",
            "prompt": "fields.prompt",
            "completion": "fields.completion",
            "generator.base": "metadata.generator_base",
            "generator.adapter": "metadata.generator_adapter",
            "grade": "answers.grade",
            "edited": "answers.edited",
            "edit_type": "answers.edit_type",
            "errors": "answers.errors",
            "errors.category": "label",
            "errors.severity": "severity",
            "errors.span": ("start", "end"),
            "errors.comment": "comment",
            "reader.id": "user_id",
            "source.ref": "record {id}",
        },
        constants={"source.system": SYSTEM},
        ignored=("id", "user_id", "metadata.messages", "fields.messages"),
    ),
)
