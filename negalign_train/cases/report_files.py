"""Right reports in any JSONL or CSV file, read one at a time; a bad line says what is wrong.

A report stands under ``reference``, ``report`` or ``text``, or under the key or column that the
caller names. The OpenI CSV is known by its columns: its reports come with the findings of their
MeSH codes.
"""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, TextIO

from negalign_train.cases.openi import is_openi, read_openi
from negalign_train.storage.json_lines import LineProblem, json_value, numbered_lines
from negalign_train.vocabulary.errors import DataError

REPORT_KEYS = ("reference", "report", "text")
"""Where a report may stand; a line that has two of them is ambiguous."""
MAX_REPORT_BYTES = 1 << 22
"""A longer line is no report; the bound keeps memory flat."""
MAX_REPORT_CHARACTERS = 200_000
_ID_KEYS = ("id", "case_id", "uid")
_GROUP_KEYS = ("group", "patient_id", "study_id")


@dataclass(frozen=True)
class SourceReport:
    """One right report, and what its file says beside it.

    ``group`` is the split key: the file's own group or patient, else equal texts. ``findings``: ids
    that the study is known to show, None where that is unknown. ``context``: age and indication as
    they stand in the file.
    """

    number: int
    id: str
    group: str
    text: str
    findings: tuple[str, ...] | None = None
    context: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class UnusedLine:
    """A line or row that gives no report, with the code why."""

    number: int
    code: str
    message: str


def read_json_reports(
    stream: BinaryIO, column: str | None = None
) -> Iterator[SourceReport | UnusedLine]:
    """The non-blank lines of a JSONL stream, numbered from 1; other keys are left aside."""
    for number, line in numbered_lines(stream, MAX_REPORT_BYTES):
        if not line.strip():
            continue
        try:
            data = json_value(line, MAX_REPORT_BYTES)
            if not isinstance(data, Mapping):
                raise LineProblem("not_object", "the line is not an object")
            yield _report(number, data, column)
        except LineProblem as problem:
            yield UnusedLine(number, problem.code, problem.message)


def read_csv_reports(
    stream: TextIO, name: str, column: str | None = None
) -> Iterator[SourceReport | UnusedLine]:
    """The rows of a CSV stream with a header, numbered from 1.

    Open it with ``newline=""``, ``encoding="utf-8-sig"`` and ``errors="surrogateescape"``; it must
    be seekable.

    Raises:
        DataError: it has no header with a report's column.
    """
    csv.field_size_limit(MAX_REPORT_BYTES)
    header = next(csv.reader(stream), [])
    stream.seek(0)
    if column is None and is_openi(header):
        yield from _openi_reports(stream, name)
        return
    wanted = REPORT_KEYS if column is None else (column,)
    if not set(wanted) & set(header):
        raise DataError(
            f"{name}: no column {' or '.join(wanted)}; name the reports' column with --column"
        )
    rows = csv.DictReader(stream, strict=True)
    for number, row in enumerate(_csv_rows(rows), start=1):
        try:
            yield _report(number, _row_values(row), column)
        except LineProblem as problem:
            yield UnusedLine(number, problem.code, problem.message)


def _csv_rows(rows: csv.DictReader[str]) -> Iterator[Mapping[Any, Any] | None]:
    """Each row; None for one that is not CSV."""
    while True:
        try:
            yield next(rows)
        except StopIteration:
            return
        except csv.Error:
            yield None


def _row_values(row: Mapping[Any, Any] | None) -> dict[str, Any]:
    """A CSV row as the object a JSON line would hold: empty cells are absent."""
    if row is None:
        raise LineProblem("not_csv", "the row is not CSV, or a cell is too long; quote the cells")
    if None in row or any(value is None for value in row.values()):
        raise LineProblem("wrong_columns", "the row has more or fewer cells than the header")
    values: dict[str, Any] = {name: value for name, value in row.items() if value.strip()}
    context = {key: values.pop(key) for key in ("age", "indication") if key in values}
    if "age" in context:
        try:
            context["age"] = float(context["age"])
        except ValueError as error:
            raise LineProblem("bad_context", "age must be a number of years") from error
    return values | ({"context": context} if context else {})


def _openi_reports(stream: TextIO, name: str) -> Iterator[SourceReport | UnusedLine]:
    for number, case in enumerate(read_openi(stream, name), start=1):
        if case is None:
            message = "the row lacks findings, impression or codes"
            yield UnusedLine(number, "incomplete_row", message)
            continue
        findings = tuple(finding.name for finding in case.findings)
        yield SourceReport(number, case.case_id, case.group, case.reference, findings)


def _report(number: int, data: Mapping[str, Any], column: str | None) -> SourceReport:
    text = _text(data, REPORT_KEYS if column is None else (column,))
    context = data.get("context")
    if context is None:
        context = {key: data[key] for key in ("age", "indication") if data.get(key) is not None}
    return SourceReport(
        number,
        _identifier(data, number),
        _group(data, text),
        text,
        _findings(data),
        context or None,
    )


def _text(data: Mapping[str, Any], keys: tuple[str, ...]) -> str:
    held = [key for key in keys if key in data]
    if not held:
        raise LineProblem("no_report", f"no {' or '.join(keys)}; name the key with --column")
    if len(held) > 1:
        raise LineProblem(
            "ambiguous_report", f"{' and '.join(held)} are there; choose one with --column"
        )
    text = data[held[0]]
    if not isinstance(text, str):
        raise LineProblem("bad_type", f"{held[0]} must be text")
    if not text.strip():
        raise LineProblem("empty_report", f"{held[0]} is empty")
    if not _is_unicode(text):
        raise LineProblem("not_utf8", f"{held[0]} is not UTF-8")
    if len(text) > MAX_REPORT_CHARACTERS:
        raise LineProblem("too_long", f"{held[0]} has more than {MAX_REPORT_CHARACTERS} characters")
    return text


def _is_unicode(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _identifier(data: Mapping[str, Any], number: int) -> str:
    for key in _ID_KEYS:
        value = data.get(key)
        if isinstance(value, str | int) and not isinstance(value, bool) and value != "":
            return str(value)
    return f"line-{number}"


def _group(data: Mapping[str, Any], text: str) -> str:
    for key in _GROUP_KEYS:
        if isinstance(data.get(key), str) and data[key].strip():
            return str(data[key])
    words = " ".join(re.findall(r"[a-z0-9]+", text.lower()))
    return "text-" + hashlib.sha256(words.encode()).hexdigest()[:16]


def _findings(data: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The ids of the findings that a case file says are there."""
    findings = data.get("findings")
    if not isinstance(findings, list) or not findings:
        return None
    if not all(
        isinstance(each, Mapping) and isinstance(each.get("name"), str) for each in findings
    ):
        raise LineProblem("bad_findings", "findings must be a list of objects with a name")
    return tuple(each["name"] for each in findings if each.get("present", True))
