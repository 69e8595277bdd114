"""Argilla exports, recorded with the real SDK; and the dataset that we write for it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from negalign_train.feedback.exporters.argilla import argilla_record, argilla_settings
from negalign_train.feedback.schema import parse_event
from negalign_train.feedback.store import FeedbackStore
from negalign_train.vocabulary.errors import FeedbackError
from negalign_train.vocabulary.records import CATEGORIES, Event
from tests.feedback.importers.test_label_studio import MESSAGES, RECORDED, REPORT
from tests.feedback.importing import exports_of, import_log
from tests.feedback.test_store import counts

GIVEN = "created_at=2026-11-02T09:14:00Z"
READER = "11111111-1111-4111-8111-111111111111"


def by_hand() -> Event:
    return parse_event(
        {
            "schema": "negalign.feedback/1",
            "event_id": f"argilla-a-{READER}",
            "revision": 1,
            "case_id": "case-1",
            "study_id": "st-1",
            "patient_id": "p-1",
            "created_at": "2026-11-02T09:14:00Z",
            "prompt": "Indication: cough. Comparison: none.",
            "completion": REPORT,
            "generator": {"base": "radgen-7b", "adapter": "c0003"},
            "grade": "partial",
            "errors": [{"category": "wrong_location", "span": [16, 20]}],
            "edited": REPORT.replace("left", "right"),
            "edit_type": "correction",
            "reader": {"id": READER},
            "source": {"system": "argilla", "ref": "record a"},
        }
    )


def test_a_flat_record_is_the_event_typed_by_hand(log: FeedbackStore) -> None:
    """Of its two answers one was discarded; a draft and an unanswered record follow."""
    report = import_log(log, RECORDED / "argilla_flat.json", settings=[GIVEN])
    assert counts(report) == (5, 2, 0, 3, 0)
    assert dict(report.reasons) == {"not_submitted": 2, "not_graded": 1}
    first, second = (event for _, event in log.events())
    assert first == by_hand()
    assert (second.grade, second.prompt) == ("accept", tuple(MESSAGES))


def test_the_nested_form_is_refused_until_somebody_says_that_all_was_submitted(
    log: FeedbackStore,
) -> None:
    path = RECORDED / "argilla_nested.json"
    with pytest.raises(FeedbackError, match="does not say whether an answer was submitted"):
        import_log(log, path, settings=[GIVEN])
    assert log.last_sequence() == 0
    report = import_log(log, path, settings=[GIVEN, "assume_submitted=true"])
    assert (report.accepted, dict(report.reasons)) == (4, {"not_graded": 1})
    assert log.events()[0][1] == by_hand()


def test_answers_as_the_server_gives_them_are_read_by_their_status(
    log: FeedbackStore, tmp_path: Path
) -> None:
    record = {
        "id": "a",
        "fields": {"prompt": "Indication: cough.", "completion": REPORT},
        "metadata": {"case_id": "case-1", "generator_base": "radgen-7b"},
        "responses": [
            {"user_id": "u1", "status": "submitted", "values": {"grade": {"value": "accept"}}},
            {"user_id": "u2", "status": "discarded", "values": {"grade": {"value": "reject"}}},
        ],
    }
    path = tmp_path / "records.jsonl"
    path.write_text(json.dumps(record) + "\n")
    report = import_log(log, path, settings=[GIVEN])
    assert (report.accepted, dict(report.reasons)) == (1, {"not_submitted": 1})
    assert log.events()[0][1].reader.id == "u1"


def test_an_export_without_times_asks_for_one() -> None:
    (export,) = exports_of(RECORDED / "argilla_flat.json")
    with pytest.raises(FeedbackError, match=r"no record gives created_at.*--set created_at=VALUE"):
        export.survey()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda record: record.pop("responses"), "a record lacks 'responses'"),
        (lambda record: record.update(responses="none"), "'responses' must be an object or a list"),
        (
            lambda record: record["responses"].update(grade={"value": "accept"}),
            "must hold a list for each question",
        ),
    ],
)
def test_a_malformed_export_is_refused_with_the_field(
    log: FeedbackStore, tmp_path: Path, change: Callable[[dict[str, Any]], None], said: str
) -> None:
    records = json.loads((RECORDED / "argilla_nested.json").read_text(encoding="utf-8"))
    change(records[1])
    path = tmp_path / "changed.json"
    path.write_text(json.dumps(records), encoding="utf-8")
    with pytest.raises(FeedbackError, match="record 2: ") as caught:
        import_log(log, path, settings=[GIVEN, "assume_submitted=true"])
    assert said in str(caught.value)
    assert log.last_sequence() == 0


def test_our_dataset_s_folder_is_read_back_as_the_same_reports(
    log: FeedbackStore, tmp_path: Path, make_event: Callable[..., Event]
) -> None:
    event = make_event(prompt=tuple(MESSAGES))
    record = argilla_record(event, with_answer=True)
    answers = {
        name: [{"value": each["value"], "user_id": "u1"}]
        for name, each in record["suggestions"].items()
    }
    (tmp_path / "records.json").write_text(json.dumps([record | {"responses": answers}]))
    settings = [GIVEN, "assume_submitted=true"]
    assert import_log(log, tmp_path, settings=settings).accepted == 1
    back = log.events()[0][1]
    assert (back.prompt, back.completion, back.generator, back.case_id) == (
        event.prompt, event.completion, event.generator, event.case_id,
    )  # fmt: skip
    assert (back.grade, back.edited) == (event.grade, event.edited)
    assert [(m.category, m.span) for m in back.errors] == [("wrong_location", (10, 37))]


def test_our_questions_offer_what_the_suggestions_say(make_event: Callable[..., Event]) -> None:
    questions = {each["name"]: each["settings"] for each in argilla_settings()["questions"]}
    record = argilla_record(make_event(edit_type="addition"), with_answer=True)
    assert record["suggestions"].keys() == questions.keys()
    assert [each["value"] for each in questions["errors"]["options"]] == list(CATEGORIES)
    for name in ("grade", "edit_type"):
        offered = [each["value"] for each in questions[name]["options"]]
        assert record["suggestions"][name]["value"] in offered
    assert argilla_record(make_event(), with_answer=False)["suggestions"] == {}
