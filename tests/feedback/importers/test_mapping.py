"""One mapping for all formats: fields, words, scales, constants; what is wrong with one is said."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from negalign_train.feedback.importers.mapping.apply import FieldMapping
from negalign_train.feedback.importers.mapping.file import read_mapping, set_mapping
from negalign_train.feedback.schema import parse_event
from negalign_train.feedback.store import FeedbackStore
from negalign_train.vocabulary.errors import FeedbackError
from tests.feedback.importing import exports_of, import_log
from tests.feedback.test_store import counts

Negalign = Callable[..., tuple[int, str, str]]
MAPPING = """\
fields:
  event_id: "site-a-{row.id}"
  case_id: study
  prompt: "Indication: {why}"
  completion: ai_report
  edited: signed
  edit_type: change
  grade: verdict
  reader.id: who
  reader.saw_ai: blind
  created_at: at
  errors.category: problem
  errors.severity: how_bad
  errors.span: [from, to]
set:
  generator.base: radgen-7b
  source.system: site-a
ignore: [room]
grades: {ok: accept, 1: partial, bad: reject}
categories: {Side: wrong_location}
severities: {minor: 0.25}
severity_scale: [0, 4]
edit_types: {fix: correction}
time_zone: Europe/Berlin
"""
ROW: dict[str, Any] = {
    "row": {"id": 17},
    "study": 1042,
    "why": "cough",
    "ai_report": "Small left effusion.",
    "signed": "Small right effusion.",
    "change": "Fix",
    "verdict": 1,
    "who": "r-1",
    "blind": "no",
    "at": "2026-11-02 10:14:00",
    "problem": "side",
    "how_bad": "3",
    "from": 6,
    "to": 10,
    "room": 3,
    "remark": "late",
}
BY_HAND: dict[str, Any] = {
    "schema": "negalign.feedback/1",
    "event_id": "site-a-17",
    "revision": 1,
    "case_id": "1042",
    "created_at": "2026-11-02T10:14:00+01:00",
    "prompt": "Indication: cough",
    "completion": "Small left effusion.",
    "generator": {"base": "radgen-7b"},
    "grade": "partial",
    "errors": [{"category": "wrong_location", "severity": 0.75, "span": [6, 10]}],
    "edited": "Small right effusion.",
    "edit_type": "correction",
    "reader": {"id": "r-1", "saw_ai": False},
    "source": {"system": "site-a"},
}


@pytest.fixture
def mapping(tmp_path: Path) -> FieldMapping:
    path = tmp_path / "mapping.yaml"
    path.write_text(MAPPING)
    return read_mapping(path)


def rows(tmp_path: Path, *changes: dict[str, Any]) -> Path:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps([ROW | change for change in changes]))
    return path


def test_a_mapped_record_is_the_event_typed_by_hand(
    log: FeedbackStore, tmp_path: Path, mapping: FieldMapping
) -> None:
    path = rows(tmp_path, {}, {"row": {"id": 18}, "how_bad": "minor", "verdict": "bad"})
    assert counts(import_log(log, path, mapping=mapping)) == (2, 2, 0, 0, 0)
    first, second = (event for _, event in log.events())
    assert first == parse_event(BY_HAND)
    assert (second.grade, second.errors[0].severity) == ("reject", 0.25)
    (export,) = exports_of(path, mapping=mapping)
    assert dict(export.survey().unmapped) == {"remark": 2}


def test_a_list_of_errors_is_read_member_by_member(
    log: FeedbackStore, tmp_path: Path, mapping: FieldMapping
) -> None:
    fields: dict[str, Any] = {
        "errors": "found", "errors.category": "what", "errors.severity": "how",
    }  # fmt: skip
    found = [{"what": "R7", "how": 2}, {"what": "Side", "how": "minor", "by": "x"}]
    path = rows(tmp_path, {"found": found}, {"row": {"id": 2}, "found": []})
    changed = mapping.changed_by(FieldMapping(fields=fields))
    import_log(log, path, mapping=changed)
    first, second = (event for _, event in log.events())
    assert [(m.category, m.severity) for m in first.errors] == [
        ("device_error", 0.5),
        ("wrong_location", 0.25),
    ]
    assert second.errors == ()
    (export,) = exports_of(path, mapping=changed)
    assert "found[].by" in export.survey().unmapped


@pytest.mark.parametrize(
    ("yaml", "said"),
    [
        ("felds: {}", "'felds' is not known; known: fields, set, ignore"),
        ("fields: {verdict: grade}", "'verdict' is not known; known: event_id"),
        ("set: {errors: []}", "'errors' is not known"),
        ("fields: {grade: a}\nset: {grade: accept}", "grade stands in fields and in set"),
        ("fields: {grade: 3}", "fields.grade: must be the name of a field"),
        ("severities: {mild: 2}", r"severities must be numbers in \[0, 1\]"),
        ("severity_scale: [1, 1]", "severity_scale must be the best and the worst"),
        ("severity_scale: 4", "severity_scale must be the best and the worst"),
        ("spans: bytes", "spans must be characters or words"),
        ("time_zone: Mars", "time_zone must be a name"),
        ("assume_submitted: maybe", "assume_submitted must be true or false"),
        ("ignore: all", "ignore: must be a list"),
        ("[]", "a mapping is an object, not a list"),
        ("a: [", "is no YAML"),
        ("a: !!python/object:os.system {}", "is no YAML"),
    ],
)
def test_what_is_wrong_with_a_mapping_is_said(tmp_path: Path, yaml: str, said: str) -> None:
    path = tmp_path / "mapping.yaml"
    path.write_text(yaml)
    with pytest.raises(FeedbackError, match=said):
        read_mapping(path)


@pytest.mark.parametrize("setting", ["grade", "grade=", "colour=red", "severity_scale=high"])
def test_a_setting_that_cannot_be_meant_is_refused(setting: str) -> None:
    with pytest.raises(FeedbackError, match="--set"):
        set_mapping([setting])


def test_an_unclear_file_names_what_it_holds_and_what_can_be_read(tmp_path: Path) -> None:
    path = rows(tmp_path, {})
    with pytest.raises(FeedbackError, match="no format is recognised") as caught:
        exports_of(path)
    assert "ai_report" in str(caught.value)
    assert "label-studio" in str(caught.value)
    assert "Small left" not in str(caught.value)


def test_a_dry_run_shows_events_and_unmapped_fields_and_imports_nothing(
    negalign: Negalign, tmp_path: Path
) -> None:
    path = rows(tmp_path, *({"row": {"id": number}} for number in range(7)))
    map_file, place = tmp_path / "mapping.yaml", tmp_path / "w"
    map_file.write_text(MAPPING)
    command = ("feedback", "import", path, "--map", map_file, "-w", place, "--dry-run")
    code, out, _ = negalign(*command)
    assert code == 0
    assert "records 7: accepted 7" in out
    assert "Event 5" in out
    assert "Event 6" not in out
    assert "site-a-4" in out
    assert "fields that nothing is read from: remark (7)" in out
    assert "left effusion" not in out
    assert not place.exists()
    code, out, _ = negalign(*command, "--show-text", "--json")
    (shown,) = json.loads(out)
    assert (shown["records"], shown["unmapped"]) == (7, {"remark": 7})
    assert shown["events"][0]["completion"] == "Small left effusion."


def test_the_import_names_the_fields_it_left(negalign: Negalign, tmp_path: Path) -> None:
    map_file = tmp_path / "mapping.yaml"
    map_file.write_text(MAPPING)
    place = tmp_path / "w"
    code, _, err = negalign(
        "feedback", "import", rows(tmp_path, {}), "--map", map_file, "-w", place
    )
    assert code == 0
    assert "nothing was read from remark (1)" in err


def test_the_mapping_of_the_docs_can_be_read(tmp_path: Path) -> None:
    page = Path(__file__).resolve().parents[3] / "docs" / "importing.md"
    yaml = page.read_text(encoding="utf-8").split("```yaml\n")[1].split("```")[0]
    path = tmp_path / "mapping.yaml"
    path.write_text(yaml)
    mapping = read_mapping(path)
    assert mapping.fields["event_id"] == "site-a-{row_id}"
    assert mapping.categories == {"side": "wrong_location", "missed": "false_negative"}


@pytest.mark.parametrize(
    ("format_name", "name", "files"),
    [
        ("label-studio", "tasks.json", {"tasks.json", "tasks.xml"}),
        ("argilla", "folder", {"records.json", "settings.json", "dataset.json"}),
        ("trl-kto", "labels.jsonl", {"labels.jsonl"}),
    ],
)
def test_the_command_writes_every_export(
    negalign: Negalign, tmp_path: Path, event_dict: Any, format_name: str, name: str,
    files: set[str],
) -> None:  # fmt: skip
    log, place, out = tmp_path / "log.jsonl", tmp_path / "w", tmp_path / "out"
    log.write_text(json.dumps(event_dict()) + "\n")
    out.mkdir()
    negalign("feedback", "import", log, "-w", place)
    command = ("feedback", "export", out / name, "--format", format_name, "-w", place)
    code, said, _ = negalign(*command)
    assert code == 0
    assert "written to" in said
    assert {path.name for path in out.rglob("*") if path.is_file()} == files


def test_an_export_of_nothing_is_an_error(
    negalign: Negalign, tmp_path: Path, event_dict: Any
) -> None:
    log, place = tmp_path / "log.jsonl", tmp_path / "w"
    log.write_text(json.dumps(event_dict(grade="accept", errors=[], edited=None)) + "\n")
    negalign("feedback", "import", log, "-w", place)
    path = tmp_path / "pairs.jsonl"
    code, _, err = negalign("feedback", "export", path, "--format", "trl-preference", "-w", place)
    assert code == 1
    assert "the log gives no trl-preference row" in err
    assert not path.exists()
    code, _, err = negalign("feedback", "export", path, "--format", "csv", "-w", place)
    assert code == 2
    assert "give one of jsonl, trl-preference" in err
