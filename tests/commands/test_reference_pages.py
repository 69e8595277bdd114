"""The pages of ``docs/`` that are written from the code are the ones that the code writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from negalign_train.commands.reference_pages import feedback_page, recipe_page
from negalign_train.recipe.cycle import CycleRecipe, load_yaml
from negalign_train.recipe.keys import recipe_sections, suggestion, trainer_section
from negalign_train.recipe.trainer import KEYS
from negalign_train.vocabulary.errors import RecipeError

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("name", "page"), [("feedback.md", feedback_page), ("recipe.md", recipe_page)]
)
def test_the_page_is_the_one_that_make_docs_writes(name, page):
    written = (ROOT / "docs" / name).read_text(encoding="utf-8")
    assert written == page(), f"docs/{name} is out of date; run `make docs`"


def test_every_key_of_a_recipe_has_a_meaning():
    parts = list(recipe_sections(CycleRecipe))
    nameless = [f"{part.path}.{key.name}" for part in parts for key in part.keys if not key.meaning]
    assert nameless == []
    assert len(parts) > 10


def test_bounds_and_defaults_are_those_of_the_types():
    keys = {
        f"{part.path}.{key.name}": key for part in recipe_sections(CycleRecipe) for key in part.keys
    }
    assert keys["severity.min_groups"].takes == "whole number ≥ 5"
    assert keys["candidates[].displacement.max_drop"].takes == "number > 0 or null"
    assert keys["candidates[].objective.target.alpha"].default == "0.5"
    assert keys["candidates[].lora.r"].default == "16"
    assert keys["gate.min_cases"].default is None


def test_the_keys_of_trainer_are_those_that_each_method_takes():
    keys = {(key.name, key.takes): key.meaning for key in trainer_section().keys}
    assert keys["max_length", "whole number ≥ 2 or null"] == "Taken by dpo, kto, sft."
    assert keys["per_device_train_batch_size", "whole number ≥ 2"] == "Taken by kto."
    taken = {name for method in KEYS.values() for name in method.__annotations__}
    assert {name for name, _ in keys} == taken


@pytest.mark.parametrize(
    ("location", "message"),
    [
        (("feedback", "min_event"), "unknown key; did you mean min_events?"),
        (("candidates", 0, "lorra"), "unknown key; did you mean lora?"),
        (("candidates", 1, "lora", "alpha"), "unknown key; did you mean lora_alpha?"),
        (("r",), "unknown key here; it belongs at candidates[].lora.r"),
        (("cases", "zzz"), "unknown key; allowed are source, path, "),
    ],
)
def test_a_mistyped_key_is_told_what_was_meant(location, message):
    assert suggestion(CycleRecipe, location).startswith(message)


def test_the_error_of_a_recipe_holds_the_suggestion(tmp_path):
    text = (ROOT / "recipes" / "log" / "cycle.yaml").read_text(encoding="utf-8")
    path = tmp_path / "cycle.yaml"
    path.write_text(text.replace("min_cases:", "min_case:"), encoding="utf-8")
    with pytest.raises(RecipeError, match=r"gate\.min_case: unknown key; did you mean min_cases\?"):
        load_yaml(path, CycleRecipe)


def test_a_fault_in_a_candidate_is_told_once(tmp_path):
    text = (ROOT / "recipes" / "log" / "cycle.yaml").read_text(encoding="utf-8")
    path = tmp_path / "cycle.yaml"
    path.write_text(text.replace("lora_alpha:", "lora_alfa:"), encoding="utf-8")
    with pytest.raises(RecipeError) as refused:
        load_yaml(path, CycleRecipe)
    told = "candidates.0.lora.lora_alfa: unknown key; did you mean lora_alpha?"
    assert str(refused.value) == f"{path}: {told}; fix the recipe"
