"""A value that a recipe should not hold is refused when the recipe is read, in words."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from negalign_train.commands.cli import app
from negalign_train.recipe.candidate import MAX_SEED, CandidateRun
from negalign_train.recipe.cycle import CycleRecipe, load_yaml
from negalign_train.vocabulary.errors import RecipeError

ROOT = Path(__file__).resolve().parents[2]
EMBEDDED = yaml.safe_load((ROOT / "recipes" / "embedded" / "cycle.yaml").read_text())
LOG = yaml.safe_load((ROOT / "recipes" / "log" / "cycle.yaml").read_text())
TRAINER = EMBEDDED["candidates"][0]["trainer"]
GRPO = {
    "name": "grpo",
    "method": "grpo",
    "reward": {"length_weight": 0.1, "length_slack": 0.2, "unscorable": -9.0},
    "trainer": {
        "learning_rate": 1.0e-3, "beta": 0.02, "max_steps": 4, "num_generations": 4,
        "per_device_train_batch_size": 8,
    },
}  # fmt: skip


def changed(recipe: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """``recipe`` with values at dotted places; ``trainer.x`` is of the only candidate."""
    made = copy.deepcopy(recipe)
    for place, value in changes.items():
        *path, last = place.replace("trainer.", "candidates.0.trainer.").split(".")
        at: Any = made
        for part in path:
            at = at[int(part)] if isinstance(at, list) else at.setdefault(part, {})
        if value is None:
            at.pop(last, None)
        else:
            at[last] = value
    return made


def read(tmp_path: Path, recipe: dict[str, Any]) -> CycleRecipe:
    path = tmp_path / "cycle.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return load_yaml(path, CycleRecipe)


SECTIONS: list[tuple[dict[str, Any], str]] = [
    # Bounds
    ({"gate.length_ratio": [1.5, 0.7]}, r"gate.length_ratio: \[1.5, 0.7\] must be \[low, high\]"),
    ({"gate.length_ratio": [1.2, 1.5]}, "0 < low <= 1 <= high"),
    ({"gate.length_ratio": [0.8, 1.0, 1.2]}, "gate.length_ratio: Tuple should have at most 2"),
    ({"gate.length_ratio": [0.8]}, r"gate.length_ratio.1: Field required"),
    ({"gate.max_kl_to_base": math.inf}, "gate.max_kl_to_base: .* finite number"),
    ({"gate.max_kl_to_parent": math.nan}, "gate.max_kl_to_parent: .* finite number"),
    ({"gate.length_ratio": [0.8, math.inf]}, r"gate.length_ratio.1: .* finite number"),
    ({"gate.max_category_increase": 2.0}, "gate.max_category_increase: .* less than or equal to 1"),
    ({"gate.max_severe_rate_increase": 5}, "gate.max_severe_rate_increase: .* equal to 1"),
    ({"gate.max_template_share_increase": 5}, "gate.max_template_share_increase: .* equal to 1"),
    ({"gate.min_distinct_ratio": 80}, "gate.min_distinct_ratio: .* less than or equal to 1"),
    ({"gate.max_placeholder_rate": 5}, "gate.max_placeholder_rate: .* less than or equal to 1"),
    ({"gate.max_unscored_rate": 2}, "gate.max_unscored_rate: .* less than or equal to 1"),
    ({"gate.max_retention_increase": 10}, "gate.max_retention_increase: .* equal to 9"),
    ({"gate.confidence": 95}, "gate.confidence: .* less than 1"),
    ({"gate.min_cases": True}, "gate.min_cases: expected a number, got a boolean"),
    ({"preferences.held_out_fraction": 20}, "preferences.held_out_fraction: .* less than 1"),
    ({"preferences.held_out_fraction": 1.0}, "preferences.held_out_fraction: .* less than 1"),
    ({"preferences.replay_fraction": 25}, "preferences.replay_fraction: .* equal to 10"),
    ({"preferences.pair_weight_cap": 0.5}, "preferences.pair_weight_cap: .* equal to 1"),
    ({"preferences.min_delta_S": 9.0}, "preferences.min_delta_S: .* less than 9"),
    ({"preferences.changed_word_weight": math.inf}, "preferences.changed_word_weight: .* finite"),
    ({"preferences.reader_trust": {"r-1": 7.0}}, "preferences.reader_trust.r-1: .* equal to 1"),
    ({"preferences.reader_trust": {"r-1": 0.0}}, "preferences.reader_trust.r-1: .* greater than 0"),
    ({"preferences.reader_trust": {"r-1": -1}}, "preferences.reader_trust.r-1: .* greater than 0"),
    ({"preferences.reader_trust": {"r-1": math.nan}}, "preferences.reader_trust.r-1: .* finite"),
    ({"preferences.reader_trust": {"r-1": True}}, "preferences.reader_trust: .* got a boolean"),
    ({"feedback.readers.miss_rate": 10}, "feedback.readers.miss_rate: .* less than or equal to 1"),
    ({"feedback.readers.severity_noise": 10}, "feedback.readers.severity_noise: .* equal to 1"),
    ({"feedback.readers.severity_bias": -2}, "feedback.readers.severity_bias: .* equal to -1"),
    ({"feedback.draft_temperature": 70}, "feedback.draft_temperature: .* less than or equal to 2"),
    ({"model.temperature": 0.001}, r"model.temperature: must be 0 \(greedy\) or at least 0.01"),
    ({"model.model_name_or_path": ""}, "model.model_name_or_path: .* at least 1 character"),
    ({"evaluation.num_bootstrap": math.inf}, "evaluation.num_bootstrap: "),
    ({"evaluation.max_retention_cases": 10}, "max_retention_cases 10 is too few to show anything"),
    # Keys that contradict each other, or that nothing would read
    ({"gate.min_cases": 500}, "gate.min_cases 500 is above cases.num_evaluation_cases 400"),
    ({"evaluation.num_kl_cases": 401}, "num_kl_cases 401 is above cases.num_evaluation_cases 400"),
    ({"gate.confidence": 0.9999}, "raise num_bootstrap"),
    ({"model.revision": "main"}, "model: revision goes with a hub id, and embedded is none"),
    ({"cases.path": "cases.jsonl"}, "cases: cases.source synthetic reads no cases.path"),
    ({"cases.num_feedback_cases": 0}, "min_events 50 cannot be reached: .* give at most 0 events"),
    ({"severity.min_groups": 50}, "min_groups 50 is above min_events 40"),
    (
        {"cases.num_evaluation_cases": 0, "preferences.held_out_fraction": 0.0},
        "the gate has nothing to decide on",
    ),
    ({"evaluation.rollouts.concurrency": 8}, "backend generate reads no concurrency"),
    ({"trainer.max_length": 160}, "max_length 160 is for prompt and report, and model.max_new_tok"),
    # The candidate and TRL's own keys
    ({"candidates.0.lora.r": 0}, "candidates.0.lora.r: .* greater than or equal to 1"),
    ({"candidates.0.lora.target_modules": []}, "lora.target_modules: .* at least 1 item"),
    ({"candidates.0.lora.target_modules": ["q_proj", "q_proj"]}, "q_proj stands there twice"),
    ({"trainer.betta": 0.5}, r"trainer.betta is no key that dpo takes \(did you mean beta\?\)"),
    ({"trainer.seed": 1}, "trainer.seed is no key that dpo takes.* set by negalign_train"),
    ({"trainer.ld_alpha": 0.5}, "trainer.ld_alpha is no key that dpo takes.* no effect on dpo"),
    ({"trainer.loss_type": "sigmoid"}, r"loss_type: must be a list: write \[sigmoid\]"),
    ({"trainer.loss_type": ["bco_pair", "sft"]}, "loss_type.0: Input should be 'sigmoid'"),
    ({"trainer.loss_type": ["sft", "sft"]}, "loss_type names one loss twice"),
    ({"trainer.loss_weights": [1.0]}, "one weight per loss_type: 2 losses, 1 weights"),
    ({"trainer.loss_weights": [0.0, 0.0]}, "loss_weights are all 0"),
    ({"trainer.loss_weights": [1.0, -1.0]}, "loss_weights.1: .* greater than or equal to 0"),
    ({"trainer.learning_rate": "5e-7"}, "expected a number; YAML reads 5e-7 as text"),
    ({"trainer.learning_rate": None}, "trainer lacks learning_rate"),
    ({"trainer.learning_rate": math.inf}, "learning_rate: .* finite number"),
    ({"trainer.learning_rate": 5}, "learning_rate: .* less than or equal to 1"),
    ({"trainer.beta": 0.0}, "beta: .* greater than 0"),
    ({"trainer.beta": None}, "trainer lacks beta"),
    ({"trainer.max_steps": 5}, "needs one of num_train_epochs and max_steps"),
    ({"trainer.num_train_epochs": None}, "needs one of num_train_epochs and max_steps"),
    ({"trainer.num_train_epochs": -1}, "num_train_epochs: .* greater than 0"),
    ({"trainer.per_device_train_batch_size": 2.5}, "per_device_train_batch_size: .* integer"),
    ({"trainer.gradient_checkpointing": "false"}, "gradient_checkpointing: .* valid boolean"),
    ({"trainer.warmup_steps": 1.5}, "warmup_steps: must be a whole number of steps, or a share"),
    ({"trainer.label_smoothing": 0.5}, "label_smoothing: .* less than 0.5"),
    ({"trainer.train_sampling_strategy": "sequential"}, "'group_by_length' or 'random'"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "message"), SECTIONS)
def test_a_wrong_value_is_told_when_the_recipe_is_read(tmp_path, changes, message):
    with pytest.raises(RecipeError, match=message):
        read(tmp_path, changed(EMBEDDED, changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cases.num_feedback_cases": 5}, "cases.source log has no cases of its own"),
        ({"feedback.draft_temperature": 0.7}, "source log reads no draft_temperature; remove it"),
        ({"feedback.readers.miss_rate": 0.2}, "source log reads no readers; remove it"),
        (
            {"cases.source": "synthetic", "cases.num_feedback_cases": 9},
            "feedback.source log drafts nothing; set cases.num_feedback_cases: 0",
        ),
    ],
)
def test_a_log_recipe_holds_nothing_of_a_simulation(tmp_path, changes, message):
    with pytest.raises(RecipeError, match=message):
        read(tmp_path, changed(LOG, changes))


OTHER_METHODS: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    (GRPO, {"trainer.loss_type": "dappo"}, "loss_type: Input should be 'grpo'"),
    (GRPO, {"trainer.loss_type": ["dapo"]}, "loss_type: Input should be 'grpo'"),
    (GRPO, {"trainer.scale_rewards": "grup"}, "scale_rewards: Input should be 'group'"),
    (GRPO, {"trainer.importance_sampling_level": "word"}, "'token' or 'sequence'"),
    (GRPO, {"trainer.num_generations": 1}, "num_generations: .* greater than or equal to 2"),
    (GRPO, {"trainer.temperature": 0.0}, "temperature: .* greater than 0"),
    (GRPO, {"trainer.top_p": 90}, "top_p: .* less than or equal to 1"),
    (GRPO, {"trainer.log_completions": True}, "log_completions is no key that grpo takes"),
    (
        GRPO,
        {"trainer.steps_per_generation": 1, "trainer.generation_batch_size": 8},
        "generation_batch_size and steps_per_generation say the same",
    ),
    (GRPO, {"candidates.0.batching.max_tokens": 100}, "batching.max_tokens goes with dpo, sft and"),
    (GRPO, {"candidates.0.reward.unscorable": -math.inf}, "reward.unscorable: .* finite number"),
    (GRPO, {"candidates.0.reward.length_weight": math.nan}, "length_weight: .* finite number"),
    (
        GRPO,
        {"candidates.0.reward.format_weight": 1.0, "candidates.0.reward.required_sections": []},
        "format_weight goes with required_sections",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("candidate", "changes", "message"), OTHER_METHODS)
def test_a_wrong_value_of_another_method_is_told_too(tmp_path, candidate, changes, message):
    recipe = EMBEDDED | {"candidates": [candidate]}
    assert read(tmp_path, recipe).candidates[0].method == "grpo"
    with pytest.raises(RecipeError, match=message):
        read(tmp_path, changed(recipe, changes))


def with_method(method: str, **trainer: Any) -> dict[str, Any]:
    keys = {k: v for k, v in TRAINER.items() if k not in ("loss_type", "loss_weights")}
    if method == "sft":
        del keys["beta"]
    candidate = {"name": "x", "method": method, "trainer": keys | trainer}
    return {**EMBEDDED, "candidates": [candidate]}


@pytest.mark.parametrize(
    ("method", "trainer", "message"),
    [
        ("kto", {"per_device_train_batch_size": 1}, "per_device_train_batch_size: .* equal to 2"),
        ("kto", {"loss_type": ["kto"]}, "loss_type: Input should be 'kto'"),
        ("kto", {"loss_weights": [1.0]}, "loss_weights is no key that kto takes"),
        ("kto", {"desirable_weight": 0.0}, "desirable_weight: .* greater than 0"),
        ("sft", {"beta": 0.1}, "beta is no key that sft takes"),
    ],
)
def test_each_method_has_its_own_keys(tmp_path, method, trainer, message):
    assert read(tmp_path, with_method(method)).candidates[0].method == method
    with pytest.raises(RecipeError, match=message):
        read(tmp_path, with_method(method, **trainer))


def test_sft_is_held_to_no_reference(tmp_path):
    recipe = changed(with_method("sft"), {"candidates.0.reference": "base"})
    with pytest.raises(RecipeError, match="sft has no reference; remove reference: base"):
        read(tmp_path, recipe)


@pytest.mark.parametrize("more", ["gate: {min_cases: 2}\n", "seven: 1\nseven: 2\n"])
def test_a_key_that_stands_twice_is_refused(tmp_path, more):
    path = tmp_path / "cycle.yaml"
    path.write_text((ROOT / "recipes" / "embedded" / "cycle.yaml").read_text() + more)
    key = more.split(":")[0]
    with pytest.raises(RecipeError, match=rf"not YAML \(line \d+: the key '{key}' stands there tw"):
        load_yaml(path, CycleRecipe)


def test_a_merged_mapping_may_replace_what_it_merges(tmp_path):
    """YAML's ``<<`` is meant to be overridden: that is no key given twice."""
    text = (ROOT / "recipes" / "embedded" / "cycle.yaml").read_text()
    text = text.replace("gate:\n", "gate:\n  <<: {min_cases: 7, confidence: 0.9}\n")
    path = tmp_path / "cycle.yaml"
    path.write_text(text)
    assert load_yaml(path, CycleRecipe).gate.min_cases == 100


def test_a_written_recipe_is_read_back_equal(tmp_path):
    for recipe in (EMBEDDED, LOG):
        made = CycleRecipe.model_validate(recipe)
        assert read(tmp_path, made.model_dump(mode="json", by_alias=True)) == made


def test_the_largest_seed_fits_numpy_in_the_last_cycle():
    assert MAX_SEED * 1000 + 9999 + 100_000 < 2**32
    field = CandidateRun.model_fields["seed"]
    assert "Lt(lt=4294967296)" in repr(field)


@pytest.mark.parametrize("seed", [-1, MAX_SEED + 1, 20261125])
def test_a_seed_that_training_cannot_take_is_told_by_the_command(tmp_path, seed):
    actual = CliRunner().invoke(
        app,
        ["cycle", "--config", "recipes/embedded/cycle.yaml", "--workspace", str(tmp_path / "w"),
         "--seed", str(seed)],
        env={"COLUMNS": "200"},
    )  # fmt: skip
    assert actual.exit_code == 2
    assert "'--seed'" in actual.output
    assert f"than or equal to {0 if seed < 0 else MAX_SEED}" in actual.output
    assert not (tmp_path / "w").exists()
