"""Prodigy's JSON Lines. The fixture is ours, in its documented shape: the program is not free."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from negalign_train.feedback.schema import parse_event
from negalign_train.feedback.store import FeedbackStore
from negalign_train.vocabulary.errors import FeedbackError
from tests.feedback.importing import exports_of, import_log
from tests.feedback.test_store import counts, write_lines

TASK: dict[str, Any] = {
    "text": "Small left effusion.",
    "spans": [{"start": 6, "end": 10, "token_start": 1, "token_end": 1, "label": "wrong location"}],
    "meta": {"case_id": "c-1", "prompt": "Indication: cough.", "generator_base": "radgen-7b"},
    "answer": "accept",
    "_input_hash": -1886565563,
    "_task_hash": 1421234,
    "_annotator_id": "db-alex",
    "_session_id": "db-alex",
    "_timestamp": 1793610840,
    "_view_id": "ner_manual",
}


def test_a_task_with_spans_is_the_event_typed_by_hand(log: FeedbackStore, tmp_path: Path) -> None:
    path = write_lines(tmp_path / "db.jsonl", [TASK])
    assert counts(import_log(log, path)) == (1, 1, 0, 0, 0)
    assert log.events()[0][1] == parse_event(
        {
            "schema": "negalign.feedback/1",
            "event_id": "prodigy-1421234-db-alex",
            "revision": 1,
            "case_id": "c-1",
            "created_at": "2026-11-02T09:14:00+00:00",
            "prompt": "Indication: cough.",
            "completion": "Small left effusion.",
            "generator": {"base": "radgen-7b"},
            "grade": "partial",
            "errors": [{"category": "wrong_location", "span": [6, 10]}],
            "reader": {"id": "db-alex"},
            "source": {"system": "prodigy", "ref": "task 1421234"},
        }
    )
    (export,) = exports_of(path)
    assert dict(export.survey().unmapped) == {}


@pytest.mark.parametrize(
    ("more", "grade"),
    [
        ({"spans": []}, "accept"),
        ({"spans": [], "answer": "reject"}, "reject"),
        ({"answer": "reject"}, "reject"),
        ({"spans": [], "accept": ["Partially accepted"]}, "partial"),
    ],
)
def test_the_answer_is_the_grade(
    log: FeedbackStore, tmp_path: Path, more: dict[str, Any], grade: str
) -> None:
    import_log(log, write_lines(tmp_path / "db.jsonl", [TASK | more]))
    assert log.events()[0][1].grade == grade


def test_an_ignored_task_is_no_answer(log: FeedbackStore, tmp_path: Path) -> None:
    path = write_lines(tmp_path / "db.jsonl", [TASK, TASK | {"answer": "ignore"}])
    report = import_log(log, path)
    assert (report.accepted, dict(report.reasons)) == (1, {"not_submitted": 1})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"answer": "maybe"}, "'answer' must be accept, reject or ignore"),
        ({"answer": None}, "'answer' must be of type str"),
        ({"text": 5}, "'text' must be of type str"),
        ({"spans": "none"}, "'spans' must be a list"),
    ],
)
def test_a_malformed_export_is_refused_with_the_field(
    log: FeedbackStore, tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    path = write_lines(tmp_path / "db.jsonl", [TASK, TASK | change])
    with pytest.raises(FeedbackError, match="record 2: ") as caught:
        import_log(log, path)
    assert said in str(caught.value)
