"""The words that people and systems use for what an event holds, as the schema says it. Pure.

Only words that can mean one thing are read. A number never becomes a grade, and no severity changes
its scale, unless a mapping says so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from negalign_train.vocabulary.records import Grade
from negalign_train.vocabulary.taxonomy import taxonomy

GRADE_WORDS: Mapping[str, Grade] = {
    **dict.fromkeys(
        ("accept", "accepted", "accept as is", "approve", "approved", "thumbs up", "thumb up",
         "thumbsup", "up", "like", "\N{THUMBS UP SIGN}", "+1"), "accept"),
    **dict.fromkeys(
        ("partial", "partially accept", "partially accepted", "partial accept",
         "partly accepted", "accept with edits", "accepted with edits", "accept with changes",
         "accepted with changes"), "partial"),
    **dict.fromkeys(
        ("reject", "rejected", "thumbs down", "thumb down", "thumbsdown", "down", "dislike",
         "\N{THUMBS DOWN SIGN}", "-1"), "reject"),
}  # fmt: skip
_ID_KEYS = ("event_id", "case_id", "study_id", "patient_id", "thread_id")
_COUNT_KEYS = ("revision", "turn")
_ROLES = {"human": "user", "gpt": "assistant", "model": "assistant", "ai": "assistant",
          "bot": "assistant"}  # fmt: skip
_NUMBER = re.compile(r"[+-]?\d+(?:\.\d*)?(?:[eE][+-]?\d+)?")
_SPACES = re.compile(r"[\s_-]+")


def word(value: object) -> str:
    """A word to look up: lower case, one space for spaces, underscores and hyphens."""
    text = str(value).strip().casefold()
    return text if text in ("+1", "-1") else _SPACES.sub(" ", text).strip()


def grade_value(value: Any) -> Any:
    """accept, partial or reject; a thumb as true or false; anything else as it is."""
    if isinstance(value, bool):
        return "accept" if value else "reject"
    return GRADE_WORDS.get(word(value), value) if isinstance(value, str) else value


def category_value(value: Any) -> Any:
    """One of the nine categories by its id, R1 to R9, or its name; anything else as it is."""
    if not isinstance(value, str):
        return value
    said = word(value)
    for category in taxonomy():
        name = word(category.name)
        if said in (name, category.id.casefold(), f"{category.id.casefold()} {name}"):
            return category.name
        if re.fullmatch(rf"{category.id}\W+{name}", said, re.IGNORECASE):
            return category.name
    return value


def id_value(value: Any) -> Any:
    """An id as text: systems count in numbers."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        whole = float(value).is_integer()
        return str(int(value)) if whole else value
    return value


def number_value(value: Any) -> Any:
    """A number that a table holds as text."""
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        number = float(value)
        return int(number) if number.is_integer() else number
    return value


def flag_value(value: Any) -> Any:
    """True or false that a table holds as text."""
    said = word(value) if isinstance(value, str) else ""
    return {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}.get(
        said, value
    )


def time_value(value: Any, time_zone: str | None) -> Any:
    """ISO 8601 with its zone. Seconds or milliseconds since 1970 are UTC; a time without a zone is
    of ``time_zone``, and left as it is where that is not said.
    """
    value = number_value(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        seconds = value / 1000 if value > 1e11 else value
        try:
            return datetime.fromtimestamp(seconds, UTC).isoformat()
        except (OverflowError, ValueError, OSError):
            return value
    if not isinstance(value, str):
        return value
    try:
        moment = datetime.fromisoformat(value.strip())
    except ValueError:
        return value
    if moment.tzinfo is None and time_zone is not None:
        return moment.replace(tzinfo=ZoneInfo(time_zone)).isoformat()
    return value.strip()


def messages_value(value: Any) -> Any:
    """Chat messages of ``{role, content}``; ShareGPT's ``{from, value}`` are read."""
    if not isinstance(value, list):
        return value
    return [_message_value(message) for message in value]


def _message_value(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    role, content = value.get("role", value.get("from")), value.get("content", value.get("value"))
    role = _ROLES.get(role, role) if isinstance(role, str) else role
    return {"role": role, "content": content}


def word_span(span: Any, completion: Any) -> Any:
    """Word indices [first, last + 1) of a completion as characters [start, end)."""
    if not (isinstance(span, list) and len(span) == 2 and isinstance(completion, str)):
        return span
    words = [match.span() for match in re.finditer(r"\S+", completion)]
    first, end = span
    if not all(isinstance(n, int) and not isinstance(n, bool) for n in span):
        return span
    if not 0 <= first <= end <= len(words):
        return [first, len(completion) + 1]  # outside the text: refused as such
    if first == end:
        place = words[first][0] if first < len(words) else len(completion)
        return [place, place]
    return [words[first][0], words[end - 1][1]]


def _loose_reader(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    reader = dict(value)
    if "lead_time" in reader and "seconds" not in reader:
        reader["seconds"] = reader.pop("lead_time")
    reader["id"] = id_value(reader.get("id"))
    reader["seconds"] = number_value(reader.get("seconds"))
    return reader


def _loose_mark(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    return dict(value) | {"category": category_value(value.get("category"))}


def loosened(event: Mapping[str, Any]) -> dict[str, Any]:
    """An event whose values are said in other words, in those of the schema: numbers as ids, whole
    numbers written as 1.0, ``R5`` for a category, "Accepted" for a grade, ``lead_time``.
    """
    result = dict(event)
    for name in _ID_KEYS:
        if name in result:
            result[name] = id_value(result[name])
    for name in _COUNT_KEYS:
        if name in result:
            result[name] = number_value(result[name])
    if "grade" in result:
        result["grade"] = grade_value(result["grade"])
    if isinstance(result.get("errors"), list):
        result["errors"] = [_loose_mark(mark) for mark in result["errors"]]
    if "reader" in result:
        result["reader"] = _loose_reader(result["reader"])
    if "lead_time" in result and isinstance(result.get("reader"), dict):
        reader = result["reader"]
        if reader.get("seconds") is None:
            result["reader"] = reader | {"seconds": result.pop("lead_time")}
    if "prompt" in result:
        result["prompt"] = messages_value(result["prompt"])
    return result
