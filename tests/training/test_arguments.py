"""What a candidate's trainer section becomes, and what is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import yaml

from negalign_train.recipe.cycle import CycleRecipe, load_yaml
from negalign_train.recipe.trainer import KEYS
from negalign_train.training.objective.losses import DPOObjective
from negalign_train.training.settings.arguments import config_class, dpo_objective, trainer_config
from negalign_train.vocabulary.errors import RecipeError
from tests.tiny import write_run

RECIPES = Path(__file__).parents[2] / "recipes"
REWARD = {"length_weight": 0.1, "length_slack": 0.2, "unscorable": -9.0}


@pytest.fixture
def config(base: Path, tmp_path: Path) -> Any:
    """``config(method, dtype=..., **trainer)``."""

    def make(method: str = "dpo", dtype: str = "float32", **trainer: Any) -> Any:
        candidate: dict[str, Any] = {"method": method}
        if method == "grpo":
            candidate["reward"] = REWARD
        run = write_run(tmp_path, base, dtype=dtype, candidate=candidate, trainer=trainer)
        return trainer_config(run)

    return make


def test_recipe_keys_reach_trls_config(config):
    made = config(learning_rate=3.0e-4, beta=0.25, loss_type=["sigmoid", "sft"], weight_decay=0.1)
    assert (made.learning_rate, made.beta, made.weight_decay) == (3.0e-4, 0.25, 0.1)
    assert made.loss_type == ["sigmoid", "sft"]


def test_safe_values_hold_whatever_the_libraries_default_to(config):
    made = config()
    assert made.report_to == []
    assert made.gradient_checkpointing is False
    assert made.activation_checkpointing is False
    assert made.logging_nan_inf_filter is False
    assert made.remove_unused_columns is False
    assert made.disable_dropout is True
    assert made.precompute_ref_log_probs is False
    assert (made.seed, made.data_seed) == (7, 7)
    assert (made.bf16, made.fp16) == (False, False)
    assert made.save_strategy.value == "no"
    assert made.train_sampling_strategy == "group_by_length"


def test_dtype_of_the_base_sets_mixed_precision(config):
    assert config(dtype="bfloat16").bf16 is True


def test_save_steps_switches_checkpoints_on(config):
    made = config(save_steps=5)
    assert (made.save_strategy.value, made.save_steps, made.save_total_limit) == ("steps", 5, 2)


def test_gradient_checkpointing_is_a_recipe_value(config):
    assert config(gradient_checkpointing=True).gradient_checkpointing is True


def test_grpo_never_logs_completions_and_generates_as_the_run_says(config):
    made = config("grpo", num_generations=4)
    assert made.log_completions is False
    assert made.max_completion_length == 12
    assert made.beta == 0.1


def test_sft_is_dpo_code_with_the_sft_loss_alone(config):
    assert config("sft").loss_type == ["sft"]


def test_the_objective_holds_what_the_config_says(config):
    made = config(loss_type=["robust", "sft"], loss_weights=[1.0, 0.2], label_smoothing=0.1)
    assert dpo_objective(made) == DPOObjective(0.1, ("robust", "sft"), (1.0, 0.2), 0.1)


def test_a_value_that_only_trl_knows_is_refused_by_it(config):
    with pytest.raises(RecipeError, match="DPOConfig refuses it"):
        config(lr_scheduler_type="no-such")


@pytest.mark.parametrize("method", ["dpo", "kto", "grpo", "sft"])
def test_every_key_a_recipe_may_hold_is_a_key_of_trl(method):
    known = {field.name for field in dataclasses.fields(config_class(method))}
    assert set(KEYS[method].__annotations__) - known == set()


def test_float16_without_a_gpu_is_refused(config, monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    with pytest.raises(RecipeError, match="needs a CUDA device"):
        config(dtype="float16")


def test_every_candidate_of_every_recipe_is_one_our_trainers_take(base, tmp_path):
    paths = [
        path
        for path in sorted(RECIPES.rglob("*.yaml"))
        if yaml.safe_load(path.read_text()).get("schema") == "negalign.cycle/1"
    ]
    assert len(paths) > 0
    template = write_run(tmp_path, base)
    for path in paths:
        for candidate in load_yaml(path, CycleRecipe).candidates:
            trainer_config(template.model_copy(update={"candidate": candidate}))
