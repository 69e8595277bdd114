"""What the gate could show with so many cases, said before anything is trained. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

from negalign_train.evaluation.bootstrap import expected_width
from negalign_train.evaluation.gate import criterion_level
from negalign_train.recipe.gate import GateSettings


@dataclass(frozen=True)
class Spread:
    """Standard deviation over cases of candidate - parent; ``category`` is of the widest one."""

    mean_S: float
    category: float
    severe_rate: float
    source: str


ASSUMED = Spread(0.5, 0.2, 0.3, "assumed, as in cycles of the embedded generator")


@dataclass(frozen=True)
class Outlook:
    """The least that ``num_cases`` could show: a fall of mean S, and margins that would be held if
    the candidate were exactly as good as its parent.
    """

    num_cases: int
    level: float
    fall_of_S: float
    category_margin: float
    severe_rate_margin: float
    spread: Spread

    def too_narrow(self, gate: GateSettings) -> list[str]:
        """The recipe's margins that so few cases could not hold for an equal candidate."""
        margins = {
            "max_category_increase": (gate.max_category_increase, self.category_margin),
            "max_severe_rate_increase": (gate.max_severe_rate_increase, self.severe_rate_margin),
        }
        return [name for name, (margin, least) in margins.items() if margin < least]


def gate_outlook(
    gate: GateSettings, num_candidates: int, num_cases: int, spread: Spread
) -> Outlook:
    """Assumes one case a group: fewer groups show less."""
    level = criterion_level(gate.confidence, num_candidates)

    def width(value: float) -> float:
        return expected_width(value, num_cases, level)

    return Outlook(
        num_cases,
        level,
        width(spread.mean_S),
        width(spread.category),
        width(spread.severe_rate),
        spread,
    )


def measured_spread(record: Mapping[str, Any]) -> Spread | None:
    """The spread that the intervals of a sealed gate record tell of; None where it has none."""
    comparison = record["evidence"]["comparison"]
    if comparison is None:
        return None
    z = NormalDist().inv_cdf(1 - record["level"])

    def spread(interval: Mapping[str, float]) -> float:
        width = interval["high"] - interval["estimate"]
        unseen = min(width, -math.log(record["level"]) / comparison["num_cases"])
        return math.sqrt((width**2 - unseen**2) * comparison["num_cases"]) / z

    return Spread(
        spread(comparison["total"]),
        max(spread(interval) for interval in comparison["per_category"].values()),
        spread(comparison["severe_rate"]),
        f"measured in cycle {record['cycle']}, candidate {record['candidate']}",
    )
