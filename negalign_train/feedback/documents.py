"""A file as a list of records, whatever holds them: JSON Lines, a JSON array, JSON objects written
over several lines, a table with a header, HL7 messages. One record is in memory at a time.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, BinaryIO, Literal

from negalign_train.feedback.fields import QuarantineError
from negalign_train.feedback.lines import STRICT, decode_json, decode_line, read_lines
from negalign_train.feedback.source import InputFile
from negalign_train.vocabulary.errors import FeedbackError

Shape = Literal["array", "objects", "lines", "table", "hl7"]
MAX_RECORD_CHARACTERS = 1 << 26
"""Of one JSON value: a task with all its annotations, a bundle of reports."""
_CHUNK_BYTES = 1 << 20
_LONG_LINE = 60_000
_MAX_CELL_CHARACTERS = 1 << 20
_SPACE = re.compile(r"\s*")
_HL7 = re.compile(r"^\W{0,3}MSH\|", re.MULTILINE)
_DELIMITERS = (",", ";", "\t", "|")


@dataclass(frozen=True)
class RawRecord:
    """One record of a file as it stands, ``number`` from 1; ``offset`` is its first byte in lines,
    its number elsewhere. ``problem`` is set where it could not be decoded.
    """

    origin: str
    number: int
    offset: int
    value: Any
    problem: QuarantineError | None = None
    raw: bytes = b""


def shape_of(source: InputFile) -> Shape:
    """What holds the records of a file.

    Raises:
        FeedbackError: the file is empty or XML.
    """
    head = source.head()
    start = head.lstrip()
    if not start:
        return "lines"
    if start.startswith("<?xml"):
        raise FeedbackError(f"{source.path}: is XML; export JSON instead. Nothing was imported")
    if _HL7.search(head):
        return "hl7"
    if (start[0] == "[" and start[1:].lstrip()[:1] in ("{", "")) or re.fullmatch(
        r"\[\s*\]\s*", start
    ):
        return "array"
    if start[0] == "{":
        first_line, newline, _ = start.partition("\n")
        if not newline and len(head) > _LONG_LINE:
            return "lines" if _has_second_line(source) else "objects"
        return "lines" if _is_json(first_line) else _objects_or_lines(source)
    is_table = source.name.lower().endswith((".csv", ".tsv", ".tab"))
    return "table" if is_table or _looks_like_header(start) else "lines"


def _has_second_line(source: InputFile) -> bool:
    """Whether anything follows the first line, however long that is."""
    with source.stream() as stream:
        while (part := stream.readline(_CHUNK_BYTES)) and not part.endswith(b"\n"):
            pass
        return any(line.strip() for line in iter(partial(stream.readline, _CHUNK_BYTES), b""))


def _is_json(line: str) -> bool:
    try:
        decode_json(line)
    except QuarantineError as problem:
        return problem.code != "not_json"
    return True


def _objects_or_lines(source: InputFile) -> Shape:
    """Whether the first JSON value goes on over several lines, or the first line is broken."""
    try:
        next(_objects(source))
    except (FeedbackError, QuarantineError, StopIteration):
        return "lines"
    return "objects"


def _looks_like_header(start: str) -> bool:
    """A line of short names, and a second line: a table whose file has another name."""
    header, _, rest = start.partition("\n")
    delimiter = max(_DELIMITERS, key=header.count)
    names = [name.strip() for name in header.split(delimiter)]
    in_rows = delimiter in rest.partition("\n")[0]
    return len(names) > 1 and in_rows and all(0 < len(name) < 60 for name in names)


def read_items(source: InputFile, shape: Shape) -> Generator[RawRecord]:
    """The records of a file.

    Raises:
        FeedbackError: the file breaks off, or is no such document; the message says where.
    """
    if shape == "lines":
        yield from _lines(source)
    elif shape == "table":
        yield from _rows(source)
    elif shape == "hl7":
        yield from _messages(source)
    else:
        values = _array(source) if shape == "array" else _objects(source)
        for number, value in enumerate(values, 1):
            yield RawRecord(source.origin, number, number, value)


def _lines(source: InputFile) -> Iterator[RawRecord]:
    for line in read_lines(source):
        raw = line.content or b""
        value, problem = None, None
        try:
            value = decode_line(line)
        except QuarantineError as refusal:
            problem = refusal
        yield RawRecord(source.origin, line.number, line.offset, value, problem, raw)


class _Text:
    """A stream of text that is read forward, and the part of it that is needed in memory."""

    def __init__(self, source: InputFile, stream: BinaryIO) -> None:
        self._source = source
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._text = ""
        self._ended = False
        self._chunk = _CHUNK_BYTES
        self.count = 0

    def _more(self) -> bool:
        if self._ended:
            return False
        block = self._stream.read(self._chunk)
        self._ended = not block
        self._text += self._decoder.decode(block, final=self._ended)
        return True

    def next_character(self) -> str:
        """The next character that is no space, without taking it; empty at the end."""
        while True:
            self._text = self._text[_SPACE.match(self._text).end() :]  # type: ignore[union-attr]
            if self._text or not self._more():
                return self._text[:1]

    def take(self) -> None:
        self._text = self._text[1:]

    def value(self) -> Any:
        """The JSON value that begins here."""
        self._chunk = _CHUNK_BYTES
        self.count += 1
        while True:
            try:
                value, end = STRICT.raw_decode(self._text)
            except json.JSONDecodeError as error:
                small = len(self._text) < MAX_RECORD_CHARACTERS
                if small and self._more():
                    self._chunk *= 2  # so that a long value is not decoded many times
                    continue
                reason = error.msg if small else f"more than {MAX_RECORD_CHARACTERS} characters"
                raise self.broken(reason) from None
            except QuarantineError as problem:
                raise self.broken(problem.message) from problem
            except (RecursionError, ValueError):
                raise self.broken("nested too deep, or a number too long") from None
            self._text = self._text[end:]
            return value

    def broken(self, reason: str) -> FeedbackError:
        return FeedbackError(
            f"{self._source.path}: record {self.count} is no whole JSON ({reason}); the file may "
            "have been cut off: export it again. Nothing was imported"
        )


def _array(source: InputFile) -> Iterator[Any]:
    with source.stream() as stream:
        text = _Text(source, stream)
        assert text.next_character() == "["
        text.take()
        while (character := text.next_character()) != "]":
            if text.count:
                if character != ",":
                    raise text.broken("a comma or ] must follow it")
                text.take()
                text.next_character()
            yield text.value()
        text.take()
        if text.next_character():
            raise text.broken("something stands behind the list")


def _objects(source: InputFile) -> Iterator[Any]:
    with source.stream() as stream:
        text = _Text(source, stream)
        while text.next_character():
            yield text.value()


@contextmanager
def _text_lines(stream: BinaryIO, newline: str | None) -> Iterator[io.TextIOWrapper]:
    """The stream as lines of text; it stays open for its owner to close."""
    text = io.TextIOWrapper(stream, encoding="utf-8", newline=newline)
    try:
        yield text
    finally:
        text.detach()


def _rows(source: InputFile) -> Iterator[RawRecord]:
    csv.field_size_limit(_MAX_CELL_CHARACTERS)
    with source.stream() as stream, _text_lines(stream, "") as table:
        header_line = source.head().lstrip().partition("\n")[0]
        delimiter = max(_DELIMITERS, key=header_line.count)
        reader = csv.reader(table, delimiter=delimiter, strict=True)
        try:
            header = [name.strip() for name in next(reader)]
            _check_header(source, header)
            for number, cells in enumerate(reader, 1):
                if not any(cell.strip() for cell in cells):
                    continue
                if len(cells) != len(header):
                    raise FeedbackError(
                        f"{source.path}: row {number} has {len(cells)} cells, the header "
                        f"{len(header)}; quote cells that hold {delimiter!r}. Nothing was imported"
                    )
                row = dict(zip(header, cells, strict=True))
                yield RawRecord(source.origin, number, number, row)
        except csv.Error as error:
            raise FeedbackError(
                f"{source.path}: line {reader.line_num} is no CSV ({error}); nothing was imported"
            ) from error


def _check_header(source: InputFile, header: list[str]) -> None:
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice or "" in header:
        problem = f"names column {twice[0]!r} twice" if twice else "has a column without a name"
        raise FeedbackError(f"{source.path}: the header {problem}. Nothing was imported")


def _messages(source: InputFile) -> Iterator[RawRecord]:
    """HL7 messages, each a text from its MSH segment to the next one."""
    message: list[str] = []
    number = 0
    with source.stream() as stream, _text_lines(stream, None) as text:
        for line in text:
            segment = line.lstrip("\x0b ")
            if segment.startswith("MSH|") and message:
                number += 1
                yield RawRecord(source.origin, number, number, "".join(message))
                message = []
            if segment.startswith("MSH|") or message:
                message.append(segment)
    if message:
        yield RawRecord(source.origin, number + 1, number + 1, "".join(message))
