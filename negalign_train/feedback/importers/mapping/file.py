"""Mapping files (``--map``) and settings (``--set``), read strictly."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import yaml

from negalign_train.feedback.fields import kind_of
from negalign_train.feedback.importers.mapping.apply import (
    MARK_TARGETS,
    TARGETS,
    FieldMapping,
    FieldPath,
)
from negalign_train.feedback.importers.mapping.values import flag_value, word
from negalign_train.vocabulary.errors import FeedbackError

RADPEER_GRADES: Mapping[str, str] = {
    "1": "accept", "2": "partial", "2a": "partial", "2b": "reject",
    "3": "partial", "3a": "partial", "3b": "reject", "4": "reject",
}  # fmt: skip
"""RADPEER's grades of a report, where a sheet brings the report as well."""
_SETTINGS = ("severity_scale", "spans", "time_zone", "assume_submitted")


def read_mapping(path: Path) -> FieldMapping:
    """A mapping file.

    Raises:
        FeedbackError: the file cannot be read, or says something that is not known.
    """
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FeedbackError(f"{path}: cannot be read ({error.strerror})") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark is not None else ""
        raise FeedbackError(f"{path}{where}: is no YAML in UTF-8") from error
    if not isinstance(data, Mapping):
        raise FeedbackError(f"{path}: a mapping is an object, not {kind_of(data)}")
    return _parsed(data, str(path))


def set_mapping(settings: Sequence[str]) -> FieldMapping:
    """What ``--set NAME=VALUE`` says.

    Raises:
        FeedbackError: a name that is not known, or a value that does not fit it.
    """
    data: dict[str, Any] = {"set": {}}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals or not value:
            raise FeedbackError(f"--set {setting}: write --set NAME=VALUE")
        if name in _SETTINGS:
            data[name] = flag_value(value) if name == "assume_submitted" else value
        else:
            data["set"][name] = value
    return _parsed(data, "--set")


def _parsed(data: Mapping[str, Any], where: str) -> FieldMapping:
    known = ("fields", "set", "ignore", "grades", "categories", "severities", "edit_types")
    _refuse_unknown(data, (*known, *_SETTINGS), where)
    paths = _table(data, "fields", where)
    constants = _table(data, "set", where)
    _refuse_unknown(paths, (*TARGETS, *MARK_TARGETS), f"{where}, fields")
    _refuse_unknown(constants, tuple(t for t in TARGETS if t != "errors"), f"{where}, set")
    both = sorted(paths.keys() & constants.keys())
    if both:
        raise FeedbackError(f"{where}: {both[0]} stands in fields and in set; give one")
    return FieldMapping(
        fields={name: _path(value, f"{where}, fields.{name}") for name, value in paths.items()},
        constants=constants,
        ignored=tuple(_strings(data.get("ignore", []), f"{where}, ignore")),
        grades=_grades(data, where),
        categories=_words(data, "categories", where),
        severities={k: _number(v, where) for k, v in _words(data, "severities", where).items()},
        edit_types=_words(data, "edit_types", where),
        scale=_scale(data.get("severity_scale"), where),
        word_spans=_spans(data.get("spans"), where),
        time_zone=_zone(data.get("time_zone"), where),
        assume_submitted=_flag(data.get("assume_submitted", False), where),
    )


_SCALE = re.compile(r"(-?[\d.]+)-(-?[\d.]+)")


def _refuse_unknown(data: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    unknown = sorted(str(name) for name in data if name not in known)
    if unknown:
        raise FeedbackError(f"{where}: {unknown[0]!r} is not known; known: {', '.join(known)}")


def _table(data: Mapping[str, Any], name: str, where: str) -> Mapping[str, Any]:
    value = data.get(name) or {}
    if not isinstance(value, Mapping):
        raise FeedbackError(f"{where}: {name} must be a table, not {kind_of(value)}")
    return value


def _words(data: Mapping[str, Any], name: str, where: str) -> dict[str, Any]:
    return {word(key): value for key, value in _table(data, name, where).items()}


def _grades(data: Mapping[str, Any], where: str) -> dict[str, Any]:
    return (
        dict(RADPEER_GRADES) if data.get("grades") == "radpeer" else _words(data, "grades", where)
    )


def _path(value: Any, where: str) -> FieldPath:
    if isinstance(value, list) and len(value) == 2 and all(isinstance(v, str) for v in value):
        return value[0], value[1]
    if not isinstance(value, str) or not value:
        raise FeedbackError(f"{where}: must be the name of a field of the export")
    return value


def _strings(value: Any, where: str) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise FeedbackError(f"{where}: must be a list of field names")
    return value


def _number(value: Any, where: str) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 1:
        raise FeedbackError(f"{where}: severities must be numbers in [0, 1], not {kind_of(value)}")
    return float(value)


def _scale(value: Any, where: str) -> tuple[float, float] | None:
    if value is None:
        return None
    if isinstance(value, str) and (match := _SCALE.fullmatch(value)) is not None:
        value = match.groups()
    try:
        best, worst = (float(end) for end in value)
    except (TypeError, ValueError):
        best = worst = 0.0
    if best == worst:
        raise FeedbackError(
            f"{where}: severity_scale must be the best and the worst value, such as [0, 4] "
            "(--set severity_scale=0-4)"
        )
    return best, worst


def _spans(value: Any, where: str) -> bool | None:
    if value not in (None, "words", "characters"):
        raise FeedbackError(f"{where}: spans must be characters or words")
    return None if value is None else value == "words"


def _zone(value: Any, where: str) -> str | None:
    try:
        return None if value is None else ZoneInfo(value).key
    except (ZoneInfoNotFoundError, TypeError, ValueError) as error:
        raise FeedbackError(
            f"{where}: time_zone must be a name such as UTC or Europe/Berlin"
        ) from error


def _flag(value: Any, where: str) -> bool:
    if not isinstance(value, bool):
        raise FeedbackError(f"{where}: assume_submitted must be true or false")
    return value
