"""The log: idempotent, append-only, nothing counted twice."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from negalign_train.feedback.entries import ImportReport
from negalign_train.feedback.quarantine import QuarantinedLine
from negalign_train.feedback.store import FeedbackStore
from negalign_train.vocabulary.errors import FeedbackError
from negalign_train.vocabulary.records import Event, Reader
from tests.feedback.importing import import_log

EventDict = Callable[..., dict[str, Any]]
MakeEvent = Callable[..., Event]


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
    report = import_log(log, write_lines(tmp_path / "a.jsonl", [event_dict()]))
    assert counts(report) == (1, 1, 0, 0, 0)
    assert report.new_readers == ("r-03",)
    assert log.events() == [(1, make_event())]


def test_importing_twice_adds_nothing(
    log: FeedbackStore, tmp_path: Path, event_dict: EventDict
) -> None:
    path = write_lines(tmp_path / "a.jsonl", [event_dict(), "{broken", event_dict(grade="?")])
    first = import_log(log, path)
    before = (log.events(), log.quarantine(), log.last_sequence())
    second = import_log(log, path)
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
    report = import_log(log, path)
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


def test_one_revision_with_two_contents_is_a_conflict_and_the_first_stays(
    log: FeedbackStore, tmp_path: Path, event_dict: EventDict
) -> None:
    first, other = event_dict(), event_dict(case_id="another")
    path = write_lines(tmp_path / "a.jsonl", [first, first, other])  # within one batch
    assert counts(import_log(log, path)) == (3, 1, 1, 1, 0)
    later = write_lines(tmp_path / "b.jsonl", [other])  # against the log
    report = import_log(log, later)
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
    assert counts(import_log(log, empty)) == (0, 0, 0, 0, 0)


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
    import_log(copy, path)
    assert copy.events() == log.events()
    assert copy.last_sequence() == 3
    assert log.export_jsonl(path, newest_only=True) == 2


def test_an_export_that_cannot_be_written_says_so(log: FeedbackStore, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FeedbackError, match="Choose another path"):
        log.export_jsonl(tmp_path / "file" / "out.jsonl")


def test_new_readers_are_those_without_events_before(
    log: FeedbackStore, tmp_path: Path, make_event: MakeEvent, event_dict: EventDict
) -> None:
    log.append([make_event()], source="test")
    readers = ["r-9", "r-03", "r-7", "r-9"]
    values = [event_dict(event_id=f"e-{i}", reader={"id": name}) for i, name in enumerate(readers)]
    report = import_log(log, write_lines(tmp_path / "a.jsonl", values))
    assert report.new_readers == ("r-9", "r-7")


def test_readers_of_the_log_keep_their_details(log: FeedbackStore, make_event: MakeEvent) -> None:
    reader = Reader("r-é", "resident", None, saw_ai=False)
    log.append([make_event(reader=reader)], source="test")
    assert log.events()[0][1].reader == reader
