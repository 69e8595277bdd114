"""RADPEER sheets: statistics of readers, never training data. The fixture is ours."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from negalign_train.feedback.peer_review import PeerStats
from negalign_train.feedback.store import FeedbackStore
from negalign_train.storage.database import open_database
from negalign_train.storage.workspace import Workspace
from negalign_train.vocabulary.errors import FeedbackError
from tests.feedback.importing import exports_of, import_log

Negalign = Callable[..., tuple[int, str, str]]
SHEET = (
    "Accession;Radiologist;Reviewer;RADPEER score;Date\n"
    "A1;r-1;r-2;1;2026-11-01\nA2;r-1;r-3;2b;2026-11-01\nA3;r-2;r-1;3A;2026-11-02\n"
    "A4;r-2;r-1;5;2026-11-02\n"
)


def test_a_sheet_of_grades_becomes_statistics_and_no_event(
    negalign: Negalign, tmp_path: Path
) -> None:
    path, place = tmp_path / "peer.csv", tmp_path / "w"
    path.write_text(SHEET)
    for round_number in range(2):  # a second import adds nothing
        code, out, err = negalign("feedback", "import", path, "-w", place)
        assert code == 0
        assert f"read 4 = accepted {0 if round_number else 3}" in out
        assert "nothing can be trained on them" in err
    store = FeedbackStore(open_database(Workspace(place).database_url))
    assert store.last_sequence() == 0
    assert store.peer_stats() == (
        PeerStats("r-1", 2, {"1": 1, "2b": 1}, discrepant=1, significant=1),
        PeerStats("r-2", 1, {"3a": 1}, discrepant=1, significant=0),
    )
    assert [line.reason for line in store.quarantine()] == ["unknown_grade"]
    code, out, _ = negalign("feedback", "stats", "-w", place)
    assert code == 0
    assert "RADPEER" in out
    assert "r-2" in out


def test_a_sheet_without_readers_is_refused_with_the_column(tmp_path: Path) -> None:
    path = tmp_path / "peer.csv"
    path.write_text(SHEET.replace("Radiologist", "Who"))
    (export,) = exports_of(path, form="radpeer")
    with pytest.raises(FeedbackError, match="no column is named reader or the like"):
        list(export.records())


def test_a_sheet_with_the_reports_is_feedback_by_a_mapping(
    log: FeedbackStore, tmp_path: Path
) -> None:
    path, mapping = tmp_path / "peer.csv", tmp_path / "map.yaml"
    path.write_text(
        "id,case,indication,report text,radpeer,reviewer,when\n"
        "1,c-1,cough,Normal chest.,1,r-2,2026-11-01T08:00:00Z\n"
        "2,c-2,cough,Normal chest.,2a,r-2,2026-11-01T08:00:00Z\n"
        "3,c-3,cough,Normal chest.,3b,r-2,2026-11-01T08:00:00Z\n"
    )
    mapping.write_text(
        "fields: {event_id: 'peer-{id}', case_id: case, prompt: indication, completion: report "
        "text, grade: radpeer, reader.id: reviewer, created_at: when}\n"
        "set: {generator.base: residents, source.system: radpeer}\ngrades: radpeer\n"
    )
    from negalign_train.feedback.importers.mapping.file import read_mapping  # noqa: PLC0415

    import_log(log, path, form="negalign", mapping=read_mapping(mapping))
    assert [event.grade for _, event in log.events()] == ["accept", "partial", "reject"]
