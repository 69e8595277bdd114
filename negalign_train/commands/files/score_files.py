"""Files of pairs in, files of results out: one result line per input line, in flat memory."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

from negalign_train.severity.judges.base import Judge, ReportPair
from negalign_train.severity.judges.pair_files import (
    LineError,
    PairLine,
    read_csv_pairs,
    read_json_pairs,
)
from negalign_train.severity.judges.result import SCORE_SCHEMA, result_object
from negalign_train.severity.pricing.calibration import Calibration
from negalign_train.storage.atomic import replacing
from negalign_train.vocabulary.errors import DataError
from negalign_train.vocabulary.taxonomy import taxonomy

STANDARD = Path("-")
"""Standard input or output."""
_BATCH = 64
_FLAT = ("id", "line", "scorable", "reason", "S", "grade")

Write = Callable[[dict[str, Any]], None]


class Counts:
    """What a file came to."""

    def __init__(self) -> None:
        self.pairs = self.unscorable = self.errors = 0


def _batches(lines: Iterator[PairLine]) -> Iterator[list[PairLine]]:
    while batch := list(islice(lines, _BATCH)):
        yield batch


def _error_object(line: PairLine, error: LineError) -> dict[str, Any]:
    return {
        "schema": SCORE_SCHEMA,
        "id": line.id,
        "line": line.number,
        "error": {"code": error.code, "message": error.message},
    }


def score_lines(
    lines: Iterator[PairLine], judge: Judge, calibration: Calibration | None, write: Write
) -> Counts:
    """One result per line, in order; a line that is no pair gives its error."""
    counts = Counts()
    for batch in _batches(lines):
        pairs = [line.content for line in batch if isinstance(line.content, ReportPair)]
        judgements = iter(judge.judge(pairs))
        for line in batch:
            if isinstance(line.content, LineError):
                counts.errors += 1
                write(_error_object(line, line.content))
                continue
            result = result_object(next(judgements), line.content, calibration)
            counts.pairs += 1
            counts.unscorable += not result["scorable"]
            write({"schema": SCORE_SCHEMA, "id": line.id, "line": line.number} | result)
    return counts


def _json_writer(stream: TextIO) -> Write:
    def write(result: dict[str, Any]) -> None:
        # ASCII only: an id may hold what UTF-8 cannot.
        stream.write(json.dumps(result, allow_nan=False) + "\n")

    return write


def _csv_writer(stream: TextIO) -> Write:
    ids = [category.id for category in taxonomy()]
    columns = [*_FLAT, *ids, "evidence", "error_code", "error_message"]
    table = csv.DictWriter(stream, columns)
    table.writeheader()

    def write(result: dict[str, Any]) -> None:
        row = {name: result.get(name) for name in _FLAT} | (result.get("severities") or {})
        error = result.get("error", {})
        evidence = json.dumps(result.get("evidence", []))
        row |= {"error_code": error.get("code"), "error_message": error.get("message")}
        table.writerow(row | {"evidence": evidence})

    return write


def _is_csv(path: Path) -> bool:
    return path.suffix.lower() == ".csv"


def _opened_lines(path: Path, stack: ExitStack) -> Iterator[PairLine]:
    try:
        if _is_csv(path):
            text = path.open(encoding="utf-8-sig", errors="surrogateescape", newline="")
            return read_csv_pairs(stack.enter_context(text), str(path))
        if path == STANDARD:
            return read_json_pairs(sys.stdin.buffer)
        return read_json_pairs(stack.enter_context(path.open("rb")))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check the path") from error


def refuse_output(out: Path, source: Path) -> None:
    """Refuses an output that is the input or a folder (DataError)."""
    is_input = STANDARD not in (out, source) and out.exists() and source.exists()
    if out.is_dir() or (is_input and out.samefile(source)):
        raise DataError(f"{out}: is {'a folder' if out.is_dir() else 'the input'}; name a new file")


def score_file(pairs: Path, out: Path, judge: Judge, calibration: Calibration | None) -> Counts:
    """Scores a JSONL or CSV file (by its suffix) into a JSONL or CSV file, whole or not at all.

    Raises:
        DataError: the input cannot be read, or the output is the input or a folder.
    """
    refuse_output(out, pairs)
    with ExitStack() as stack:
        lines = _opened_lines(pairs, stack)
        if out == STANDARD:
            return score_lines(lines, judge, calibration, _json_writer(sys.stdout))
        temporary = stack.enter_context(replacing(out))
        with temporary.open("w", encoding="utf-8", newline="") as stream:
            write = _csv_writer(stream) if _is_csv(out) else _json_writer(stream)
            return score_lines(lines, judge, calibration, write)
