"""Snapshots give back exactly the events, and severities whoever filled them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from negalign_train.feedback.snapshot import read_snapshot, write_snapshot
from negalign_train.vocabulary.errors import FeedbackError
from negalign_train.vocabulary.records import CATEGORIES, Event

MakeEvent = Callable[..., Event]


def test_a_snapshot_reads_back_equal(tmp_path: Path, make_event: MakeEvent) -> None:
    unscored = make_event(event_id="b", grade="reject", errors=())
    scored = replace(
        unscored,
        event_id="c",
        severities={name: 1 / (index + 3) for index, name in enumerate(CATEGORIES)},
        severity_source="scorer",
    )
    chat = make_event(event_id="d", prompt=({"role": "user", "content": "Cough."},), turn=2)
    rows = [(1, make_event()), (4, unscored), (5, scored), (2**40, chat)]
    write_snapshot(tmp_path / "snapshot.parquet", rows)
    assert read_snapshot(tmp_path / "snapshot.parquet") == rows


def test_its_columns_answer_questions_without_parsing_events(
    tmp_path: Path, make_event: MakeEvent
) -> None:
    unscored = make_event(event_id="b", grade="reject", errors=())
    write_snapshot(tmp_path / "s.parquet", [(7, make_event()), (8, unscored)])
    rows = pq.read_table(tmp_path / "s.parquet").to_pylist()
    for row in rows:
        del row["event"], row["severities"]
    assert rows == [
        {
            "sequence": 7,
            "event_id": "ls-8812",
            "revision": 1,
            "case_id": "openi-1042",
            "grade": "partial",
            "reader_id": "r-03",
            "total_severity": 0.5,
            "severity_source": "reader",
            "severity_judge": None,
        },
        {
            "sequence": 8,
            "event_id": "b",
            "revision": 1,
            "case_id": "openi-1042",
            "grade": "reject",
            "reader_id": "r-03",
            "total_severity": None,
            "severity_source": None,
            "severity_judge": None,
        },
    ]


def test_the_same_events_give_the_same_bytes(tmp_path: Path, make_event: MakeEvent) -> None:
    for name in ("a", "b"):
        write_snapshot(tmp_path / name, [(1, make_event())])
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_an_empty_snapshot_reads_back_empty(tmp_path: Path) -> None:
    write_snapshot(tmp_path / "s.parquet", [])
    assert read_snapshot(tmp_path / "s.parquet") == []


@pytest.mark.parametrize("content", [None, b"", b"PAR1 not parquet"])
def test_a_missing_or_damaged_snapshot_is_an_error_with_the_way_out(
    tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "s.parquet"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(FeedbackError, match="run the cycle again"):
        read_snapshot(path)
