"""Expert sets as JSONL files, read strictly: a line that is not understood refuses the file."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from negalign_train.severity.judges.base import ReportPair
from negalign_train.severity.judges.pair_files import case_context
from negalign_train.severity.reading.context import CaseContext
from negalign_train.severity.trust.expert.expert_set import (
    ExpectationTest,
    ExpertSet,
    RankingTest,
    RatedReport,
    Rating,
    case_of,
)
from negalign_train.severity.trust.expert.expressions import parse_expectation
from negalign_train.vocabulary.errors import DataError
from negalign_train.vocabulary.taxonomy import taxonomy

_SHARED = frozenset(
    ["id", "case", "kind", "reference", "context", "age", "indication", "why", "about"]
)
_KINDS = ("ratings", "candidates", "expect")
_OWN = {
    "ratings": frozenset(["ratings", "candidate"]),
    "candidates": frozenset(["candidates"]),
    "expect": frozenset(["expect", "candidate"]),
}
_RATED_BY = ("errors", "total", "quality")
_WHAT = "one of ratings, candidates and expect"


def read_expert_set(path: Path) -> ExpertSet:
    """An expert set from a JSONL file (``docs/judges.md`` has the format).

    Raises:
        DataError: a line is not understood, an id comes twice, or reports are rated on two scales.
    """
    reader = _Reader(str(path))
    try:
        with path.open("rb") as stream:
            for number, line in enumerate(stream, start=1):
                if line.strip():
                    reader.add(number, line)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    return reader.finish()


def text_field(data: Mapping[str, Any], key: str) -> str:
    """A text that has to be there.

    Raises:
        DataError: it is missing, no text, or blank.
    """
    value = data.get(key)
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{key} must be text that is not blank")
    return value


def number_field(data: Mapping[str, Any], key: str, low: float = -math.inf) -> float:
    """A finite number that has to be there.

    Raises:
        DataError: it is missing, no number, or below ``low``.
    """
    value = data.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise DataError(f"{key} must be a number")
    if value < low:
        raise DataError(f"{key} must be at least {low:g}")
    return float(value)


class _Reader:
    """The lines of one file, and what must be the same in all of them."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._ids: set[str] = set()
        self._scale: tuple[str, int] | None = None
        self._rated: list[RatedReport] = []
        self._rankings: list[RankingTest] = []
        self._expectations: list[ExpectationTest] = []

    def add(self, number: int, line: bytes) -> None:
        try:
            data = json.loads(line.decode("utf-8-sig"))
        except (ValueError, RecursionError) as error:
            raise DataError(
                f"{self._name}, line {number}: not JSON in UTF-8; write one object a line"
            ) from error
        try:
            self._add(data, number)
        except DataError as error:
            raise DataError(f"{self._name}, line {number}: {error}") from error

    def finish(self) -> ExpertSet:
        read = ExpertSet(tuple(self._rated), tuple(self._rankings), tuple(self._expectations))
        if not len(read):
            raise DataError(f"{self._name}: holds no line; give a file of {_WHAT} a line")
        return read

    def _add(self, data: Any, number: int) -> None:
        if not isinstance(data, Mapping):
            raise DataError("the line is not an object")
        held = [key for key in _KINDS if key in data]
        if len(held) != 1:
            raise DataError(f"holds {' and '.join(held) or 'none'} of {_WHAT}; give {_WHAT}")
        if unknown := sorted(data.keys() - _SHARED - _OWN[held[0]]):
            raise DataError(
                f"unknown key {', '.join(unknown)}; put what is no rating under `about`"
            )
        id_ = str(data["id"]) if isinstance(data.get("id"), str | int) else text_field(data, "id")
        if id_ in self._ids:
            raise DataError(f"id {id_} comes twice; give each line its own")
        self._ids.add(id_)
        reference, context = text_field(data, "reference"), _context(data)
        case = text_field(data, "case") if "case" in data else case_of(reference)

        def pair(candidate: str) -> ReportPair:
            return ReportPair(reference, candidate, context)

        if held[0] == "ratings":
            self._rated.append(
                RatedReport(id_, case, pair(_candidate(data)), self._ratings(data, number))
            )
        elif held[0] == "candidates":
            self._rankings.append(RankingTest(id_, case, _ranks(data["candidates"], pair)))
        else:
            expectation = parse_expectation(text_field(data, "expect"))
            kind = text_field(data, "kind") if "kind" in data else "no kind"
            self._expectations.append(
                ExpectationTest(id_, case, kind, pair(_candidate(data)), expectation)
            )

    def _ratings(self, data: Mapping[str, Any], number: int) -> tuple[Rating, ...]:
        given = data["ratings"]
        if not isinstance(given, list) or not given:
            raise DataError("ratings must be a list of one object a rater")
        ratings = tuple(self._rating(entry, number) for entry in given)
        if len({rating.rater for rating in ratings}) != len(ratings):
            raise DataError("a rater rates the report twice; give each rater once")
        return ratings

    def _rating(self, entry: Any, number: int) -> Rating:
        if not isinstance(entry, Mapping) or not entry.keys() <= {"rater", *_RATED_BY}:
            raise DataError("a rating holds rater and errors, total or quality, and nothing else")
        scale = next((key for key in ("quality", "total") if key in entry), "errors")
        if scale not in entry or ("quality" in entry and "total" in entry):
            raise DataError(
                "a rating needs errors, total (more is worse) or quality (more is better)"
            )
        if self._scale is None:
            self._scale = (scale, number)
        elif self._scale[0] != scale:
            raise DataError(
                f"rated by {scale}, line {self._scale[1]} by {self._scale[0]}; rate all reports of "
                "a file on one scale"
            )
        errors = _errors(entry["errors"]) if "errors" in entry else {}
        if scale == "errors":
            return Rating(text_field(entry, "rater"), errors, sum(errors.values()))
        total = number_field(entry, scale)
        return Rating(text_field(entry, "rater"), errors, -total if scale == "quality" else total)


def _errors(value: Any) -> dict[str, float]:
    """Category name to the amount of error, from an object of R1 to R9."""
    names = {category.id: category.name for category in taxonomy()}
    if not isinstance(value, Mapping) or not value or not value.keys() <= names.keys():
        raise DataError("errors must be an object of numbers for R1 to R9")
    return {names[key]: number_field(value, key, low=0.0) for key in value}


def _candidate(data: Mapping[str, Any]) -> str:
    """A candidate may be blank: judges say that they cannot score it."""
    value = data.get("candidate")
    if not isinstance(value, str):
        raise DataError("candidate must be text")
    return value


def _context(data: Mapping[str, Any]) -> CaseContext:
    """``context``, or ``age`` and ``indication`` at the top of the line."""
    top = {key: data[key] for key in ("age", "indication") if key in data}
    if top and "context" in data:
        raise DataError("age and indication stand beside context; give one of the two")
    return case_context(top or data.get("context"))


def _ranks(value: Any, pair: Callable[[str], ReportPair]) -> tuple[tuple[ReportPair, ...], ...]:
    if not isinstance(value, list) or not value:
        raise DataError("candidates must be a list, best first; equally good ones as a list inside")
    ranks = [entry if isinstance(entry, list) else [entry] for entry in value]
    texts = [text for rank in ranks for text in rank]
    if len(texts) < 2 or not all(isinstance(text, str) for text in texts) or not all(ranks):
        raise DataError("candidates must hold two texts or more")
    return tuple(tuple(pair(text) for text in rank) for rank in ranks)
