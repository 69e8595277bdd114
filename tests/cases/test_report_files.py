"""Reports from any JSONL or CSV file: what is read, and every line that cannot be."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from negalign_train.cases import report_files
from negalign_train.cases.report_files import (
    SourceReport,
    UnusedLine,
    read_csv_reports,
    read_json_reports,
)
from negalign_train.vocabulary.errors import DataError

TEXT = "Findings: The lungs are clear."
OPENI = "uid,MeSH,Problems,image,indication,comparison,findings,impression\n"


def of_json(*lines: Any, column: str | None = None) -> list[SourceReport | UnusedLine]:
    rows = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
    return list(read_json_reports(io.BytesIO(b"\n".join(rows)), column))


def of_csv(text: str, column: str | None = None) -> list[SourceReport | UnusedLine]:
    return list(read_csv_reports(io.StringIO(text, newline=""), "reports.csv", column))


def test_a_case_line_gives_its_report_group_findings_and_context() -> None:
    line = {
        "case_id": "s1", "prompt": "p", "reference": TEXT, "group": "patient-7", "age": 71,
        "findings": [{"name": "nodule"}, {"name": "mass", "present": False}],
    }  # fmt: skip
    assert of_json(line) == [
        SourceReport(1, "s1", "patient-7", TEXT, ("nodule",), {"age": 71}),
    ]


def test_without_group_or_id_equal_texts_are_one_group_and_the_line_is_the_id() -> None:
    one, other = of_json({"report": TEXT}, {"text": TEXT.upper() + "  "})
    assert isinstance(one, SourceReport)
    assert isinstance(other, SourceReport)
    assert (one.id, other.id) == ("line-1", "line-2")
    assert one.group == other.group
    assert one.findings is None


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"\xff{", "not_utf8"),
        (b"{", "not_json"),
        (b"[1]", "not_object"),
        ({"id": "x"}, "no_report"),
        ({"report": TEXT, "text": TEXT}, "ambiguous_report"),
        ({"report": 3}, "bad_type"),
        ({"report": " \n"}, "empty_report"),
        ({"report": "\ud800"}, "not_utf8"),
        ({"report": "x" * 200_001}, "too_long"),
        ({"report": TEXT, "findings": ["nodule"]}, "bad_findings"),
    ],
)
def test_a_line_without_a_report_says_why_and_the_next_is_read(line: Any, code: str) -> None:
    bad, good = of_json(line, {"report": TEXT})
    assert isinstance(bad, UnusedLine)
    assert (bad.number, bad.code) == (1, code)
    assert "clear" not in bad.message
    assert isinstance(good, SourceReport)


def test_a_named_column_is_the_only_one_looked_at() -> None:
    named = of_json({"report": TEXT, "edited": "Left mass."}, column="edited")
    assert [report.text for report in named if isinstance(report, SourceReport)] == ["Left mass."]
    table = of_csv(f"id,findings\n7,{TEXT}\n", column="findings")
    assert table == [SourceReport(1, "7", of_json({"text": TEXT})[0].group, TEXT)]  # type: ignore[union-attr]


def test_rows_of_a_table_keep_age_and_indication_and_a_broken_row_says_why() -> None:
    rows = of_csv(f'report,age,indication\n"{TEXT}",71,cough\n"{TEXT}",old,\n{TEXT}\n')
    assert [row.context for row in rows if isinstance(row, SourceReport)] == [
        {"age": 71.0, "indication": "cough"}
    ]
    assert [row.code for row in rows if isinstance(row, UnusedLine)] == [
        "bad_context",
        "wrong_columns",
    ]


def test_a_table_without_a_report_s_column_is_refused() -> None:
    with pytest.raises(DataError, match="name the reports' column with --column"):
        of_csv("id,words\n1,x\n")


def test_the_openi_table_is_known_by_its_columns_and_brings_true_findings() -> None:
    rows = of_csv(
        OPENI
        + "3,Nodule/lung/left,,,cough,None,A nodule is seen in the left lung.,Left lung nodule.\n"
        + "4,normal,,,,,,Normal chest.\n"
    )
    report, unused = rows
    assert isinstance(report, SourceReport)
    assert (report.id, report.findings) == ("openi-3", ("nodule",))
    assert report.text.startswith("Findings: A nodule is seen in the left lung. Impression:")
    assert isinstance(unused, UnusedLine)
    assert unused.code == "incomplete_row"


def test_a_line_longer_than_any_report_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_files, "MAX_REPORT_BYTES", 100)
    long, short = of_json({"report": "x" * 500}, {"report": TEXT})
    assert isinstance(long, UnusedLine)
    assert long.code == "too_long"
    assert isinstance(short, SourceReport)
