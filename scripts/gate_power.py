"""What the gate promotes, by simulation: wrong promotions, and power at a recipe's margins.

Each model's report has each of nine errors with its own rate; severities are skewed and mostly 0,
as those of real reports are. Run: python scripts/gate_power.py
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from negalign_train.evaluation.bootstrap import (
    BootstrapSettings,
    paired_bootstrap,
    placeholder_rate,
)
from negalign_train.evaluation.gate import criteria_digest, criterion_level, decide
from negalign_train.evaluation.gate_terms import GateEvidence, GateRecord
from negalign_train.evaluation.metrics import Divergence, summarise
from negalign_train.recipe.cycle import CycleRecipe, load_yaml
from negalign_train.recipe.gate import GateSettings
from negalign_train.vocabulary.records import CATEGORIES, ScoredReport, SeverityScore

RECIPE = Path(__file__).resolve().parent.parent / "recipes" / "embedded" / "cycle.yaml"
RATES = (0.02, 0.16, 0.03, 0.08, 0.17, 0.09, 0.11, 0.14, 0.04)
"""Share of reports with an error of each category, as the embedded generator's after a cycle."""
SEVERITIES = (0.25, 0.5, 0.75, 1.0)
SHARES = (0.5, 0.25, 0.1, 0.15)
"""How often an error has each of these severities."""


@dataclass(frozen=True)
class Simulation:
    """``rates`` of errors of the parent and of each candidate; ``num_cases`` scored for all."""

    settings: GateSettings
    parent: tuple[float, ...]
    candidates: tuple[tuple[float, ...], ...]
    num_cases: int
    num_bootstrap: int = 1000


def cycle_records(simulation: Simulation, rng: np.random.Generator) -> list[GateRecord]:
    """One cycle: reports of the parent and of every candidate, and the gate's decisions."""
    parent = _reports(simulation.parent, simulation.num_cases, rng)
    level = criterion_level(simulation.settings.confidence, len(simulation.candidates))
    seed = int(rng.integers(2**31))
    bootstrap = BootstrapSettings(
        level=level, num_bootstrap=simulation.num_bootstrap, severe_threshold=0.8, seed=seed
    )
    records = []
    for rates in simulation.candidates:
        own = _reports(rates, simulation.num_cases, rng)
        evidence = _evidence(parent, own, bootstrap, len(simulation.candidates))
        digest = criteria_digest(simulation.settings)
        records.append(decide(evidence, simulation.settings, digest))
    return records


def promoted_share(simulation: Simulation, num_cycles: int, seed: int) -> float:
    """Share of cycles in which at least one candidate passes."""
    rng = np.random.default_rng(seed)
    passed = [
        any(record.outcome == "promoted" for record in cycle_records(simulation, rng))
        for _ in range(num_cycles)
    ]
    return sum(passed) / num_cycles


def _reports(
    rates: tuple[float, ...], num_cases: int, rng: np.random.Generator
) -> tuple[ScoredReport, ...]:
    wrong = rng.random((num_cases, len(CATEGORIES))) < np.array(rates)
    values = wrong * rng.choice(SEVERITIES, size=wrong.shape, p=SHARES)
    return tuple(
        ScoredReport(
            f"c{n:05d}",
            f"g{n:05d}",
            f"Report {n}.",
            3,
            False,
            SeverityScore(dict(zip(CATEGORIES, map(float, row), strict=True))),
        )
        for n, row in enumerate(values)
    )


def _evidence(
    parent: tuple[ScoredReport, ...],
    own: tuple[ScoredReport, ...],
    bootstrap: BootstrapSettings,
    num_candidates: int,
) -> GateEvidence:
    references = {report.case_id: report.completion for report in parent}
    comparison = paired_bootstrap(parent, own, bootstrap)
    return GateEvidence(
        cycle=1,
        candidate="simulated",
        parent_adapter=None,
        candidate_adapter=None,
        num_candidates=num_candidates,
        parent=summarise(parent, references, bootstrap.severe_threshold),
        metrics=summarise(own, references, bootstrap.severe_threshold),
        comparison=comparison,
        overall=comparison,
        placeholder_rate=placeholder_rate(own, bootstrap),
        divergence=Divergence(0.1, 0.1, 1000),
        parent_reference_logps=-1.0,
        reference_logps=-1.0,
        retention={},
        retention_pooled=None,
        judge="simulated",
        second=None,
    )


def lower(rates: tuple[float, ...], share: float) -> tuple[float, ...]:
    """Every error ``share`` less often."""
    return tuple(rate * (1 - share) for rate in rates)


def breaking(rates: tuple[float, ...], margin: float) -> tuple[float, ...]:
    """Every error half as often, but one that is never seen in the parent rises by ``margin``."""
    return (margin / float(np.dot(SEVERITIES, SHARES)), *lower(rates, 0.5)[1:])


def _table(settings: GateSettings, num_cycles: int) -> None:
    never = (0.0, *RATES[1:])
    break_margin = breaking(never, settings.max_category_increase)
    scenarios = [
        ("1 equal candidate", RATES, (RATES,)),
        ("8 equal candidates", RATES, (RATES,) * 8),
        ("a new error at the margin, the rest halved", never, (break_margin,)),
        ("the same, 8 candidates", never, (break_margin,) * 8),
        ("every error 20 % rarer", RATES, (lower(RATES, 0.2),)),
        ("every error 30 % rarer", RATES, (lower(RATES, 0.3),)),
        ("every error 50 % rarer", RATES, (lower(RATES, 0.5),)),
        ("the same, one of 4 candidates", RATES, (lower(RATES, 0.5), RATES, RATES, RATES)),
    ]
    sizes = (100, 400, 1600)
    print("| Candidates | " + " | ".join(f"{size} cases" for size in sizes) + " |")
    print("|---|" + "---:|" * len(sizes))
    for name, parent, candidates in scenarios:
        simulation = Simulation(settings, parent, candidates, sizes[0])
        shares = [
            promoted_share(replace(simulation, num_cases=size), num_cycles, seed=size)
            for size in sizes
        ]
        print(
            f"| {name} | " + " | ".join(f"{100 * share:.0f} %" for share in shares) + " |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--config", type=Path, default=RECIPE, help="Recipe whose gate is tried.")
    parser.add_argument("--cycles", type=int, default=200, help="Simulated cycles per cell.")
    arguments = parser.parse_args()
    gate = load_yaml(arguments.config, CycleRecipe).gate
    _table(gate.model_copy(update={"min_cases": 20}), arguments.cycles)


if __name__ == "__main__":
    main()
