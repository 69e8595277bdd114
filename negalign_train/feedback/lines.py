"""A JSONL file as numbered lines, read in constant memory, and one line as an event."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from negalign_train.feedback.fields import QuarantineError
from negalign_train.feedback.schema import parse_event
from negalign_train.vocabulary.errors import FeedbackError
from negalign_train.vocabulary.records import Event

MAX_EVENT_BYTES = 1 << 20
"""A report takes some kilobytes; the bound keeps the memory of an import flat."""
_CHUNK_BYTES = 1 << 20
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class RawLine:
    """One non-blank line. ``offset`` is its first byte's place in the file.

    ``sha256`` is of the line without its newline. ``content`` is None where the line is longer than
    ``MAX_EVENT_BYTES``; ``ended`` is False for a last line without its newline, which a writer may
    still be busy with.
    """

    number: int
    offset: int
    sha256: str
    ended: bool
    content: bytes | None


def read_lines(path: Path) -> Iterator[RawLine]:
    """The non-blank lines of a file, in order, numbered from 1.

    Raises:
        FeedbackError: the file cannot be read.
    """
    try:
        with path.open("rb") as stream:
            number = 0
            offset = 0
            while first := stream.readline(MAX_EVENT_BYTES + 1):
                number += 1
                length, ended, sha256 = _rest_of_line(stream, first)
                whole = length == len(first) and length <= MAX_EVENT_BYTES
                if first.strip() or not whole:
                    content = first.removeprefix(_BOM) if offset == 0 else first
                    yield RawLine(number, offset, sha256, ended, content if whole else None)
                offset += length
    except OSError as error:
        raise FeedbackError(
            f"{path}: cannot be read ({error.strerror}); give a JSONL file of "
            "negalign.feedback/1 events"
        ) from error


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


def parse_line(raw: bytes) -> Event:
    """One line of a JSONL log as an event.

    Raises:
        QuarantineError: with the codes of ``parse_event``, or ``not_utf8``, ``not_json``,
            ``duplicate_key``.
    """
    try:
        line = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise QuarantineError("not_utf8", f"byte {error.start} is not UTF-8") from None
    try:
        value = json.loads(line, object_pairs_hook=_distinct_keys, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise QuarantineError("not_json", f"{error.msg} at character {error.pos}") from None
    except (RecursionError, ValueError):  # nested too deep; a number of thousands of digits
        raise QuarantineError("not_json", "nested too deep, or a number too long") from None
    return parse_event(value)


def _distinct_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise QuarantineError("duplicate_key", "an object holds the same key twice")
    return members


def _no_constant(name: str) -> float:
    raise QuarantineError("not_json", f"{name} is not JSON")
