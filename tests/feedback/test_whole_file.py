"""What only the whole file shows, and what a quarantine does over several imports."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event as sqlalchemy_event

from negalign_train.feedback.store import FeedbackStore
from negalign_train.storage.database import open_database
from negalign_train.vocabulary.errors import FeedbackError
from tests.feedback.importing import exports_of, import_log
from tests.feedback.test_store import counts, write_lines

EventDict = Callable[..., dict[str, Any]]


def marked(event_dict: EventDict, *severities: float | None, **more: Any) -> dict[str, Any]:
    errors = [{"category": "wrong_location", "severity": value} for value in severities]
    return event_dict(errors=errors, **more)


@pytest.mark.parametrize("last", [2, 4])
def test_severities_of_another_scale_are_refused_before_the_mildest_counts_as_the_worst(
    log: FeedbackStore, tmp_path: Path, event_dict: EventDict, last: int
) -> None:
    values = [marked(event_dict, n % last + 1, event_id=f"e-{n}") for n in range(8)]
    path = write_lines(tmp_path / "a.jsonl", values)
    with pytest.raises(FeedbackError, match=rf"--set severity_scale=0-{last} if {last} is the wor"):
        import_log(log, path)
    assert (log.last_sequence(), log.quarantine()) == (0, [])


def test_a_declared_scale_is_read_as_severities_from_0_to_1(
    log: FeedbackStore, tmp_path: Path, event_dict: EventDict
) -> None:
    values = [marked(event_dict, n, event_id=f"e-{n}") for n in (1, 2, 4)]
    path = write_lines(tmp_path / "a.jsonl", values)
    assert import_log(log, path, settings=["severity_scale=0-4"]).accepted == 3
    assert [e.errors[0].severity for _, e in log.events()] == [0.25, 0.5, 1.0]
    path = write_lines(tmp_path / "b.jsonl", [marked(event_dict, 9, event_id="best-is-10")])
    assert import_log(log, path, settings=["severity_scale=10-0"]).accepted == 1
    assert log.events()[-1][1].errors[0].severity == pytest.approx(0.1)


def test_one_severity_beyond_1_among_fractions_is_a_typing_error_of_its_line(
    log: FeedbackStore, tmp_path: Path, event_dict: EventDict
) -> None:
    values = [marked(event_dict, 0.5, event_id=f"e-{n}") for n in range(9)]
    path = write_lines(tmp_path / "a.jsonl", [*values, marked(event_dict, 5, event_id="typo")])
    assert dict(import_log(log, path).reasons) == {"severity_out_of_range": 1}


def test_text_that_speaks_of_severity_is_no_severity(
    log: FeedbackStore, tmp_path: Path, event_dict: EventDict
) -> None:
    value = marked(event_dict, 0.5, prompt='{"severity": 7} is what the form says')
    path = write_lines(tmp_path / "a.jsonl", [value])
    assert import_log(log, path).accepted == 1


def spanned(event_dict: EventDict, *span: int, **more: Any) -> dict[str, Any]:
    errors = [{"category": "wrong_location", "severity": 0.5, "span": list(span)}]
    return event_dict(errors=errors, **more)


def test_spans_that_count_words_are_refused_and_read_where_that_is_said(
    log: FeedbackStore, tmp_path: Path, event_dict: EventDict
) -> None:
    """The completion is "Findings: Small left pleural effusion. The heart ..."."""
    values = [
        spanned(event_dict, 1, 5, event_id="e-1"),
        spanned(event_dict, 2, 3, event_id="e-2"),
        spanned(event_dict, 6, 6, event_id="e-3"),
    ]
    path = write_lines(tmp_path / "a.jsonl", values)
    with pytest.raises(FeedbackError, match=r"fit if they count words.*--set spans=words"):
        import_log(log, path)
    assert import_log(log, path, settings=["spans=words"]).accepted == 3
    text = log.events()[0][1].completion
    spans = [event.errors[0].span or (0, 0) for _, event in log.events()]
    assert [text[start:end] for start, end in spans] == ["Small left pleural effusion.", "left", ""]
    assert spans[2] == (text.index("heart"), text.index("heart"))


def test_spans_of_characters_are_taken_as_such_where_that_is_said(
    log: FeedbackStore, tmp_path: Path, event_dict: EventDict
) -> None:
    path = write_lines(tmp_path / "a.jsonl", [spanned(event_dict, 2, 5)])
    assert import_log(log, path, settings=["spans=characters"]).accepted == 1
    assert log.events()[0][1].errors[0].span == (2, 5)


def test_the_product_s_own_words_and_numbers_are_read(
    log: FeedbackStore, tmp_path: Path, event_dict: EventDict
) -> None:
    loose = event_dict(
        event_id=8812, case_id=1042, patient_id=7, revision=1.0, grade="Accepted",
        errors=[], edited=None, reader={"id": 3, "role": None, "lead_time": 12.5},
    )  # fmt: skip
    by_id = marked(event_dict, 0.5, event_id="e-2")
    by_id["errors"][0]["category"] = "R7"
    by_name = marked(event_dict, 0.5, event_id="e-3", lead_time=4)
    by_name["errors"][0]["category"] = "R2: False negative"
    by_name["reader"] = {"id": "r-1"}
    thumb = event_dict(event_id="e-4", grade=False, errors=[], edited=None)
    path = write_lines(tmp_path / "a.jsonl", [loose, by_id, by_name, thumb])
    assert counts(import_log(log, path)) == (4, 4, 0, 0, 0)
    first, second, third, fourth = (event for _, event in log.events())
    assert (first.event_id, first.case_id, first.patient_id) == ("8812", "1042", "7")
    assert (first.grade, first.reader.id, first.reader.role) == ("accept", "3", "radiologist")
    assert (first.reader.seconds, third.reader.seconds) == (12.5, 4)
    assert second.errors[0].category == "device_error"
    assert third.errors[0].category == "false_negative"
    assert fourth.grade == "reject"


def test_a_mended_log_empties_the_quarantine(
    log: FeedbackStore, tmp_path: Path, event_dict: EventDict
) -> None:
    bad, worse = event_dict(event_id="e-1", grade="?"), event_dict(event_id="e-2", turn=0)
    path = write_lines(tmp_path / "a.jsonl", [worse, bad, "{broken"])
    assert counts(import_log(log, path)) == (3, 0, 0, 3, 0)
    write_lines(path, [worse, event_dict(event_id="e-1")])
    report = import_log(log, path)
    assert (report.accepted, report.quarantined, report.released) == (1, 1, 2)
    assert [line.reason for line in log.quarantine()] == ["bad_number"]
    resolved = {line.reason: line.resolution for line in log.quarantine(resolved_too=True)}
    assert resolved["unknown_grade"] == "mended"
    assert resolved["not_json"] == "gone"


def test_a_mended_event_leaves_the_quarantine_whatever_file_it_comes_in(
    log: FeedbackStore, tmp_path: Path, event_dict: EventDict
) -> None:
    import_log(log, write_lines(tmp_path / "a.jsonl", [event_dict(grade="?"), "{broken"]))
    report = import_log(log, write_lines(tmp_path / "mended.jsonl", [event_dict()]))
    assert report.released == 1
    assert [line.reason for line in log.quarantine()] == ["not_json"]


def test_a_mended_line_appended_to_its_log_does_not_come_back_to_quarantine(
    log: FeedbackStore, tmp_path: Path, event_dict: EventDict
) -> None:
    path = write_lines(tmp_path / "a.jsonl", [event_dict(grade="?")])
    import_log(log, path)
    assert len(log.quarantine()) == 1
    write_lines(path, [event_dict(grade="?"), event_dict()])
    for _ in range(2):
        import_log(log, path)
        assert log.quarantine() == []


def test_a_line_that_comes_back_is_in_quarantine_again(
    log: FeedbackStore, tmp_path: Path, event_dict: EventDict
) -> None:
    path = write_lines(tmp_path / "a.jsonl", ["{broken", event_dict()])
    import_log(log, path)
    write_lines(path, [event_dict()])
    import_log(log, path)
    assert log.quarantine() == []
    write_lines(path, ["{broken", event_dict()])
    import_log(log, path)
    assert [line.reason for line in log.quarantine()] == ["not_json"]


def test_an_import_that_dies_releases_nothing(
    log: FeedbackStore, tmp_path: Path, event_dict: EventDict
) -> None:
    path = write_lines(tmp_path / "a.jsonl", ["{broken"])
    import_log(log, path)

    def dying() -> Any:
        yield from ()
        raise FeedbackError("the disk is gone")

    with pytest.raises(FeedbackError, match="the disk is gone"):
        list(log.import_entries(dying(), "x", [str(path.resolve())]))
    assert len(log.quarantine()) == 1


@pytest.mark.parametrize(
    "other",
    [
        {"reader": {"id": "r-99"}},
        {"source": {"system": "another-site", "ref": "task 8812"}},
    ],
)
def test_nobody_else_revises_an_event(
    log: FeedbackStore, tmp_path: Path, event_dict: EventDict, other: dict[str, Any]
) -> None:
    import_log(log, write_lines(tmp_path / "a.jsonl", [event_dict()]))
    stolen = [event_dict(revision=9, **other), event_dict(**other)]
    report = import_log(log, write_lines(tmp_path / "b.jsonl", stolen))
    assert dict(report.reasons) == {"event_of_another": 2}
    assert "higher revision" not in log.quarantine()[0].message
    assert [(e.revision, e.reader.id) for _, e in log.events()] == [(1, "r-03")]


def test_an_import_asks_the_database_as_often_however_long_the_log_is(
    tmp_path: Path, event_dict: EventDict
) -> None:
    """A statement more for each event, or one whose cost grows with the log, would be quadratic."""
    engine = open_database(f"sqlite:///{tmp_path / 'n.db'}")
    log = FeedbackStore(engine)
    statements: list[str] = []
    sqlalchemy_event.listen(
        engine, "before_cursor_execute", lambda *a: statements.append(a[2].split("(")[0])
    )
    asked = []
    for part in range(3):
        values = [event_dict(event_id=f"e-{part}-{n}") for n in range(1000)]
        path = write_lines(tmp_path / f"{part}.jsonl", values)
        statements.clear()
        assert import_log(log, path).accepted == 1000
        asked.append(len(statements))
    assert asked[0] == asked[1] == asked[2] < 20
    with engine.connect() as connection:
        plan = connection.exec_driver_sql(
            "EXPLAIN QUERY PLAN SELECT sequence FROM events WHERE reader_id = 'x' LIMIT 1"
        ).fetchall()
    assert "USING" in plan[0][3]
    assert "INDEX events_reader" in plan[0][3]


def test_a_batch_ends_by_bytes_where_events_hold_thousands_of_marks(
    log: FeedbackStore, tmp_path: Path, event_dict: EventDict
) -> None:
    """Lines of 650 kB: four reach the bound of 2 MiB. A batch of a fixed number of such lines once
    took 1.8 GB.
    """
    marks = [{"category": "wrong_location"}] * 20_000
    values = [event_dict(event_id=f"e-{number}", errors=marks) for number in range(8)]
    (export,) = exports_of(write_lines(tmp_path / "many.jsonl", values))
    parts = log.import_entries(export.entries(), export.name, export.origins)
    assert [part.accepted for part in parts] == [4, 4, 0]
