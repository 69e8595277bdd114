"""A stream of JSON Lines as numbered lines, read in constant memory, and one line as JSON."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from negalign_train.feedback.fields import QuarantineError
from negalign_train.feedback.source import InputFile

MAX_EVENT_BYTES = 1 << 20
"""A report takes some kilobytes; the bound keeps the memory of an import flat."""
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class RecordPlace:
    """Where a record of an export stands: its file, its number from 1, its first byte, and the
    SHA-256 of its content.

    Bytes are counted in the text as UTF-8, unpacked, without a byte order mark. In a document that
    is no list of lines, ``offset`` is the number of the record.
    """

    origin: str
    number: int
    offset: int
    sha256: str


@dataclass(frozen=True)
class RawLine:
    """One non-blank line. ``offset`` is its first byte's place in the text.

    ``content`` is None where the line is longer than ``MAX_EVENT_BYTES``, and ``digest`` then the
    SHA-256 of all of it; ``ended`` is False for a last line without its newline, which a writer may
    still be busy with.
    """

    origin: str
    number: int
    offset: int
    length: int
    ended: bool
    content: bytes | None
    digest: str | None = None

    @property
    def place(self) -> RecordPlace:
        content = (self.content or b"").removesuffix(b"\n")
        digest = self.digest or hashlib.sha256(content).hexdigest()
        return RecordPlace(self.origin, self.number, self.offset, digest)


def read_lines(source: InputFile) -> Iterator[RawLine]:
    """The non-blank lines of a file, in order, numbered from 1.

    Raises:
        FeedbackError: the file cannot be read.
    """
    with source.stream() as stream:
        number = offset = 0
        while first := stream.readline(MAX_EVENT_BYTES + 1):
            number += 1
            length, ended, digest = len(first), first.endswith(b"\n"), None
            if length > MAX_EVENT_BYTES:
                length, ended, digest = _rest_of_line(stream, first)
            if digest is not None or not first.isspace():
                content = None if digest is not None else first
                yield RawLine(source.origin, number, offset, length, ended, content, digest)
            offset += length


def _rest_of_line(stream: BinaryIO, first: bytes) -> tuple[int, bool, str]:
    """Reads to the end of the line that began with ``first``.

    Returns its bytes, whether a newline ends it, and the SHA-256 of what stands before that.
    """
    digest = hashlib.sha256(first.removesuffix(b"\n"))
    length = len(first)
    last = first
    while not last.endswith(b"\n") and (more := stream.readline(_CHUNK_BYTES)):
        digest.update(more.removesuffix(b"\n"))
        length += len(more)
        last = more
    return length, last.endswith(b"\n"), digest.hexdigest()


def decode_line(line: RawLine) -> Any:
    """One line as a JSON value.

    Raises:
        QuarantineError: ``line_too_long``, ``not_utf8``, ``not_json``, ``duplicate_key``.
    """
    if line.content is None:
        raise QuarantineError("line_too_long", f"more than {MAX_EVENT_BYTES} bytes")
    try:
        text = line.content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise QuarantineError("not_utf8", f"byte {error.start} is not UTF-8") from None
    return decode_json(text)


def decode_json(text: str) -> Any:
    """JSON of one record, read strictly: no NaN, no key twice.

    Raises:
        QuarantineError: ``not_json``, ``duplicate_key``.
    """
    try:
        return STRICT.decode(text)
    except json.JSONDecodeError as error:
        raise QuarantineError("not_json", f"{error.msg} at character {error.pos}") from None
    except (RecursionError, ValueError):  # nested too deep; a number of thousands of digits
        raise QuarantineError("not_json", "nested too deep, or a number too long") from None


def _distinct_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise QuarantineError("duplicate_key", "an object holds the same key twice")
    return members


def _no_constant(name: str) -> float:
    raise QuarantineError("not_json", f"{name} is not JSON")


STRICT = json.JSONDecoder(object_pairs_hook=_distinct_keys, parse_constant=_no_constant)
