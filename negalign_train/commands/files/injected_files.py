"""Files of reports in, one labelled data set out: streamed, whole or not at all."""

from __future__ import annotations

import io
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from negalign_train.cases.report_files import (
    SourceReport,
    UnusedLine,
    read_csv_reports,
    read_json_reports,
)
from negalign_train.commands.files.score_files import STANDARD, refuse_output
from negalign_train.severity.judges.pair_files import case_context
from negalign_train.storage.atomic import replacing
from negalign_train.vocabulary.errors import DataError

_BAD_LINES = frozenset(
    ["not_utf8", "not_json", "not_csv", "not_object", "wrong_columns", "no_report", "bad_type",
     "ambiguous_report", "bad_context", "bad_findings", "too_long"]
)  # fmt: skip
"""Codes of lines that somebody has to mend; the others are reports that give no line."""


@dataclass
class InjectionCounts:
    """What a file came to: ``read = sum of written + sum of unused``."""

    read: int = 0
    written: Counter[str] = field(default_factory=Counter)
    unused: Counter[str] = field(default_factory=Counter)
    first_lines: dict[str, int] = field(default_factory=dict)

    @property
    def bad_lines(self) -> int:
        return sum(count for code, count in self.unused.items() if code in _BAD_LINES)

    def refuse(self, code: str, number: int) -> None:
        self.unused[code] += 1
        self.first_lines.setdefault(code, number)

    def to_json(self) -> dict[str, Any]:
        return {
            "read": self.read,
            "written": dict(self.written),
            "unused": {
                code: {"count": count, "first_line": self.first_lines[code]}
                for code, count in sorted(self.unused.items())
            },
        }


_CONTROLS = frozenset(["untouched", "reworded"])
Lines = Iterator[SourceReport | UnusedLine]
Handle = Callable[[Iterator[SourceReport], InjectionCounts], Iterator[dict[str, Any]]]
"""From reports to lines of the data set; refusals go into the counts."""


def _opened(path: Path, column: str | None, stack: ExitStack) -> tuple[Lines, Callable[[], int]]:
    """The file's lines, and how many of its bytes were read."""
    if path == STANDARD:
        return read_json_reports(sys.stdin.buffer, column), lambda: 0
    try:
        stream = stack.enter_context(path.open("rb"))
        if path.suffix.lower() != ".csv":
            return read_json_reports(stream, column), stream.tell
        wrapped = io.TextIOWrapper(stream, "utf-8-sig", "surrogateescape", newline="")
        text = stack.enter_context(wrapped)
        return read_csv_reports(text, str(path), column), stream.tell
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check the path") from error


def _usable(lines: Lines, counts: InjectionCounts) -> Iterator[SourceReport]:
    """The reports; what is none is counted."""
    for line in lines:
        counts.read += 1
        if isinstance(line, UnusedLine):
            counts.refuse(line.code, line.number)
            continue
        try:
            case_context(line.context)
        except DataError:
            counts.refuse("bad_context", line.number)
            continue
        yield line


def _hint(counts: InjectionCounts) -> str:
    """What to do where no line gave anything, by the commonest reason."""
    code = max(counts.unused, key=lambda each: counts.unused[each], default="")
    if code == "not_json":
        return "write one JSON object a line, or name a table .csv"
    if code == "not_utf8":
        return "unpack the file and save it as UTF-8"
    if code in _BAD_LINES:
        return "mend the lines, or name the report's key with --column"
    if code.startswith("model_"):
        return "ask a model that follows instructions, or give it more tokens"
    return "give right reports of the chest, or name other operations"


def write_data_set(
    reports: Path,
    out: Path,
    column: str | None,
    handle: Handle,
    progress: Callable[[int], None],
    *,
    only_controls: bool = False,
) -> InjectionCounts:
    """Reads ``reports`` (CSV by its suffix, else JSONL) and writes ``out`` (JSONL), in flat memory.

    Args:
        progress: is told after every line how many bytes of ``reports`` were read.
        only_controls: whether a data set without any error is what was asked for.

    Raises:
        DataError: the input cannot be read or gives no line, or the output is the input or a
            folder.
    """
    refuse_output(out, reports)
    counts = InjectionCounts()
    with ExitStack() as stack:
        lines, position = _opened(reports, column, stack)
        stream = sys.stdout
        if out != STANDARD:
            temporary = stack.enter_context(replacing(out))
            stream = stack.enter_context(temporary.open("w", encoding="utf-8"))
        for line in handle(_usable(lines, counts), counts):
            stream.write(json.dumps(line, ensure_ascii=True, allow_nan=False) + "\n")
            counts.written[line["about"]["label"]] += 1
            progress(position())
        if not counts.written.keys() - (frozenset[str]() if only_controls else _CONTROLS):
            reasons = ", ".join(f"{code} {n}" for code, n in counts.unused.items()) or "no line"
            raise DataError(
                f"{reports}: none of {counts.read} lines gave an erroneous report ({reasons}); "
                f"{_hint(counts)}"
            )
    return counts
