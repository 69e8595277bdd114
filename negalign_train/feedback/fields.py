"""Typed reading of one JSON object's fields. Every refusal has a stable reason code.

Messages name the place, the expected form and the kind of the value, never report text. The value
itself is shown only where a number or a word of a closed vocabulary is expected.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cache
from typing import Any, TypeVar

from negalign_train.vocabulary.errors import FeedbackError

JsonKind = TypeVar("JsonKind")

MAX_ID_CHARACTERS = 200
_MAX_NAMED = 5
MAX_INTEGER = 2**31 - 1
"""Revisions and turns fit a 32-bit database column."""

_PLAIN_ID = re.compile(rf"[\w.:/@+-]{{1,{MAX_ID_CHARACTERS}}}", re.ASCII)
"""Most ids: what follows is only looked at in the others."""
_SHOWABLE = re.compile(r"[\w.:/+-]{1,40}", re.ASCII)
_UNREADABLE = re.compile("[\x00\ud800-\udfff]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_JSON_NAMES = {
    dict: "an object",
    list: "a list",
    str: "text",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    type(None): "null",
}


class QuarantineError(FeedbackError):
    """One event cannot enter the log. ``code`` is stable, ``message`` holds no report text."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message

    def joined_by(self, more: str) -> QuarantineError:
        """The same reason with further words."""
        return type(self)(self.code, self.message + more)


class Problems(list[QuarantineError]):
    """The reasons why one event cannot enter the log, all of them, in the order of reading."""

    def read(self, reader: Callable[..., Any], *arguments: Any) -> Any:
        """What ``reader`` makes of the arguments; None where it refuses, and the reason is kept."""
        try:
            return reader(*arguments)
        except QuarantineError as problem:
            self.append(problem)
            return None

    def refuse(self) -> None:
        """Raises QuarantineError where there is a reason, with the code of the first and the words
        of all.
        """
        if self:
            first, *others = self
            also = "".join(f"; also {other}" for other in others)
            raise first.joined_by(also) from first


def kind_of(value: object) -> str:
    """What a JSON value is, without the value."""
    return _JSON_NAMES.get(type(value), f"a value of type {type(value).__name__}")


def shown(value: object) -> str:
    """A word of a closed vocabulary, for a message: as it is where it looks like one word or a
    number, otherwise by its kind. Never for fields that hold report text.
    """
    if isinstance(value, str) and not _SHOWABLE.fullmatch(value):
        return f"text of {len(value)} characters"
    if isinstance(value, str) or (isinstance(value, (int, float)) and abs(value) < 1e12):
        return repr(value)
    return kind_of(value)


@cache
def _all_keys(required: frozenset[str], optional: frozenset[str]) -> frozenset[str]:
    return required | optional


def check_keys(
    value: object,
    where: str,
    required: frozenset[str],
    optional: frozenset[str] = frozenset(),
) -> Mapping[str, Any]:
    """``value`` as an object that holds all ``required`` keys and no unknown one."""
    if not isinstance(value, Mapping):
        raise QuarantineError("bad_type", f"{where} must be an object, not {kind_of(value)}")
    keys = value.keys()
    if required <= keys and (keys == required or keys <= _all_keys(required, optional)):
        return value
    unknown = sorted(shown(key) for key in keys - required - optional)
    missing = sorted(required - keys)
    reasons = []
    if unknown:
        allowed = ", ".join(sorted(required | optional))
        held = ", ".join(unknown[:_MAX_NAMED])
        reasons.append(f"{where} holds {len(unknown)} unknown key(s): {held}; allowed: {allowed}")
    if missing:
        reasons.append(f"{where} lacks {', '.join(missing)}")
    words = "; ".join(reasons)
    raise (
        QuarantineError("unknown_key", words) if unknown else QuarantineError("missing_key", words)
    )


def typed(value: object, kind: type[JsonKind], where: str) -> JsonKind:
    """``value`` if it is of ``kind``; a boolean is never a number."""
    if type(value) is kind:
        return value
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise QuarantineError(
            "bad_type", f"{where} must be {_JSON_NAMES[kind]}, not {kind_of(value)}"
        )
    return value


def text(value: object, where: str) -> str:
    """Any text that can be stored: no NUL, no half of a surrogate pair."""
    words = typed(value, str, where)
    plain = words.isascii() and "\x00" not in words
    if not plain and _UNREADABLE.search(words):
        raise QuarantineError("bad_text", f"{where} holds a NUL or a lone surrogate")
    return words


def identifier(value: object, where: str) -> str:
    """A non-blank text without control characters, at most ``MAX_ID_CHARACTERS`` long."""
    name = typed(value, str, where)
    if _PLAIN_ID.fullmatch(name):
        return name
    if not name.strip() or len(name) > MAX_ID_CHARACTERS or _CONTROL.search(name):
        raise QuarantineError(
            "bad_id",
            f"{where} must hold 1 to {MAX_ID_CHARACTERS} characters and no control characters",
        )
    return name


def positive_integer(value: object, where: str) -> int:
    """A whole number from 1 to ``MAX_INTEGER``; 1.0 is one."""
    if isinstance(value, float):
        if not value.is_integer():
            raise QuarantineError("bad_number", f"{where} {shown(value)} is not a whole number")
        value = int(value)
    count = typed(value, int, where)
    if not 1 <= count <= MAX_INTEGER:
        raise QuarantineError("bad_number", f"{where} {shown(count)} is not in [1, {MAX_INTEGER}]")
    return count


def real_number(value: object, where: str) -> float:
    """A finite or infinite number as float; range checks are the caller's."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise QuarantineError("bad_type", f"{where} must be a number, not {kind_of(value)}")
    return math.inf if abs(value) > 1e300 else float(value)


def utc_text(value: object, where: str) -> str:
    """ISO 8601 date and time with its offset, kept as written."""
    written = typed(value, str, where)
    try:
        moment = datetime.fromisoformat(written)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise QuarantineError(
            "bad_time",
            f"{where} must be ISO 8601 with a time zone, such as 2026-11-02T09:14:00Z, "
            f"not {shown(written)}",
        )
    return written
