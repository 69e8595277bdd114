"""The log: idempotent, append-only, nothing lost, nothing counted twice."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import random
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from sqlalchemy import text

from negalign_train.database import open_database
from negalign_train.errors import FeedbackError
from negalign_train.feedback.batch import ImportReport, write_plan
from negalign_train.feedback.lines import MAX_LINE_BYTES
from negalign_train.feedback.store import FeedbackStore, QuarantinedLine
from negalign_train.records import Event, Reader

EventDict = Callable[..., dict[str, Any]]
MakeEvent = Callable[..., Event]


@pytest.fixture
def log(database_url: str, now: datetime) -> FeedbackStore:
    return FeedbackStore(database_url, clock=lambda: now)


def write_lines(path: Path, values: list[Any], end: str = "\n") -> Path:
    lines = [value if isinstance(value, str) else json.dumps(value) for value in values]
    path.write_text("\n".join(lines) + end, encoding="utf-8")
    return path


def counts(report: ImportReport) -> tuple[int, int, int, int, int]:
    assert report.read == (
        report.accepted + report.duplicate + report.quarantined + report.incomplete
    )
    return (
        report.read,
        report.accepted,
        report.duplicate,
        report.quarantined,
        report.incomplete,
    )


def test_an_imported_event_comes_back_equal(
    log: FeedbackStore, tmp_path: Path, event_dict: EventDict, make_event: MakeEvent
) -> None:
    report = log.import_jsonl(write_lines(tmp_path / "a.jsonl", [event_dict()]))
    assert counts(report) == (1, 1, 0, 0, 0)
    assert report.new_readers == ("r-03",)
    assert log.events() == [(1, make_event())]


def test_importing_twice_adds_nothing(
    log: FeedbackStore, tmp_path: Path, event_dict: EventDict
) -> None:
    path = write_lines(tmp_path / "a.jsonl", [event_dict(), "{broken", event_dict(grade="?")])
    first = log.import_jsonl(path)
    before = (log.events(), log.quarantine(), log.last_sequence())
    second = log.import_jsonl(path)
    assert counts(first) == (3, 1, 0, 2, 0)
    assert counts(second) == (3, 0, 1, 2, 0)
    assert (first.newly_quarantined, second.newly_quarantined) == (2, 0)
    assert (first.new_readers, second.new_readers) == (("r-03",), ())
    assert (log.events(), log.quarantine(), log.last_sequence()) == before


def test_a_quarantined_line_keeps_place_reason_and_hash_but_no_text(
    log: FeedbackStore, tmp_path: Path, event_dict: EventDict
) -> None:
    good = json.dumps(event_dict())
    bad = json.dumps(event_dict(event_id="ls-2", grade="declined"))
    path = write_lines(tmp_path / "a.jsonl", [good, "", bad])
    report = log.import_jsonl(path)
    assert dict(report.reasons) == {"unknown_grade": 1}
    assert log.quarantine() == [
        QuarantinedLine(
            origin=str(path.resolve()),
            line_number=3,
            byte_offset=len(good) + 2,
            reason="unknown_grade",
            raw_sha256=hashlib.sha256(bad.encode()).hexdigest(),
            message="grade must be one of accept, partial, reject, not 'declined'",
        )
    ]


def test_a_torn_last_line_is_incomplete_and_read_again_when_whole(
    log: FeedbackStore, tmp_path: Path, event_dict: EventDict
) -> None:
    path = tmp_path / "a.jsonl"
    whole = json.dumps(event_dict(completion="Findings: Größe normal."), ensure_ascii=False)
    whole = whole.replace("[10, 37]", "[10, 13]")
    raw = whole.encode()
    for cut in (raw[:-1], raw[:20], raw[: raw.index("ö".encode()) + 1]):  # in the character ö
        path.write_bytes(cut)
        assert counts(log.import_jsonl(path)) == (1, 0, 0, 0, 1)
    path.write_bytes(raw)  # a whole object needs no newline
    assert counts(log.import_jsonl(path)) == (1, 1, 0, 0, 0)
    path.write_bytes(raw + b"\n")
    assert counts(log.import_jsonl(path)) == (1, 0, 1, 0, 0)
    assert log.quarantine() == []


def test_a_bad_last_line_without_newline_is_quarantined_once(
    log: FeedbackStore, tmp_path: Path, event_dict: EventDict
) -> None:
    path = write_lines(tmp_path / "a.jsonl", [event_dict(grade="?")], end="")
    assert counts(log.import_jsonl(path)) == (1, 0, 0, 1, 0)
    write_lines(path, [event_dict(grade="?")], end="\n")
    assert counts(log.import_jsonl(path)) == (1, 0, 0, 1, 0)
    assert len(log.quarantine()) == 1


def test_one_revision_with_two_contents_is_a_conflict_and_the_first_stays(
    log: FeedbackStore, tmp_path: Path, event_dict: EventDict
) -> None:
    first, other = event_dict(), event_dict(case_id="another")
    path = write_lines(tmp_path / "a.jsonl", [first, first, other])  # within one batch
    assert counts(log.import_jsonl(path)) == (3, 1, 1, 1, 0)
    later = write_lines(tmp_path / "b.jsonl", [other])  # against the log
    report = log.import_jsonl(later)
    assert dict(report.reasons) == {"revision_conflict": 1}
    assert [event.case_id for _, event in log.events()] == ["openi-1042"]
    assert len(log.quarantine()) == 2


def test_the_newest_revision_counts_under_its_own_sequence(
    log: FeedbackStore, make_event: MakeEvent
) -> None:
    """Revision 3 arrives before revision 2: it keeps its place, and 2 changes nothing."""
    other = make_event(event_id="ls-9")
    for event in (make_event(), make_event(revision=3, case_id="newer"), other):
        log.append([event], source="test")
    assert [s for s, _ in log.events(after_sequence=1)] == [2, 3]
    log.append([make_event(revision=2, case_id="late")], source="test")
    assert [(s, e.revision, e.case_id) for s, e in log.events()] == [
        (2, 3, "newer"),
        (3, 1, "openi-1042"),
    ]
    assert [s for s, _ in log.events(after_sequence=2)] == [3]
    assert log.events(after_sequence=3) == []
    assert log.last_sequence() == 4


def test_an_empty_log_has_no_events_and_sequence_zero(log: FeedbackStore, tmp_path: Path) -> None:
    assert (log.events(), log.last_sequence(), log.quarantine()) == ([], 0, [])
    empty = tmp_path / "empty.jsonl"
    empty.write_text("\n  \n")
    assert counts(log.import_jsonl(empty)) == (0, 0, 0, 0, 0)


def test_append_is_all_or_nothing_and_names_the_event(
    log: FeedbackStore, make_event: MakeEvent
) -> None:
    good, bad = make_event(event_id="a"), make_event(event_id="b", grade="accept", errors=())
    with pytest.raises(FeedbackError, match="event b: grade_contradicts_severities"):
        log.append([good, replace(bad, edited="other")], source="test")
    assert log.last_sequence() == 0
    log.append([good], source="test")
    with pytest.raises(FeedbackError, match="revision 1 of event a is in the log"):
        log.append([make_event(event_id="c"), replace(good, case_id="x")], source="test")
    assert [event.event_id for _, event in log.events()] == ["a"]
    assert counts(log.append([good], source="test")) == (1, 0, 1, 0, 0)


def test_scorer_severities_do_not_enter_the_log(log: FeedbackStore, make_event: MakeEvent) -> None:
    unscored = make_event(grade="reject", errors=())
    scored = replace(unscored, severities=make_event().severities, severity_source="scorer")
    log.append([scored], source="test")
    assert log.events() == [(1, unscored)]


def test_an_exported_log_imports_to_the_same_log(
    log: FeedbackStore, tmp_path: Path, make_event: MakeEvent
) -> None:
    events = [
        make_event(),
        make_event(event_id="b", prompt=({"role": "user", "content": "Größe?"},)),
        make_event(revision=2, case_id="corrected"),
    ]
    log.append(events, source="test")
    path = tmp_path / "out.jsonl"
    assert log.export_jsonl(path) == 3
    copy = FeedbackStore(f"sqlite:///{tmp_path / 'copy.db'}")
    copy.import_jsonl(path)
    assert copy.events() == log.events()
    assert copy.last_sequence() == 3
    assert log.export_jsonl(path, newest_only=True) == 2


def test_an_export_that_cannot_be_written_says_so(log: FeedbackStore, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FeedbackError, match="Choose another path"):
        log.export_jsonl(tmp_path / "file" / "out.jsonl")


def test_ten_thousand_lines_with_five_hundred_bad_ones_balance(
    tmp_path: Path, event_dict: EventDict
) -> None:
    """Reference A5, T3: every bad line under its own code, at its own offset."""
    rng = random.Random(3)
    makers: list[tuple[str, Callable[[], bytes]]] = [
        ("not_json", lambda: b'{"schema": '),
        ("not_json", lambda: b'{"a": NaN}'),
        ("not_json", lambda: b'{"a": "\x00"}'),
        ("not_utf8", lambda: b"\xff\xfe{}"),
        ("duplicate_key", lambda: b'{"a": 1, "a": 1}'),
        ("not_object", lambda: b"[]"),
        ("unknown_schema", lambda: json.dumps(event_dict(schema="x/1")).encode()),
        ("bad_type", lambda: json.dumps(event_dict(turn="one")).encode()),
        ("unknown_category", lambda: json.dumps(event_dict(errors=[bad_mark])).encode()),
        ("missing_key", lambda: json.dumps({"schema": "negalign.feedback/1"}).encode()),
    ]
    bad_mark = {"category": "typo", "severity": 0.1}
    bad = set(rng.sample(range(10_000), 500))
    expected, offset = [], 0
    path = tmp_path / "big.jsonl"
    with path.open("wb") as stream:
        for number in range(10_000):
            if number in bad:
                code, make = makers[number % len(makers)]
                line = make()
                expected.append((number + 1, offset, code))
            else:
                line = json.dumps(event_dict(event_id=f"e-{number}")).encode()
            offset += stream.write(line + b"\n")
    log = FeedbackStore(f"sqlite:///{tmp_path / 'negalign.db'}")
    assert counts(log.import_jsonl(path)) == (10_000, 9_500, 0, 500, 0)
    found = [(line.line_number, line.byte_offset, line.reason) for line in log.quarantine()]
    assert found == expected


def test_a_huge_line_is_quarantined_without_being_held_in_memory(
    tmp_path: Path, event_dict: EventDict
) -> None:
    path = tmp_path / "huge.jsonl"
    with path.open("wb") as stream:
        stream.write(b'{"a": "')
        for _ in range(50):
            stream.write(b"x" * (1 << 20))
        stream.write(b'"}\n')
        stream.write(json.dumps(event_dict()).encode() + b"\n")
    log = FeedbackStore(f"sqlite:///{tmp_path / 'negalign.db'}")
    tracemalloc.start()
    report = log.import_jsonl(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert dict(report.reasons) == {"line_too_long": 1}
    assert report.accepted == 1
    assert peak < 8 * MAX_LINE_BYTES


def test_a_byte_order_mark_and_windows_line_ends_are_read(
    log: FeedbackStore, tmp_path: Path, event_dict: EventDict
) -> None:
    path = tmp_path / "windows.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(event_dict()).encode() + b"\r\n\r\n")
    assert counts(log.import_jsonl(path)) == (1, 1, 0, 0, 0)


def test_a_missing_file_is_an_error_with_its_path(log: FeedbackStore, tmp_path: Path) -> None:
    with pytest.raises(FeedbackError, match=r"nowhere\.jsonl: cannot be read"):
        log.import_jsonl(tmp_path / "nowhere.jsonl")


def test_new_readers_are_those_without_events_before(
    log: FeedbackStore, tmp_path: Path, make_event: MakeEvent, event_dict: EventDict
) -> None:
    log.append([make_event()], source="test")
    readers = ["r-9", "r-03", "r-7", "r-9"]
    values = [event_dict(event_id=f"e-{i}", reader={"id": name}) for i, name in enumerate(readers)]
    report = log.import_jsonl(write_lines(tmp_path / "a.jsonl", values))
    assert report.new_readers == ("r-9", "r-7")


def test_a_full_disk_keeps_whole_batches_and_the_next_import_completes(
    tmp_path: Path, event_dict: EventDict, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The third batch of 200 lines meets a full disk: 400 events stay, none is half there."""
    values = [event_dict(event_id=f"e-{number}") for number in range(600)]
    path = write_lines(tmp_path / "a.jsonl", values)
    engine = open_database(f"sqlite:///{tmp_path / 'negalign.db'}")
    log = FeedbackStore(engine)
    calls = []

    def on_a_full_disk(connection: Any, *arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            pages = connection.execute(text("PRAGMA page_count")).scalar_one()
            connection.execute(text(f"PRAGMA max_page_count = {pages}"))
        return write_plan(connection, *arguments)

    monkeypatch.setattr("negalign_train.feedback.store.write_plan", on_a_full_disk)
    with pytest.raises(FeedbackError, match=r"disk is full.*run the same command again"):
        log.import_jsonl(path)
    assert len(log.events()) == 400
    assert counts(log.import_jsonl(path)) == (600, 200, 400, 0, 0)


def test_a_read_only_database_is_a_feedback_error(tmp_path: Path, make_event: MakeEvent) -> None:
    engine = open_database(f"sqlite:///{tmp_path / 'fixed.db'}")
    sqlalchemy.event.listen(engine, "connect", lambda raw, _: raw.execute("PRAGMA query_only=ON"))
    with pytest.raises(FeedbackError, match=r"readonly database.*check write permission"):
        FeedbackStore(engine).append([make_event()], source="test")


def _import_in_process(url: str, path: str, barrier: Any) -> None:
    log = FeedbackStore(url)
    barrier.wait()
    log.import_jsonl(Path(path))


def test_two_imports_racing_store_each_event_once(
    database_url: str, tmp_path: Path, event_dict: EventDict
) -> None:
    values: list[Any] = [event_dict(event_id=f"e-{number}") for number in range(900)]
    values[500] = "{broken"
    path = write_lines(tmp_path / "a.jsonl", values)
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(2)
    workers = [
        context.Process(target=_import_in_process, args=(database_url, str(path), barrier))
        for _ in range(2)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    log = FeedbackStore(database_url)
    assert len(log.events()) == 899
    assert len(log.quarantine()) == 1


def test_shuffled_and_overlapping_files_give_one_set_of_events(
    log: FeedbackStore, tmp_path: Path, event_dict: EventDict
) -> None:
    rng = random.Random(7)
    values = [event_dict(event_id=f"e-{number}") for number in range(50)]
    for number in range(4):
        part = rng.sample(values, 40)
        log.import_jsonl(write_lines(tmp_path / f"{number}.jsonl", part))
    log.import_jsonl(write_lines(tmp_path / "all.jsonl", values))
    assert sorted(event.event_id for _, event in log.events()) == sorted(
        value["event_id"] for value in values
    )
    assert log.last_sequence() == 50


def test_readers_of_the_log_keep_their_details(log: FeedbackStore, make_event: MakeEvent) -> None:
    reader = Reader("r-é", "resident", None, saw_ai=False)
    log.append([make_event(reader=reader)], source="test")
    assert log.events()[0][1].reader == reader
