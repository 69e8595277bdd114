"""Cases as JSON Lines: one object per line, keys as the fields of ``records.Case``.

``case_id``, ``prompt`` and ``reference`` are needed. ``group`` defaults to the case id,
``findings`` to none, ``has_prior`` to false, ``source`` to the empty string. Unknown keys are
errors: a misspelt key would otherwise leave the default standing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from negalign_train.cases.catalogue import finding_names
from negalign_train.vocabulary.errors import DataError
from negalign_train.vocabulary.records import Case, Finding
from negalign_train.vocabulary.special_tokens import holds_special_token

_NEEDED = ("case_id", "prompt", "reference")
_CASE_KEYS = frozenset(field.name for field in fields(Case))
_FINDING_KEYS = frozenset(field.name for field in fields(Finding))
_ALLOWED = {
    "side": ("left", "right", "bilateral"),
    "degree": ("mild", "moderate", "severe"),
    "change": ("new", "stable", "improved", "worse"),
}


def _fail(place: str, problem: str) -> DataError:
    return DataError(f"{place}: {problem}; correct the line")


def _check_keys(place: str, data: dict[str, Any], known: frozenset[str]) -> None:
    unknown = sorted(set(data) - known)
    if unknown:
        allowed = ", ".join(sorted(known))
        raise _fail(place, f"unknown keys {', '.join(unknown)}; allowed are {allowed}")


def _text(place: str, data: dict[str, Any], key: str, default: str | None = None) -> str:
    value = data.get(key, default)
    if not isinstance(value, str) or (default is None and not value.strip()):
        raise _fail(place, f"{key} must be a non-empty text, got {type(value).__name__}")
    return value


def _finding(place: str, data: Any) -> Finding:
    if not isinstance(data, dict):
        raise _fail(place, f"a finding must be an object, got {type(data).__name__}")
    _check_keys(place, data, _FINDING_KEYS)
    if data.get("name") not in finding_names():
        raise _fail(place, f"finding {data.get('name')!r} is not in data/findings.yaml")
    if not isinstance(data.get("present", True), bool):
        raise _fail(place, "present must be true or false")
    for key, allowed in _ALLOWED.items():
        if data.get(key) is not None and data[key] not in allowed:
            raise _fail(place, f"{key} {data[key]!r} is not one of {', '.join(allowed)}")
    if not isinstance(data.get("location"), str | None):
        raise _fail(place, "location must be a text or null")
    return Finding(**data)


def _case(place: str, line: str) -> Case:
    try:
        data = json.loads(line)
    except json.JSONDecodeError as error:
        raise _fail(place, f"not JSON ({error.msg} at column {error.colno})") from error
    if not isinstance(data, dict):
        raise _fail(place, f"an object is needed, got {type(data).__name__}")
    _check_keys(place, data, _CASE_KEYS)
    for key in _NEEDED:
        if holds_special_token(_text(place, data, key)):
            raise _fail(place, f"{key} holds a control token of a chat template")
    findings = data.get("findings", [])
    if not isinstance(findings, list):
        raise _fail(place, f"findings must be a list, got {type(findings).__name__}")
    if not isinstance(data.get("has_prior", False), bool):
        raise _fail(place, "has_prior must be true or false")
    return Case(
        case_id=data["case_id"],
        group=_text(place, data, "group", default=data["case_id"]),
        prompt=data["prompt"],
        reference=data["reference"],
        findings=tuple(_finding(place, item) for item in findings),
        has_prior=data.get("has_prior", False),
        source=_text(place, data, "source", default=""),
    )


def read_cases(path: Path) -> list[Case]:
    """The cases of a JSON Lines file in its order; empty lines are passed over.

    Raises:
        DataError: the file cannot be read, a line is wrong (with its number), or an id repeats.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path}: cannot be read as UTF-8 ({type(error).__name__}); check path and file"
        ) from error
    cases: list[Case] = []
    seen: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        place = f"{path}, line {number}"
        case = _case(place, line)
        if case.case_id in seen:
            raise _fail(place, f"case_id {case.case_id!r} is that of line {seen[case.case_id]}")
        seen[case.case_id] = number
        cases.append(case)
    return cases


def write_cases(path: Path, cases: Iterable[Case]) -> None:
    """Writes cases so that ``read_cases`` gives the same records back."""
    with path.open("w", encoding="utf-8") as stream:
        for case in cases:
            stream.write(json.dumps(asdict(case), ensure_ascii=False) + "\n")
