"""Label Studio exports, recorded with the real server; our own tasks on their way there."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from negalign_train.feedback.exporters.label_studio import label_studio_task, labelling_config
from negalign_train.feedback.schema import parse_event
from negalign_train.feedback.store import FeedbackStore
from negalign_train.vocabulary.errors import FeedbackError
from negalign_train.vocabulary.records import CATEGORIES, Event
from tests.feedback.importing import exports_of, import_log
from tests.feedback.test_store import counts

RECORDED = Path(__file__).parent / "recorded"
REPORT = "Findings: Small left pleural effusion. The heart is normal in size. Impression: Effusion."
MESSAGES = [
    {"role": "system", "content": "You are a radiologist."},
    {"role": "user", "content": "Report: normal chest, Größe."},
]


def by_hand(**overrides: Any) -> Event:
    """What somebody would type for the first annotation of the recorded project."""
    return parse_event(
        {
            "schema": "negalign.feedback/1",
            "event_id": "ls-51475676-716d-46a7-88d6-f691cef3aac3",
            "revision": 1,
            "case_id": "case-1",
            "study_id": "st-1",
            "patient_id": "p-1",
            "created_at": "2026-11-25T18:17:30.368297Z",
            "prompt": "Indication: cough. Comparison: none.",
            "completion": REPORT,
            "generator": {"base": "radgen-7b", "adapter": "c0003"},
            "grade": "partial",
            "errors": [
                {
                    "category": "wrong_location",
                    "severity": 0.5,
                    "span": [16, 20],
                    "comment": "right side",
                },
                {"category": "report_integrity", "severity": 0.1, "span": [68, 87]},
            ],
            "edited": REPORT.replace("left", "right"),
            "edit_type": "correction",
            "reader": {"id": "1", "seconds": 12.5},
            "source": {"system": "label-studio", "ref": "task 1"},
        }
        | overrides
    )


def test_an_annotation_is_the_event_typed_by_hand(log: FeedbackStore) -> None:
    report = import_log(log, RECORDED / "label_studio.json")
    assert counts(report) == (4, 2, 0, 2, 0)
    assert dict(report.reasons) == {"not_submitted": 1, "not_graded": 1}
    first, second = (event for _, event in log.events())
    assert first == by_hand()
    assert (second.grade, second.prompt) == ("accept", tuple(MESSAGES))


def test_nothing_of_the_export_goes_unread_or_unnamed() -> None:
    (export,) = exports_of(RECORDED / "label_studio.json")
    assert dict(export.survey().unmapped) == {}


@pytest.mark.parametrize("name", ["label_studio_min.json", "label_studio.csv"])
def test_the_short_exports_give_the_same_marks_with_a_warning(
    log: FeedbackStore, name: str
) -> None:
    (export,) = exports_of(RECORDED / name)
    assert "export JSON to keep them" in export.warnings[0]
    report = import_log(log, RECORDED / name)
    assert counts(report) == (3, 2, 0, 1, 0)
    first, second = (event for _, event in log.events())
    marks = [{"category": m.category, "severity": m.severity, "span": m.span}
             for m in first.errors]  # fmt: skip
    assert marks == [
        {"category": m.category, "severity": m.severity, "span": m.span} for m in by_hand().errors
    ]
    assert (first.edited, first.grade) == (by_hand().edited, "partial")
    assert second.prompt == tuple(MESSAGES)


def changed_export(tmp_path: Path, change: Callable[[list[Any]], None]) -> Path:
    tasks = json.loads((RECORDED / "label_studio.json").read_text(encoding="utf-8"))
    change(tasks)
    path = tmp_path / "changed.json"
    path.write_text(json.dumps(tasks), encoding="utf-8")
    return path


def test_a_changed_annotation_is_the_next_revision_and_an_old_export_changes_nothing(
    log: FeedbackStore, tmp_path: Path
) -> None:
    def regrade(tasks: list[Any]) -> None:
        annotation = tasks[0]["annotations"][0]
        annotation["result"][0]["value"]["choices"] = ["reject"]
        annotation["updated_at"] = "2026-11-26T08:00:00Z"

    import_log(log, RECORDED / "label_studio.json")
    assert import_log(log, changed_export(tmp_path, regrade)).accepted == 1
    newest = {event.event_id: event for _, event in log.events()}[by_hand().event_id]
    assert (newest.revision, newest.grade) == (2, "reject")
    again = import_log(log, RECORDED / "label_studio.json")
    assert (again.accepted, again.duplicate) == (0, 2)


def test_a_reader_as_an_object_is_read_by_id_and_nothing_else(
    log: FeedbackStore, tmp_path: Path
) -> None:
    person = {"id": 14, "email": "reader@example.org", "first_name": "A", "last_name": "B"}

    def name_reader(tasks: list[Any]) -> None:
        tasks[0]["annotations"][0]["completed_by"] = person

    import_log(log, changed_export(tmp_path, name_reader))
    assert log.events()[0][1].reader.id == "14"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda tasks: tasks[1].pop("annotations"), "record 2: a task lacks 'annotations'"),
        (lambda tasks: tasks[0].pop("data"), "record 1: a task lacks 'data'"),
        (lambda tasks: tasks[0]["annotations"][0].pop("result"), "an annotation lacks 'result'"),
        (
            lambda tasks: tasks[0]["annotations"][0]["result"][0].pop("value"),
            "a result lacks 'value'",
        ),
    ],
)
def test_a_malformed_export_is_refused_with_the_field(
    log: FeedbackStore, tmp_path: Path, change: Callable[[list[Any]], None], said: str
) -> None:
    path = changed_export(tmp_path, change)
    with pytest.raises(FeedbackError) as caught:
        import_log(log, path, form="label-studio")
    assert said in str(caught.value)
    assert (log.last_sequence(), log.quarantine()) == (0, [])


def test_a_missing_field_of_every_event_is_named_with_what_is_left(
    log: FeedbackStore, tmp_path: Path
) -> None:
    def rename(tasks: list[Any]) -> None:
        for task in tasks:
            task["data"]["model"] = task["data"].pop("generator_base")

    path = changed_export(tmp_path, rename)
    with pytest.raises(FeedbackError) as caught:
        import_log(log, path)
    assert "no record gives generator.base" in str(caught.value)
    assert "data.model" in str(caught.value)
    assert import_log(log, path, settings=["generator.base=radgen-7b"]).accepted == 2


def test_our_tasks_fit_our_labelling_configuration(make_event: Callable[..., Event]) -> None:
    """Every control that a pre-annotation answers is in the configuration, with its choices."""
    view = ElementTree.fromstring(labelling_config())
    controls = {each.get("name"): each for each in view.iter() if each.get("toName")}
    labels = [each.get("value") for each in controls["errors"].iter("Label")]
    assert labels == list(CATEGORIES)
    task = label_studio_task(make_event(edit_type="correction"), with_answer=True)
    results = task["predictions"][0]["result"]
    assert {each["from_name"] for each in results} == {
        "grade", "errors", "severity", "edited", "edit_type",
    }  # fmt: skip
    for each in results:
        assert each["type"] == controls[each["from_name"]].tag.lower()
    shown = {each.get("value") for each in view.iter("Text")}
    assert shown == {"$prompt", "$completion"}
    assert {"prompt", "completion"} <= task["data"].keys()
    assert "predictions" not in label_studio_task(make_event(), with_answer=False)
