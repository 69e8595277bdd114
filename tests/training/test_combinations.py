"""Settings that do not go together are refused, each with the way out."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from peft import LoraConfig

from negalign_train.training.policy.loading import load_policy
from negalign_train.training.run import train_candidate
from negalign_train.training.settings import combinations
from negalign_train.training.settings.arguments import trainer_config
from negalign_train.training.settings.combinations import (
    RULES,
    Setup,
    refuse_clashes,
    refuse_several_adapters,
    refuse_special_lora,
    setup_of,
)
from negalign_train.vocabulary.errors import RecipeError, TrainingError
from tests.tiny import write_parent, write_run

PLAIN = Setup("dpo", "none", 0, ("q_proj", "v_proj"))
CLASHES: dict[str, dict[str, Any]] = {
    r"nf4 does not go with ZeRO-3.*zero2\.yaml": {"quantisation": "nf4", "zero_stage": 3},
    r"use_reentrant: false does not go with ZeRO-3": {
        "zero_stage": 3, "checkpointing": True, "use_reentrant": False,
    },
    r"may not hold lm_head": {"target_modules": ("q_proj", "lm_head")},
    r"may not hold lm_head or embed_tokens": {"target_modules": ("embed_tokens",)},
    r"use_vllm does not go with model\.quantisation": {"use_vllm": True, "quantisation": "nf4"},
}  # fmt: skip


@pytest.mark.parametrize("message", CLASHES)
def test_a_clash_is_refused_with_the_way_out(message, monkeypatch):
    monkeypatch.setattr(combinations, "_installed", lambda module: True)
    with pytest.raises(RecipeError, match=message) as refused:
        refuse_clashes("c", dataclasses.replace(PLAIN, **CLASHES[message]))
    assert str(refused.value).startswith("candidate c: ")


@pytest.mark.parametrize(
    ("module", "setting"), [("bitsandbytes", {"quantisation": "nf4"}), ("vllm", {"use_vllm": True})]
)
def test_what_is_not_installed_is_refused_with_its_install_line(module, setting, monkeypatch):
    monkeypatch.setattr(combinations, "_installed", lambda name: name != module)
    with pytest.raises(RecipeError, match=r"pip install"):
        refuse_clashes("c", dataclasses.replace(PLAIN, **setting))
    monkeypatch.setattr(combinations, "_installed", lambda name: True)
    refuse_clashes("c", dataclasses.replace(PLAIN, **setting))


@pytest.mark.parametrize(
    "setting",
    [
        {},
        {"zero_stage": 3},
        {"zero_stage": 3, "checkpointing": True},
        {"zero_stage": 2, "quantisation": "nf4"},
        {"zero_stage": 2, "checkpointing": True, "use_reentrant": False},
        {"method": "grpo", "zero_stage": 3},
    ],
)
def test_what_goes_together_is_let_through(setting, monkeypatch):
    monkeypatch.setattr(combinations, "_installed", lambda module: True)
    refuse_clashes("c", dataclasses.replace(PLAIN, **setting))


def test_every_rule_is_broken_by_a_test_and_all_broken_ones_are_named(monkeypatch):
    monkeypatch.setattr(combinations, "_installed", lambda module: False)
    worst = Setup("grpo", "nf4", 3, ("lm_head",), True, False, True)
    with pytest.raises(RecipeError) as refused:
        refuse_clashes("c", worst)
    assert all(rule.message in str(refused.value) for rule in RULES)
    assert len(RULES) == 6


def test_the_setup_is_read_from_recipe_and_trainer_config(base, tmp_path):
    keys = {
        "gradient_checkpointing": True,
        "gradient_checkpointing_kwargs": {"use_reentrant": False},
    }
    run = write_run(tmp_path, base, quantisation="nf4", trainer=keys)
    setup = setup_of(run, trainer_config(run), zero_stage=2)
    assert setup == Setup(
        "dpo", "nf4", 2, run.candidate.lora.target_modules, True, False, use_vllm=False
    )


def test_a_run_is_refused_before_anything_is_loaded_or_written(base, tmp_path):
    lora = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "lm_head"]}
    run = write_run(tmp_path, base, candidate={"lora": lora})
    with pytest.raises(RecipeError, match="may not hold lm_head"):
        train_candidate(run)
    assert not run.output_dir.exists()


@pytest.mark.parametrize(
    "setting",
    [
        {"use_dora": True}, {"use_rslora": True}, {"bias": "lora_only"},
        {"modules_to_save": ["lm_head"]}, {"rank_pattern": {"q_proj": 2}},
        {"alpha_pattern": {"q_proj": 2}},
    ],
    ids=lambda setting: next(iter(setting)),
)  # fmt: skip
def test_a_parent_that_is_more_than_plain_lora_is_refused(setting):
    with pytest.raises(TrainingError, match=f"sets {next(iter(setting))}, .* set start: fresh"):
        refuse_special_lora("parent", LoraConfig(**setting))


def test_a_plain_parent_passes_and_a_special_one_stops_the_policy(base, tmp_path):
    parent = write_parent(tmp_path / "parent", base)
    load_policy(write_run(tmp_path / "run", base, parent_adapter_dir=parent))
    folder = Path(shutil.copytree(parent, tmp_path / "scaled"))
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(config | {"use_rslora": True}))
    with pytest.raises(TrainingError, match="sets use_rslora"):
        load_policy(write_run(tmp_path / "run2", base, parent_adapter_dir=folder))


def test_two_active_adapters_are_refused(base, tmp_path):
    policy = load_policy(write_run(tmp_path, base))
    refuse_several_adapters(policy)
    policy.add_adapter("laterality", policy.peft_config["default"])
    policy.base_model.set_adapter(["default", "laterality"])
    with pytest.raises(TrainingError, match=r"2 adapters are active \(default, laterality\)"):
        refuse_several_adapters(policy)


def test_grpos_vllm_options_reach_trl_and_need_vllm(base, tmp_path, monkeypatch):
    options = {"vllm_mode": "server", "vllm_server_base_url": "http://localhost:8000"}
    run = write_run(
        tmp_path, base,
        candidate={
            "method": "grpo",
            "reward": {"length_weight": 0.5, "length_slack": 0.1, "unscorable": -9.0},
        },
        trainer={"num_generations": 4, "use_vllm": True} | options,
    )  # fmt: skip
    config = trainer_config(run)
    assert {name: getattr(config, name) for name in options} == options
    setup = setup_of(run, config, zero_stage=0)
    assert setup.use_vllm
    monkeypatch.setattr(combinations, "_installed", lambda module: module != "vllm")
    with pytest.raises(RecipeError, match="needs vLLM"):
        refuse_clashes("g", setup)
