"""Label Studio: tasks with annotations (JSON), and with a warning JSON_MIN and CSV.

Regions are joined with their own answers by their id. An annotation is an event; its unique id is
the event's, so that importing a later export adds a revision where the reader changed something.
Shape: Label Studio 1.23, ``docs/importing.md``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from negalign_train.feedback.documents import RawRecord
from negalign_train.feedback.fields import QuarantineError, kind_of
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

_ANSWERS = ("choices", "rating", "number", "taxonomy", "datetime", "chatmessage", "text")
"""Keys of a result's ``value`` that hold the answer; ``text`` beside another is the region's."""
_LABELS = ("labels", "hypertextlabels", "paragraphlabels")
_MIN_KEYS = frozenset({"annotator", "annotation_id", "lead_time"})
_KEEPING = ("id", "unique_id", "completed_by", "lead_time", "created_at", "updated_at")
SYSTEM = "label-studio"


def _records(items: Iterable[RawRecord], reading: ReadingRules) -> Iterator[Record]:
    """One record an annotation: ``data`` of the task, ``annotation``, ``result`` by the name of the
    control, ``regions`` with their labels and answers.
    """
    for item in items:
        if item.problem is not None:
            yield undecoded(item)
            continue
        task = object_of(item, "a task")
        if "annotations" not in task and _MIN_KEYS & task.keys():
            yield _minimal(item, task)
            continue
        data = member(item, task, "data", Mapping, "a task")
        annotations = member(item, task, "annotations", list, "a task")
        if not annotations:
            problem = QuarantineError("not_graded", "the task has no annotation yet")
            yield record_of(item, {"task": {"id": task.get("id")}}, problem)
        for annotation in annotations:
            yield _annotation(item, task, data, annotation)


def _annotation(
    item: RawRecord, task: Mapping[str, Any], data: Mapping[str, Any], annotation: Any
) -> Record:
    if not isinstance(annotation, Mapping):
        raise malformed(item, f"an annotation must be an object, not {kind_of(annotation)}")
    results = member(item, annotation, "result", list, "an annotation")
    answers, regions = _results(item, results)
    kept = {name: annotation.get(name) for name in _KEEPING}
    kept["completed_by"] = _person(kept["completed_by"])
    if kept["unique_id"] is None:  # older servers
        kept["unique_id"] = f"{task.get('project', 0)}-{annotation.get('id')}"
    fields = {
        "task": {"id": task.get("id")},
        "data": dict(data) | ({"prompt": data["messages"]} if "messages" in data else {}),
        "annotation": kept,
        "result": answers,
        "regions": regions,
    }
    problem = None
    if annotation.get("was_cancelled"):
        problem = QuarantineError("not_submitted", "the reader skipped the task")
    return record_of(item, fields, problem)


def _person(value: Any) -> Any:
    """The id of a reader: exports give it as a number, or in an object beside name and address."""
    return value.get("id") if isinstance(value, Mapping) else value


def _results(item: RawRecord, results: list[Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Answers about the whole report by control, and regions with the answers about each."""
    answers: dict[str, Any] = {}
    regions: dict[str, dict[str, Any]] = {}
    for result in results:
        if not isinstance(result, Mapping):
            raise malformed(item, f"a result must be an object, not {kind_of(result)}")
        if result.get("type") == "relation":
            continue
        value = member(item, result, "value", Mapping, "a result")
        control = str(result.get("from_name"))
        labels = next((value[name] for name in _LABELS if name in value), None)
        if labels is not None or "start" in value:
            region = regions.setdefault(str(result.get("id")), {})
            region |= {"start": value.get("start"), "end": value.get("end")}
            if labels is not None:
                region |= {"labels": labels, "label": labels[0] if labels else None}
            else:
                region[control] = _answer(value)
        elif control in answers and "chatmessage" in value:
            answers[control] = [*answers[control], *_answer(value)]
        else:
            answers[control] = _answer(value)
    return answers, list(regions.values())


