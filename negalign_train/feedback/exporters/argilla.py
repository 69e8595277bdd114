"""Reports as an Argilla dataset on disk with suggestions: ``Dataset.from_disk`` reads the folder.

``importers.argilla`` reads what comes back with its own mapping. Shape: Argilla 2.8.
"""

from __future__ import annotations

import json
from typing import Any, get_args

from negalign_train.feedback.exporters.tasks import shown_prompt, task_context
from negalign_train.vocabulary.records import EditType, Event, Grade
from negalign_train.vocabulary.taxonomy import taxonomy

DATASET_NAME = "negalign-feedback"
RECORDS, SETTINGS, DATASET = "records.json", ".argilla/settings.json", ".argilla/dataset.json"


def argilla_settings() -> dict[str, Any]:
    """The dataset's fields, questions and metadata."""
    return {
        "guidelines": "Grade the report. Mark what is wrong, and correct the report below.",
        "questions": [
            _question("grade", "Grade", _labels("label_selection", get_args(Grade)), required=True),
            _question(
                "errors",
                "What is wrong",
                {
                    "type": "span",
                    "field": "completion",
                    "allow_overlapping": True,
                    "visible_options": None,
                    "options": [
                        {"value": each.name, "text": each.name, "description": each.definition}
                        for each in taxonomy()
                    ],
                },
            ),
            _question("edited", "Corrected report", {"type": "text", "use_markdown": False}),
            _question("edit_type", "Kind of edit", _labels("label_selection", get_args(EditType))),
        ],
        "fields": [_field("prompt"), _field("completion")],
        "vectors": [],
        "metadata": [
            {"name": "case_id", "title": "case_id", "settings": {"type": "terms", "values": None}}
        ],
        "allow_extra_metadata": True,
        "distribution": {"strategy": "overlap", "min_submitted": 1},
        "mapping": None,
    }


def argilla_dataset() -> dict[str, Any]:
    """The dataset itself, as ``to_disk`` writes it."""
    return {
        "name": DATASET_NAME,
        "status": "draft",
        "guidelines": None,
        "allow_extra_metadata": True,
        "distribution": {"strategy": "overlap", "min_submitted": 1},
    }


def argilla_record(event: Event, *, with_answer: bool) -> dict[str, Any]:
    """A record of the event's report; with the reader's answer as suggestions."""
    metadata = task_context(event)
    if not isinstance(event.prompt, str):
        metadata["messages"] = json.dumps([dict(each) for each in event.prompt], ensure_ascii=False)
    return {
        "id": event.event_id,
        "fields": {"prompt": shown_prompt(event.prompt), "completion": event.completion},
        "metadata": metadata,
        "suggestions": _suggestions(event) if with_answer else {},
        "responses": {},
        "vectors": {},
        "status": "pending",
    }


def _suggestions(event: Event) -> dict[str, Any]:
    values: dict[str, Any] = {
        "grade": event.grade,
        "errors": [
            {"start": mark.span[0], "end": mark.span[1], "label": mark.category}
            for mark in event.errors
            if mark.span is not None and mark.span[0] < mark.span[1]
        ],
        "edited": event.edited,
        "edit_type": event.edit_type,
    }
    return {
        name: {"value": value, "score": None, "agent": event.source.system}
        for name, value in values.items()
        if value
    }


def _labels(kind: str, names: tuple[str, ...]) -> dict[str, Any]:
    options = [{"value": name, "text": name, "description": None} for name in names]
    return {"type": kind, "options": options, "visible_options": None}


def _question(
    name: str, title: str, settings: dict[str, Any], *, required: bool = False
) -> dict[str, Any]:
    return {
        "name": name,
        "title": title,
        "description": None,
        "required": required,
        "settings": settings,
    }


def _field(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "title": name,
        "required": True,
        "description": None,
        "settings": {"type": "text", "use_markdown": False},
    }
