"""What the gate could show, and what it needs, before anything is trained."""

import json

import pytest

from negalign_train.evaluation.gate import criteria_digest, decide
from negalign_train.evaluation.gate_records import seal
from negalign_train.evaluation.outlook import ASSUMED, Spread, gate_outlook, measured_spread
from negalign_train.recipe.candidate import LoraSettings
from negalign_train.recipe.cycle import CycleRecipe, load_yaml
from negalign_train.recipe.estimate import Architecture, gate_memory
from tests.evaluation.test_gate import evidence
from tests.gates import SETTINGS
from tests.recipe.test_recipes import ROOT


def test_more_cases_and_fewer_candidates_show_more():
    few = gate_outlook(SETTINGS, 1, 100, ASSUMED)
    many = gate_outlook(SETTINGS, 1, 400, ASSUMED)
    assert few.fall_of_S == pytest.approx(2 * many.fall_of_S, rel=0.1)
    assert gate_outlook(SETTINGS, 8, 400, ASSUMED).category_margin > many.category_margin
    assert few.too_narrow(SETTINGS) == ["max_category_increase", "max_severe_rate_increase"]


def test_nothing_seen_still_leaves_the_rule_of_three():
    found = gate_outlook(SETTINGS, 1, 300, Spread(0.0, 0.0, 0.0, "none"))
    assert found.category_margin == pytest.approx(0.01, rel=0.01)


def test_the_last_record_tells_the_spread():
    record = decide(evidence(), SETTINGS, criteria_digest(SETTINGS))
    (sealed,) = json.loads(json.dumps(seal([record], None)))
    spread = measured_spread(sealed)
    assert spread is not None
    assert spread.source == "measured in cycle 2, candidate dpo"
    # The interval it was read from: 0.05 wide above the estimate, of 200 cases.
    assert gate_outlook(SETTINGS, 1, 200, spread).fall_of_S == pytest.approx(0.05)


def test_the_qlora_recipe_keeps_its_24_gb_at_the_gate():
    recipe = load_yaml(ROOT / "recipes" / "llama-3.1-8b" / "qlora.yaml", CycleRecipe)
    llama = Architecture(32, 4096, 14336, 32, 8, 128, 128256, tied=False)
    tokens = 300 + recipe.model.max_new_tokens
    lora, rows = recipe.candidates[0].lora, recipe.evaluation.batch_size
    need = gate_memory(llama, recipe.model.dtype, lora, rows, tokens)
    assert 16e9 < need < 22e9


def test_a_float32_base_is_held_twice_while_it_writes():
    small = Architecture(30, 576, 1536, 9, 3, 64, 49152, tied=True)
    lora = LoraSettings()
    whole, half = (gate_memory(small, dtype, lora, 1, 1) for dtype in ("float32", "bfloat16"))
    maps = small.trunk + small.head
    assert whole - half == 4 * maps + 2 * small.parameters + 2 * 30 * 3 * 64 * 2
