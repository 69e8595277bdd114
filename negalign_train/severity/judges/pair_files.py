"""Pairs of reports in JSONL and CSV files, read one at a time; a bad line says what is wrong."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from negalign_train.severity.judges.base import ReportPair
from negalign_train.severity.reading.context import MAX_AGE_YEARS, MAX_INDICATION, CaseContext
from negalign_train.storage.json_lines import LineProblem, json_value, numbered_lines
from negalign_train.vocabulary.errors import DataError

MAX_PAIR_BYTES = 1 << 22
"""Two reports of the longest kind fit; the bound keeps memory flat."""
_BOM = b"\xef\xbb\xbf"
_COLUMNS = ("id", "reference", "candidate")

Identifier = str | int | None


@dataclass(frozen=True)
class LineError:
    """Why a line gives no pair: a code, and what to do in words that quote no text."""

    code: str
    message: str


@dataclass(frozen=True)
class PairLine:
    """One non-blank line (or CSV row), numbered from 1; ``id`` is None where it has none."""

    number: int
    id: Identifier
    content: ReportPair | LineError


def case_context(value: object) -> CaseContext:
    """A ``context`` object ``{age, indication}``; null and absent are the same.

    Raises:
        DataError: an unknown key, or a value of the wrong kind.
    """
    if value is None:
        return CaseContext()
    if not isinstance(value, Mapping):
        raise DataError("context must be an object with age and indication")
    if not value.keys() <= {"age", "indication"}:
        raise DataError("context may hold age and indication only; remove the other keys")
    age, indication = value.get("age"), value.get("indication")
    if age is not None:
        if isinstance(age, bool) or not isinstance(age, int | float) or not math.isfinite(age):
            raise DataError("context.age must be a number of years")
        if not 0 <= age <= MAX_AGE_YEARS:
            raise DataError(f"context.age must be 0 to {MAX_AGE_YEARS:.0f} years")
    if indication is not None and not isinstance(indication, str):
        raise DataError("context.indication must be text")
    if indication is not None and len(indication) > MAX_INDICATION:
        raise DataError(f"context.indication is longer than {MAX_INDICATION} characters")
    return CaseContext(None if age is None else float(age), indication)


def _identifier(value: object) -> Identifier:
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise LineProblem("bad_id", "id must be text that is not empty, or a whole number")
    return value


def _pair(data: Mapping[str, Any]) -> tuple[Identifier, ReportPair]:
    missing = [name for name in _COLUMNS if name not in data]
    id_ = _identifier(data["id"]) if "id" in data else None
    if missing:
        raise LineProblem("missing_key", f"{', '.join(missing)} missing", id_)
    texts = data["reference"], data["candidate"]
    if not all(isinstance(text, str) for text in texts):
        raise LineProblem("bad_type", "reference and candidate must be text", id_)
    try:
        context = case_context(data.get("context"))
    except DataError as error:
        raise LineProblem("bad_context", str(error), id_) from error
    return id_, ReportPair(*texts, context)


def _json_line(number: int, line: bytes) -> PairLine:
    try:
        data = json_value(line, MAX_PAIR_BYTES)
        if not isinstance(data, Mapping):
            raise LineProblem("not_object", "the line is not an object")
        return PairLine(number, *_pair(data))
    except LineProblem as bad:
        return PairLine(number, bad.id, LineError(bad.code, bad.message))


def read_json_pairs(stream: BinaryIO) -> Iterator[PairLine]:
    """The non-blank lines of a JSONL stream: ``id, reference, candidate`` and maybe ``context``.

    Other keys are ignored: a line may carry more.
    """
    for number, line in numbered_lines(stream, MAX_PAIR_BYTES):
        if line.strip():
            yield _json_line(number, line)


def _row_values(row: Mapping[str | None, Any]) -> dict[str, Any]:
    """A CSV row as the object a JSON line would hold; empty cells of the context are absent."""
    if None in row or any(value is None for value in row.values()):
        raise LineProblem("wrong_columns", "the row has more or fewer cells than the header")
    values = {str(name): value for name, value in row.items()}
    try:
        "".join(values.values()).encode("utf-8")
    except UnicodeEncodeError as error:
        raise LineProblem("not_utf8", "a cell of the row is not UTF-8") from error
    context: dict[str, Any] = {}
    age, indication = values.pop("age", ""), values.pop("indication", "")
    if age.strip():
        try:
            context["age"] = float(age)
        except ValueError as error:
            raise LineProblem("bad_context", "age must be a number of years") from error
    if indication.strip():
        context["indication"] = indication
    return {name: values[name] for name in _COLUMNS} | ({"context": context} if context else {})


def read_csv_pairs(stream: TextIO, name: str) -> Iterator[PairLine]:
    """The rows of a CSV stream with a header: ``id, reference, candidate``, maybe ``age`` and
    ``indication``; other columns are left aside.

    Open it with ``newline=""``, ``encoding="utf-8-sig"`` and ``errors="surrogateescape"``.

    Raises:
        DataError: no such header.
    """
    csv.field_size_limit(MAX_PAIR_BYTES)
    rows = csv.DictReader(stream, strict=True)
    header = rows.fieldnames or []
    if missing := [column for column in _COLUMNS if column not in header]:
        raise DataError(
            f"{name}: no column {', '.join(missing)}; the first line must name id, reference and "
            "candidate"
        )
    number = 0
    while True:
        number += 1
        try:
            row = next(rows)
            yield PairLine(number, *_pair(_row_values(row)))
        except StopIteration:
            return
        except csv.Error:
            message = "the row is not CSV, or a cell is too long; quote cells that hold quotes"
            yield PairLine(number, None, LineError("not_csv", message))
        except LineProblem as bad:
            id_ = bad.id if bad.id is not None else (row.get("id") or None)
            yield PairLine(number, id_, LineError(bad.code, bad.message))


def text_of(stream: BinaryIO, limit: int, name: str) -> str:
    """A report as text, a byte-order mark left out.

    Raises:
        DataError: it is not UTF-8, or is longer than ``limit`` characters can be.
    """
    data = stream.read(4 * limit + len(_BOM) + 1)
    if len(data) > 4 * limit + len(_BOM):
        raise DataError(f"{name}: longer than any report ({limit} characters); give one report")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{name}: byte {error.start} is not UTF-8; save it as UTF-8") from error


def read_text(path: Path, limit: int) -> str:
    """A report file as text; see ``text_of``.

    Raises:
        DataError: it cannot be read, or ``text_of`` refuses it.
    """
    try:
        with path.open("rb") as stream:
            return text_of(stream, limit, str(path))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check the path") from error
