"""How often the gate is wrong, by simulation with skewed severities that are mostly 0."""

import numpy as np
import pytest
from gate_power import (
    RATES,
    RECIPE,
    Simulation,
    breaking,
    cycle_records,
    lower,
    promoted_share,
)

from negalign_train.recipe.cycle import CycleRecipe, load_yaml

GATE = load_yaml(RECIPE, CycleRecipe).gate
CYCLES = 200
ONLY_S = GATE.model_copy(
    update={
        "min_cases": 20,
        "max_category_increase": 1.0,
        "max_category_increase_overall": 1.0,
        "max_severe_rate_increase": 1.0,
        "max_placeholder_rate": 1.0,
    }
)


@pytest.mark.parametrize("num_candidates", [1, 2, 4, 8])
def test_equal_candidates_are_promoted_in_at_most_one_cycle_of_twenty(num_candidates):
    """With every guardrail out of the way, so that superiority alone decides."""
    simulation = Simulation(ONLY_S, RATES, (RATES,) * num_candidates, num_cases=40)
    assert promoted_share(simulation, CYCLES, seed=num_candidates) <= 0.05


def test_the_simulation_does_promote_what_is_better():
    simulation = Simulation(ONLY_S, RATES, (lower(RATES, 0.6),), num_cases=100)
    assert promoted_share(simulation, 50, seed=1) > 0.8


@pytest.mark.parametrize(("num_candidates", "num_cases"), [(1, 30), (8, 30), (8, 100)])
def test_a_rare_new_error_at_the_margin_is_promoted_in_at_most_one_cycle_of_twenty(
    num_candidates, num_cases
):
    """The parent never makes it; everything else is halved, so that S is lower."""
    margin = 0.1
    settings = ONLY_S.model_copy(update={"max_category_increase": margin})
    never = (0.0, *RATES[1:])
    worse = breaking(never, margin)
    simulation = Simulation(settings, never, (worse,) * num_candidates, num_cases)
    assert promoted_share(simulation, CYCLES, seed=2) <= 0.05


def test_three_newly_missed_urgent_findings_of_thirty_are_not_promoted():
    """With the shipped margins, 30 cases show nothing of rare errors: inconclusive or rejected."""
    settings = GATE.model_copy(update={"min_cases": 20})
    never = (0.0, *RATES[1:])
    simulation = Simulation(settings, never, ((0.1, *lower(never, 0.9)[1:]),), num_cases=30)
    rng = np.random.default_rng(0)
    outcomes = [cycle_records(simulation, rng)[0].outcome for _ in range(50)]
    assert set(outcomes) <= {"inconclusive", "rejected"}


def test_shipped_margins_promote_a_halved_S_on_400_cases():
    simulation = Simulation(GATE, RATES, (lower(RATES, 0.5),), num_cases=400)
    assert promoted_share(simulation, 40, seed=3) > 0.8
