"""One log in every container that people have it in, and files that are none."""

from __future__ import annotations

import gzip
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from negalign_train.feedback.store import FeedbackStore
from negalign_train.vocabulary.errors import FeedbackError
from tests.feedback.importing import import_log
from tests.feedback.test_store import counts

EventDict = Callable[..., dict[str, Any]]


def events(event_dict: EventDict, number: int = 5) -> list[dict[str, Any]]:
    texts = ["Größe normal.", "No effusion.", "Ödem.", "Clear lungs.", "Normal."]
    return [
        event_dict(event_id=f"e-{n}", completion=texts[n % 5], errors=[], edited=None)
        for n in range(number)
    ]


def lines(values: list[Any]) -> str:
    return "".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values)


def pretty(values: list[Any]) -> str:
    return json.dumps(values, indent=4, ensure_ascii=False)


CONTAINERS: dict[str, Callable[[list[Any]], bytes]] = {
    "lines": lambda values: lines(values).encode(),
    "pretty array": lambda values: pretty(values).encode(),
    "array on one line": lambda values: json.dumps(values).encode(),
    "pretty objects": lambda values: "\n".join(json.dumps(v, indent=2) for v in values).encode(),
    "gzip": lambda values: gzip.compress(lines(values).encode()),
    "array in gzip": lambda values: gzip.compress(pretty(values).encode()),
    "utf-8 with mark": lambda values: lines(values).encode("utf-8-sig"),
    "array with mark": lambda values: pretty(values).encode("utf-8-sig"),
    "windows": lambda values: lines(values).replace("\n", "\r\n").encode(),
    "utf-16": lambda values: lines(values).encode("utf-16"),
    "utf-16 big endian": lambda values: b"\xfe\xff" + lines(values).encode("utf-16-be"),
    "utf-16 without mark": lambda values: pretty(values).encode("utf-16-le"),
    "utf-16 in gzip": lambda values: gzip.compress(lines(values).encode("utf-16")),
}


@pytest.mark.parametrize("container", CONTAINERS)
def test_a_log_is_read_whatever_holds_it(
    log: FeedbackStore, tmp_path: Path, event_dict: EventDict, container: str
) -> None:
    values = events(event_dict)
    path = tmp_path / "export"
    path.write_bytes(CONTAINERS[container](values))
    assert counts(import_log(log, path)) == (5, 5, 0, 0, 0)
    assert [event.completion for _, event in log.events()] == [v["completion"] for v in values]
    assert counts(import_log(log, path)) == (5, 0, 5, 0, 0)


def test_the_same_log_in_two_containers_is_one_log(
    log: FeedbackStore, tmp_path: Path, event_dict: EventDict
) -> None:
    for number, container in enumerate(CONTAINERS.values()):
        path = tmp_path / str(number)
        path.write_bytes(container(events(event_dict)))
        report = import_log(log, path)
        assert report.accepted == (5 if number == 0 else 0)
    assert log.last_sequence() == 5


def test_standard_input_is_read_and_is_no_file_that_can_be_mended(
    log: FeedbackStore, event_dict: EventDict, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pipe(content: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))

    pipe(gzip.compress(lines([*events(event_dict), {"schema": "x/1"}]).encode()))
    assert counts(import_log(log, Path("-"))) == (6, 5, 0, 1, 0)
    pipe(pretty(events(event_dict)).encode())
    assert counts(import_log(log, Path("-"))) == (5, 0, 5, 0, 0)
    assert [line.origin for line in log.quarantine()] == ["standard input"]


def test_an_array_longer_than_any_buffer_is_read_record_by_record(
    log: FeedbackStore, tmp_path: Path, event_dict: EventDict
) -> None:
    """Over 2 MiB of text with two-byte characters: every boundary of a chunk is met."""
    values = events(event_dict, 3000)
    path = tmp_path / "long.json"
    path.write_text(pretty(values), encoding="utf-8")
    assert path.stat().st_size > 2 << 20
    assert counts(import_log(log, path)) == (3000, 3000, 0, 0, 0)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'[{"schema": "negalign.feedback/1"}, {"schema": "neg', "record 2 is no whole JSON"),
        (b'[{"schema": "x/1"} {"schema": "x/1"}]', "a comma or ] must follow"),
        (b'[{"schema": "x/1"}] []', "something stands behind the list"),
        (b'[{"schema": "x/1", "schema": "x/1"}]', "holds the same key twice"),
        (b"PK\x03\x04rest", "save the sheet as CSV"),
        (b"<?xml version='1.0'?><Bundle/>", "is XML; export JSON"),
        (gzip.compress(b"{}")[:-6], "cannot be read"),
        ("[{}]".encode("utf-16")[:-1] + b"\xdc", "is not utf-16 all through"),
        (b"a,b,a\n1,2,3\n", "names column 'a' twice"),
        (b"a,b\n1,2,3\n", "row 1 has 3 cells, the header 2"),
        (b"# Notes\n\n- a, b\n- c\n", "no format is recognised"),
        ("event_id,b\n1,Größe\n".encode("latin-1"), "is not utf-8 all through"),
    ],
)
def test_a_file_that_is_no_whole_document_is_refused_and_nothing_imported(
    log: FeedbackStore, tmp_path: Path, content: bytes, said: str
) -> None:
    path = tmp_path / "export"
    path.write_bytes(content)
    with pytest.raises(FeedbackError) as caught:
        import_log(log, path)
    assert said in str(caught.value)
    assert str(path) in str(caught.value)
    assert (log.last_sequence(), log.quarantine()) == (0, [])


def test_a_table_of_our_own_fields_is_the_log_typed_by_hand(
    log: FeedbackStore, tmp_path: Path, event_dict: EventDict
) -> None:
    """A column for each field, as a spreadsheet with semicolons writes it."""
    path = tmp_path / "log.csv"
    path.write_bytes(
        (
            "event_id;case_id;created_at;prompt;completion;generator.base;grade;errors;"
            "reader.id;reader.seconds;source.system;edited\r\n"
            '17;openi-1042;2026-11-02T09:14:00Z;Indication: cough.;"Findings: Small left pleural '
            'effusion. The heart is normal in size.";embedded;Partially accepted;'
            '"[{""category"": ""R5"", ""severity"": 0.5, ""span"": [10, 37]}]";r-03;38.5;sheet;'
            '"Findings: Small right pleural effusion. The heart is normal in size."\r\n'
        ).encode("utf-8-sig")
    )
    assert counts(import_log(log, path)) == (1, 1, 0, 0, 0)
    by_hand = tmp_path / "by-hand.jsonl"
    by_hand.write_text(
        lines(
            [
                event_dict(
                    event_id="17",
                    generator={"base": "embedded"},
                    reader={"id": "r-03", "seconds": 38.5},
                    source={"system": "sheet"},
                )
            ]
        )
    )
    assert counts(import_log(log, by_hand)) == (1, 0, 1, 0, 0)
