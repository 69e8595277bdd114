"""Lines of a JSONL stream in flat memory, and one line as JSON; a bad line says what is wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, BinaryIO

_BOM = b"\xef\xbb\xbf"


class LineProblem(Exception):
    """Why a line cannot be used: a code, and what to do in words that quote no text."""

    def __init__(self, code: str, message: str, id_: str | int | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.id = code, message, id_


def numbered_lines(stream: BinaryIO, limit: int) -> Iterator[tuple[int, bytes]]:
    """Lines numbered from 1, without a byte-order mark; of one longer than ``limit`` bytes only its
    first bytes, the rest is passed over.
    """
    number = 0
    while line := stream.readline(limit + 1):
        number += 1
        rest = line
        while len(rest) == limit + 1 and not rest.endswith(b"\n"):
            rest = stream.readline(limit + 1)
        yield number, line.removeprefix(_BOM) if number == 1 else line


def json_value(line: bytes, limit: int) -> Any:
    """The value of one line.

    Raises:
        LineProblem: ``too_long``, ``not_utf8`` or ``not_json``.
    """
    if len(line) > limit:
        raise LineProblem("too_long", f"the line is longer than {limit} bytes")
    try:
        return json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise LineProblem("not_utf8", f"byte {error.start} of the line is not UTF-8") from error
    except (ValueError, RecursionError) as error:
        raise LineProblem("not_json", "the line is not JSON; one object per line") from error
