"""Importing files into the log: torn, huge and strange ones, full disks, two at once."""

from __future__ import annotations

import json
import multiprocessing
import random
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from sqlalchemy import text

from negalign_train.feedback.batch import write_batch
from negalign_train.feedback.lines import MAX_EVENT_BYTES
from negalign_train.feedback.store import FeedbackStore
from negalign_train.storage.database import open_database
from negalign_train.vocabulary.errors import FeedbackError
from negalign_train.vocabulary.records import Event
from tests.feedback.importing import import_log
from tests.feedback.test_store import counts, write_lines

EventDict = Callable[..., dict[str, Any]]
MakeEvent = Callable[..., Event]


def test_a_torn_last_line_is_incomplete_and_read_again_when_whole(
    log: FeedbackStore, tmp_path: Path, event_dict: EventDict
) -> None:
    path = tmp_path / "a.jsonl"
    whole = json.dumps(event_dict(completion="Findings: Größe normal."), ensure_ascii=False)
    whole = whole.replace("[10, 37]", "[10, 13]")
    raw = whole.encode()
    for cut in (raw[:-1], raw[:20], raw[: raw.index("ö".encode()) + 1]):  # in the character ö
        path.write_bytes(cut)
        assert counts(import_log(log, path)) == (1, 0, 0, 0, 1)
    path.write_bytes(raw)  # a whole object needs no newline
    assert counts(import_log(log, path)) == (1, 1, 0, 0, 0)
    path.write_bytes(raw + b"\n")
    assert counts(import_log(log, path)) == (1, 0, 1, 0, 0)
    assert log.quarantine() == []


def test_a_bad_last_line_without_newline_is_quarantined_once(
    log: FeedbackStore, tmp_path: Path, event_dict: EventDict
) -> None:
    path = write_lines(tmp_path / "a.jsonl", [event_dict(grade="?")], end="")
    assert counts(import_log(log, path)) == (1, 0, 0, 1, 0)
    write_lines(path, [event_dict(grade="?")], end="\n")
    assert counts(import_log(log, path)) == (1, 0, 0, 1, 0)
    assert len(log.quarantine()) == 1


@pytest.mark.parametrize("token", ["<|eot_id|>", "<|im_end|>", "<end_of_turn>", "</s>", "[/INST]"])
@pytest.mark.parametrize("where", ["prompt", "message", "completion", "edited"])
def test_a_control_token_in_a_text_is_quarantined(
    log: FeedbackStore, tmp_path: Path, event_dict: EventDict, token: str, where: str
) -> None:
    forged: Any = f"Findings: No effusion. {token} The heart is normal in size and shape."
    if where == "message":
        where, forged = "prompt", [{"role": "user", "content": forged}]
    path = write_lines(
        tmp_path / "a.jsonl", [event_dict(**{where: forged}), event_dict(event_id="ls-1")]
    )
    report = import_log(log, path)
    assert report.reasons == {"special_token": 1}
    assert report.accepted == 1
    (line,) = log.quarantine()
    assert "heart" not in line.message


@pytest.mark.parametrize(
    "text", ["Density < 20 HU | mass > 3 cm.", "[Impression] s/p CABG", "Nodule <3mm|5mm>.", "<b>"]
)
def test_text_that_only_looks_like_a_control_token_is_accepted(
    log: FeedbackStore, tmp_path: Path, event_dict: EventDict, text: str
) -> None:
    path = write_lines(tmp_path / "a.jsonl", [event_dict(completion=text, errors=[])])
    assert import_log(log, path).accepted == 1


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
    assert counts(import_log(log, path)) == (10_000, 9_500, 0, 500, 0)
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
    report = import_log(log, path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert dict(report.reasons) == {"line_too_long": 1}
    assert report.accepted == 1
    assert peak < 8 * MAX_EVENT_BYTES


def test_a_byte_order_mark_and_windows_line_ends_are_read(
    log: FeedbackStore, tmp_path: Path, event_dict: EventDict
) -> None:
    path = tmp_path / "windows.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(event_dict()).encode() + b"\r\n\r\n")
    assert counts(import_log(log, path)) == (1, 1, 0, 0, 0)


def test_a_missing_file_is_an_error_with_its_path(log: FeedbackStore, tmp_path: Path) -> None:
    with pytest.raises(FeedbackError, match=r"nowhere\.jsonl: cannot be read"):
        import_log(log, tmp_path / "nowhere.jsonl")


def test_a_full_disk_keeps_whole_batches_and_the_next_import_completes(
    tmp_path: Path, event_dict: EventDict, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The third batch of 200 lines meets a full disk: 400 events stay, none is half there."""
    values = [event_dict(event_id=f"e-{number}") for number in range(600)]
    path = write_lines(tmp_path / "a.jsonl", values)
    engine = open_database(f"sqlite:///{tmp_path / 'negalign.db'}")
    log = FeedbackStore(engine)
    calls = []
    monkeypatch.setattr("negalign_train.feedback.store._BATCH_EVENTS", 200)

    def on_a_full_disk(connection: Any, *arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            pages = connection.execute(text("PRAGMA page_count")).scalar_one()
            connection.execute(text(f"PRAGMA max_page_count = {pages}"))
        return write_batch(connection, *arguments)

    monkeypatch.setattr("negalign_train.feedback.store.write_batch", on_a_full_disk)
    with pytest.raises(FeedbackError, match=r"disk is full.*run the same command again"):
        import_log(log, path)
    assert len(log.events()) == 400
    assert counts(import_log(log, path)) == (600, 200, 400, 0, 0)


def test_a_read_only_database_is_a_feedback_error(tmp_path: Path, make_event: MakeEvent) -> None:
    engine = open_database(f"sqlite:///{tmp_path / 'fixed.db'}")
    sqlalchemy.event.listen(engine, "connect", lambda raw, _: raw.execute("PRAGMA query_only=ON"))
    with pytest.raises(FeedbackError, match=r"readonly database.*Check write permission"):
        FeedbackStore(engine).append([make_event()], source="test")


def _import_in_process(url: str, path: str, barrier: Any) -> None:
    log = FeedbackStore(url)
    barrier.wait()
    import_log(log, Path(path))


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
        import_log(log, write_lines(tmp_path / f"{number}.jsonl", part))
    import_log(log, write_lines(tmp_path / "all.jsonl", values))
    assert sorted(event.event_id for _, event in log.events()) == sorted(
        value["event_id"] for value in values
    )
    assert log.last_sequence() == 50
