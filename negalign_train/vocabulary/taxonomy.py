"""The nine categories and the finding catalogue, read from ``data/``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import yaml

from negalign_train.vocabulary.errors import DataError
from negalign_train.vocabulary.records import CATEGORIES, Grade
from negalign_train.vocabulary.resources import data_path


@dataclass(frozen=True)
class Category:
    """One RadAlign category: stable id (R1 to R9), name, definition."""

    id: str
    name: str
    definition: str


@dataclass(frozen=True)
class FindingType:
    """One entry of the catalogue: its clinical weight in [0, 1] and its MeSH codes.

    ``tip``: for a device, the weight of each place its tip may lie in, along its way; 0 where it
    belongs.
    """

    name: str
    kind: str
    weight: float
    mesh: tuple[str, ...]
    tip: Mapping[str, float]


@cache
def taxonomy() -> tuple[Category, ...]:
    """The nine categories in order.

    Raises:
        DataError: the file's names are not those of ``records.CATEGORIES``.
    """
    path = data_path("taxonomy.json")
    entries = json.loads(path.read_text(encoding="utf-8"))["categories"]
    categories = tuple(Category(e["id"], e["name"], e["definition"]) for e in entries)
    if tuple(category.name for category in categories) != CATEGORIES:
        raise DataError(f"{path}: categories differ from records.CATEGORIES; update both together")
    return categories


@cache
def partial_max_S() -> float:
    """The largest S still graded ``partial``."""
    return float(json.loads(data_path("taxonomy.json").read_text())["grades"]["partial_max_S"])


@cache
def finding_types() -> Mapping[str, FindingType]:
    """The finding catalogue by id."""
    path = data_path("findings.yaml")
    entries = yaml.safe_load(path.read_text(encoding="utf-8"))["findings"]
    return {
        name: FindingType(name, e["kind"], float(e["weight"]), tuple(e["mesh"]), e.get("tip", {}))
        for name, e in entries.items()
    }


def cap_severities(weights: Mapping[str, float]) -> dict[str, float]:
    """Nine severities from summed error weights per category: ``s_i = min(1, sum)``."""
    return {name: min(1.0, weights.get(name, 0.0)) for name in CATEGORIES}


def grade_of(total_severity: float) -> Grade:
    """The grade S stands for: accept at 0, partial up to ``partial_max_S``, reject above."""
    if total_severity <= 0:
        return "accept"
    return "partial" if total_severity <= partial_max_S() else "reject"