def _answer(value: Mapping[str, Any]) -> Any:
    """A control's answer: a single choice or text without its list, several as they are."""
    found = next((value[name] for name in _ANSWERS if name in value), None)
    if isinstance(found, Mapping):
        return [{"role": found.get("role"), "content": found.get("content")}]
    if isinstance(found, list) and len(found) == 1:
        return found[0]
    if "text" in value and isinstance(found, list):
        return "\n".join(map(str, found))
    return found


def _minimal(item: RawRecord, row: Mapping[str, Any]) -> Record:
    """A row of JSON_MIN or CSV: answers and task data side by side. Answers about regions stand by
    themselves and are joined by where the region is; remarks have lost their place.
    """
    values = {name: _minimal_value(value) for name, value in row.items()}
    if isinstance(values.get("messages"), list):
        values["prompt"] = values["messages"]
    regions: dict[tuple[Any, Any], dict[str, Any]] = {}
    for name, value in values.items():
        for each in value if isinstance(value, list) else []:
            if isinstance(each, Mapping) and "start" in each:
                region = regions.setdefault((each["start"], each.get("end")), {})
                region |= {"start": each["start"], "end": each.get("end")}
                if "labels" in each:
                    region |= {"label": (each["labels"] or [None])[0]}
                else:
                    region[name] = _answer(each)
    number = values.get("annotation_id")
    fields = {
        "task": {"id": values.get("id")},
        "data": values,
        "annotation": {
            "unique_id": f"min-{number}",
            "completed_by": values.get("annotator"),
            "lead_time": values.get("lead_time"),
            "updated_at": values.get("updated_at") or values.get("created_at"),
        },
        "result": values,
        "regions": list(regions.values()),
    }
    problem = None
    if number in (None, ""):
        problem = QuarantineError("not_graded", "the task has no annotation yet")
    return record_of(item, fields, problem)


def _minimal_value(value: Any) -> Any:
    if isinstance(value, str) and value[:1] in ("[", "{"):
        try:
            value = decode_json(value)
        except QuarantineError:
            return value
    if isinstance(value, Mapping) and set(value) == {"choices"}:
        return value["choices"]
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], Mapping):
        return value[0].get("rating", value)
    return value


def _is_label_studio(sample: Sample) -> bool:
    return {"annotations", "data"} <= sample.keys or {"annotation_id", "lead_time"} <= sample.keys


def _warning(sample: Sample) -> str | None:
    if "annotations" in sample.keys:
        return None
    return (
        "JSON_MIN and CSV leave out skipped annotations and which region a remark is about; export "
        "JSON to keep them"
    )


LABEL_STUDIO = Format(
    name="label-studio",
    title="Label Studio: JSON; JSON_MIN and CSV with losses",
    looks_like=_is_label_studio,
    records=_records,
    mapping=FieldMapping(
        fields={
            "event_id": "ls-{annotation.unique_id}",
            "case_id": "data.case_id",
            "study_id": "data.study_id",
            "patient_id": "data.patient_id",
            "thread_id": "data.thread_id",
            "turn": "data.turn",
            "created_at": "annotation.updated_at",
            "prompt": "data.prompt",
            "completion": "data.completion",
            "generator.base": "data.generator_base",
            "generator.adapter": "data.generator_adapter",
            "grade": "result.grade",
            "edited": "result.edited",
            "edit_type": "result.edit_type",
            "errors": "regions",
            "errors.category": "label",
            "errors.severity": "severity",
            "errors.span": ("start", "end"),
            "errors.comment": "comment",
            "reader.id": "annotation.completed_by",
            "reader.seconds": "annotation.lead_time",
            "source.ref": "task {task.id}",
        },
        constants={"source.system": SYSTEM},
        ignored=("task", "annotation", "regions[].labels", "data.messages"),
    ),
    warning=_warning,
)
