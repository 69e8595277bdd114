"""The nine categories and the finding catalogue, read from ``data/``."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache

from negalign_train.vocabulary.errors import DataError
from negalign_train.vocabulary.records import CATEGORIES, Grade
from negalign_train.vocabulary.resources import data_path, read_table

KNEE = 0.5
"""Up to here a category's severity is the plain sum of its error weights."""
_ALMOST_1 = 1 - 1e-9


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
    belongs. ``by_degree``: the weight where it has this degree, if that differs.
    ``distance_mm``: (least, greatest, weight outside) of how far its tip lies from where it is
    measured, None where that decides nothing. ``further``: reports name it, but neither codes nor
    the synthetic grammar do.
    """

    name: str
    kind: str
    weight: float
    mesh: tuple[str, ...]
    tip: Mapping[str, float]
    by_degree: Mapping[str, float]
    distance_mm: tuple[float, float, float] | None
    further: bool = False

    def price(self, degrees: Collection[str]) -> float:
        """The weight with these degrees; the highest of several, and ``weight`` without any."""
        return max((self.by_degree.get(each, self.weight) for each in degrees), default=self.weight)


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
def partial_max_Q() -> float:
    """The largest Q still graded ``partial``."""
    return float(json.loads(data_path("taxonomy.json").read_text())["grades"]["partial_max_Q"])


def _distances(values: list[float] | None) -> tuple[float, float, float] | None:
    if values is None:
        return None
    least, greatest, weight = map(float, values)
    return least, greatest, weight


@cache
def finding_types() -> Mapping[str, FindingType]:
    """The finding catalogue by id."""
    data = read_table(data_path("findings.yaml"))
    return {
        name: FindingType(
            name,
            e["kind"],
            float(e["weight"]),
            tuple(e["mesh"]),
            e.get("tip", {}),
            e.get("by_degree", {}),
            _distances(e.get("distance_mm")),
            part == "further",
        )
        for part in ("findings", "further")
        for name, e in data[part].items()
    }


def soft_cap(weight: float) -> float:
    """The severity in [0, 1) of summed error weights: itself up to 0.5, bent towards 1 above.

    One urgent error (1.0) is 0.816, two are 0.975: a further error always costs more.
    """
    if weight <= KNEE:
        return weight
    return KNEE + (1 - KNEE) * -math.expm1((KNEE - weight) / (1 - KNEE))


def uncapped(severity: float) -> float:
    """The summed error weights that ``soft_cap`` makes ``severity`` of; 1 counts as just below."""
    if severity <= KNEE:
        return severity
    return KNEE - (1 - KNEE) * math.log1p((KNEE - min(severity, _ALMOST_1)) / (1 - KNEE))


def cap_severities(weights: Mapping[str, float]) -> dict[str, float]:
    """Nine severities from summed error weights per category."""
    return {name: soft_cap(weights.get(name, 0.0)) for name in CATEGORIES}


def grade_of(quality: float) -> Grade:
    """The grade that Q stands for: accept at 0, partial up to ``partial_max_Q``, reject above."""
    if quality <= 0:
        return "accept"
    return "partial" if quality <= partial_max_Q() else "reject"
