"""The pairs of ``tests/data/language_pairs_*.yaml``: the half of each, and whether it is right."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml

from negalign_train.severity.pricing.score import score_report
from negalign_train.vocabulary.records import SeverityScore
from negalign_train.vocabulary.taxonomy import taxonomy

Half = Literal["development", "held_back"]
_DATA = Path(__file__).resolve().parents[2] / "tests" / "data"


@dataclass(frozen=True, slots=True)
class Expected:
    """What a radiologist would say of ``candidate``: ``errors`` cost, ``may`` may cost, no
    other.

    ``better``: another candidate, which costs less. Without ``errors`` only the order counts, but
    for ``equal``, where nothing costs.
    """

    name: str
    kind: Literal["equal", "errors", "order", "report"]
    half: Half
    reference: str
    candidate: str
    equal: bool = False
    errors: frozenset[str] = frozenset()
    may: frozenset[str] = frozenset()
    better: str | None = None


def half_of(name: str) -> Half:
    """The half of an id, by its hash: nobody chooses."""
    digest = hashlib.sha256(name.encode()).digest()
    return "development" if digest[0] % 2 == 0 else "held_back"


def _ids(codes: list[str]) -> frozenset[str]:
    """R1 to R9 to the category ids of ``data/taxonomy.json``."""
    return frozenset(category.name for category in taxonomy() if category.id in codes)


def _load(name: str) -> dict[str, Any]:
    data: dict[str, Any] = yaml.safe_load((_DATA / name).read_text(encoding="utf-8"))
    return data


def _short() -> Iterator[Expected]:
    data = _load("language_pairs_short.yaml")
    for name, reference, candidate in data["equal"]:
        yield Expected(name, "equal", half_of(name), reference, candidate, equal=True)
    for name, reference, candidate, errors, *may in data["errors"]:
        found = Expected(
            name, "errors", half_of(name), reference, candidate,
            errors=_ids(errors), may=_ids(may[0]) if may else frozenset(),
        )  # fmt: skip
        yield found
    for name, reference, better, worse in data["order"]:
        yield Expected(name, "order", half_of(name), reference, worse, better=better)


def _reports() -> Iterator[Expected]:
    for name, entry in _load("language_pairs_reports.yaml")["reports"].items():
        texts = {key: value["text"] for key, value in entry["candidates"].items()}
        for key, value in entry["candidates"].items():
            yield Expected(
                f"{name}/{key}", "report", half_of(name), entry["reference"], value["text"],
                equal=value.get("equal", False), errors=_ids(value.get("errors", [])),
                may=_ids(value.get("may", [])), better=texts.get(value.get("worse_than")),
            )  # fmt: skip


@cache
def expectations() -> tuple[Expected, ...]:
    """All of them, short ones first."""
    return (*_short(), *_reports())


def costly(score: SeverityScore) -> frozenset[str]:
    """The categories that cost something."""
    return frozenset(name for name, value in score.severities.items() if value > 0)


def is_right(case: Expected) -> bool:
    """Whether the scorer says what a radiologist would."""
    score = score_report(case.reference, case.candidate)
    if score is None:
        return False
    found = costly(score)
    if case.better is not None:
        other = score_report(case.reference, case.better)
        if other is None or not score.total > other.total:
            return False
    if case.equal:
        return found <= case.may
    return not case.errors or (case.errors <= found <= case.errors | case.may)


def language_figures() -> dict[str, dict[str, int]]:
    """By half: how many of our own pairs there are, and how many are judged right."""
    table: dict[str, dict[str, int]] = {}
    for case in expectations():
        row = table.setdefault(case.half, {"n": 0, "right": 0})
        row["n"] += 1
        row["right"] += is_right(case)
    return table
