"""Prodigy's JSON Lines: ``answer`` of accept, reject or ignore, spans as errors.

An accepted report with error spans is accepted in part: accepting there says that the spans are
right. Shape: Prodigy's documented task format; the program itself is not free.
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


def _records(items: Iterable[RawRecord], reading: ReadingRules) -> Iterator[Record]:
    """One record an answer; ``grade`` is made of the answer and whether errors were marked."""
    for item in items:
        if item.problem is not None:
            yield undecoded(item)
            continue
        task = object_of(item, "a task")
        answer = member(item, task, "answer", str, "a task")
        member(item, task, "text", str, "a task")
        spans = task.get("spans") or []
        if not isinstance(spans, list):
            raise malformed(item, "'spans' must be a list")
        if answer == "ignore":
            yield record_of(item, task, QuarantineError("not_submitted", "the task was ignored"))
        elif answer in ("accept", "reject"):
            yield record_of(item, dict(task) | {"grade": _grade(task, answer, bool(spans))})
        else:
            raise malformed(item, "'answer' must be accept, reject or ignore")


def _grade(task: Mapping[str, Any], answer: str, marked: bool) -> Any:
    """Of a choice, what was chosen; otherwise the answer."""
    chosen = task.get("accept")
    if isinstance(chosen, list) and len(chosen) == 1:
        return chosen[0]
    return "partial" if answer == "accept" and marked else answer


def _is_prodigy(sample: Sample) -> bool:
    return {"text", "answer"} <= sample.keys and bool(
        {"_task_hash", "_input_hash", "_annotator_id", "_session_id"} & sample.keys
    )


PRODIGY = Format(
    name="prodigy",
    title="Prodigy: JSON Lines of db-out",
    looks_like=_is_prodigy,
    records=_records,
    mapping=FieldMapping(
        fields={
            "event_id": "prodigy-{_task_hash}-{_annotator_id}",
            "case_id": "meta.case_id",
            "study_id": "meta.study_id",
            "patient_id": "meta.patient_id",
            "created_at": "_timestamp",
            "prompt": "meta.prompt",
            "completion": "text",
            "generator.base": "meta.generator_base",
            "generator.adapter": "meta.generator_adapter",
            "grade": "grade",
            "edited": "edited",
            "errors": "spans",
            "errors.category": "label",
            "errors.severity": "severity",
            "errors.span": ("start", "end"),
            "errors.comment": "comment",
            "reader.id": "_annotator_id",
            "source.ref": "task {_task_hash}",
        },
        constants={"source.system": "prodigy"},
        ignored=(
            "answer", "_input_hash", "_session_id", "_view_id", "tokens", "options", "accept",
            "config", "spans[].token_start", "spans[].token_end", "spans[].source",
        ),
    ),
)  # fmt: skip
