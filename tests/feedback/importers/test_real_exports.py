"""Real exports of other systems, where they are at hand: read, or refused with the reason."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from negalign_train.feedback.store import FeedbackStore
from negalign_train.vocabulary.errors import FeedbackError
from tests.feedback.importing import exports_of, import_log
from tests.feedback.test_store import counts

EXPORTS = Path(os.environ.get("NEGALIGN_SHARED_DATA", "../shared/data")) / "exports"
pytestmark = pytest.mark.skipif(
    not EXPORTS.is_dir(), reason=f"there are no real exports at {EXPORTS}"
)
GIVEN = ["generator.base=radgen-7b", "reader.id=panel", "created_at=2026-11-02T00:00:00Z"]


@pytest.mark.parametrize(
    ("name", "format_name", "records"),
    [
        ("label_studio/chat.json", "label-studio", 1),
        ("label_studio/history_completed_by_object.json", "label-studio", 1),
        ("label_studio/per_region_choices.json", "label-studio", 1),
        ("label_studio/csv_test.json", "label-studio", None),
        ("hl7/dialect_a.log", "hl7", 20),
        ("fhir/diagnostic_report_vista.json", "fhir", 1),
        ("fhir/diagnostic_report_stu3_xhtml.json", "fhir", 1),
        ("llama_factory/dpo_demo_40.json", "trl-preference", 40),
        ("llama_factory/kto_demo_40.json", "trl-kto", 40),
    ],
)
def test_the_format_is_recognised_and_every_record_read(
    name: str, format_name: str, records: int | None
) -> None:
    (export,) = exports_of(EXPORTS / name)
    assert export.format.name == format_name
    read = list(export.records())
    assert read
    assert records is None or len(read) == records


@pytest.mark.parametrize("name", ["dpo_demo_40", "kto_demo_40"])
def test_preference_data_of_others_is_imported_whole(log: FeedbackStore, name: str) -> None:
    report = import_log(log, EXPORTS / "llama_factory" / f"{name}.json", settings=GIVEN)
    assert counts(report)[:2] == (40, 40)


def test_hl7_logs_of_several_days_hold_reports_of_one_version_each(log: FeedbackStore) -> None:
    files = sorted((EXPORTS / "hl7").glob("*.log"))
    settings = ["generator.base=x", "time_zone=America/Chicago"]
    report = import_log(log, *files, settings=settings)
    assert report.accepted == 0
    assert set(report.reasons) <= {"no_counterpart", "no_text", "unknown_status", "missing_key"}
    assert report.reasons["no_counterpart"] >= 20


def test_report_text_of_real_fhir_is_found_and_names_are_not() -> None:
    (export,) = exports_of(EXPORTS / "fhir" / "diagnostic_report_vista.json")
    (record,) = export.records()
    assert record.problem is not None
    assert record.problem.code == "no_counterpart"


def test_an_annotation_without_our_questions_is_refused_with_what_is_missing(
    log: FeedbackStore,
) -> None:
    path = EXPORTS / "label_studio" / "history_completed_by_object.json"
    with pytest.raises(FeedbackError, match="no record gives case_id") as caught:
        import_log(log, path)
    assert "result.sentiment" in str(caught.value)
    settings = [
        "case_id=c-1", "prompt=Read.", "generator.base=x", "grade=accept",
    ]  # fmt: skip
    from negalign_train.feedback.importers.mapping.apply import FieldMapping  # noqa: PLC0415

    mapping = FieldMapping(fields={"completion": "data.text"})
    report = import_log(log, path, settings=settings, mapping=mapping)
    assert report.accepted == 1
    assert log.events()[0][1].reader.id == "14"
