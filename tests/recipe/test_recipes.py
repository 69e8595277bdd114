"""The recipes of real models: they parse, their settings go together, and their headers add up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from negalign_train.recipe import estimate
from negalign_train.recipe.candidate import CandidateRun, LoraSettings
from negalign_train.recipe.cycle import CycleRecipe, load_yaml
from negalign_train.recipe.estimate import (
    Architecture,
    Training,
    memory,
    pair_flops,
    read_architecture,
)
from negalign_train.recipe.launch_file import read_launch_file
from negalign_train.training.settings import combinations
from negalign_train.training.settings.arguments import trainer_config
from negalign_train.training.settings.combinations import refuse_clashes, setup_of
from negalign_train.vocabulary.errors import RecipeError

ROOT = Path(__file__).parents[2]
RECIPES = sorted(
    path
    for folder in ("qwen2.5-0.5b", "llama-3.1-8b", "70b-zero3")
    for path in (ROOT / "recipes" / folder).glob("*.yaml")
)
HEADED = [path for path in RECIPES if path.name != "grpo_vllm.yaml"]
PROMPT, COMPLETION = 250, 150

# From the models' config.json files, as published.
CONFIGS: dict[str, dict[str, Any]] = {
    "Qwen/Qwen2.5-0.5B-Instruct": {
        "num_hidden_layers": 24, "hidden_size": 896, "intermediate_size": 4864,
        "num_attention_heads": 14, "num_key_value_heads": 2, "vocab_size": 151936,
        "tie_word_embeddings": True,
    },
    "meta-llama/Llama-3.1-8B-Instruct": {
        "num_hidden_layers": 32, "hidden_size": 4096, "intermediate_size": 14336,
        "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256,
    },
    "meta-llama/Llama-3.3-70B-Instruct": {
        "num_hidden_layers": 80, "hidden_size": 8192, "intermediate_size": 28672,
        "num_attention_heads": 64, "num_key_value_heads": 8, "vocab_size": 128256,
    },
}  # fmt: skip


def relative(path: Path) -> str:
    return path.relative_to(ROOT / "recipes").as_posix()


def run_of(recipe: CycleRecipe, index: int) -> CandidateRun:
    nowhere = Path("nowhere")
    return CandidateRun(
        candidate=recipe.candidates[index], model_dir=nowhere, base_digest="0" * 64,
        base_name=recipe.model.model_name_or_path, dtype=recipe.model.dtype,
        quantisation=recipe.model.quantisation, max_new_tokens=recipe.model.max_new_tokens,
        parent_adapter_dir=None, pairs_path=nowhere, unpaired_path=nowhere, prompts_path=nowhere,
        output_dir=nowhere, seed=1,
    )  # fmt: skip


def test_the_recipes_are_the_ones_promised():
    assert [relative(path) for path in RECIPES] == [
        "70b-zero3/cycle.yaml", "llama-3.1-8b/grpo_vllm.yaml", "llama-3.1-8b/lora.yaml",
        "llama-3.1-8b/qlora.yaml", "qwen2.5-0.5b/cycle.yaml",
    ]  # fmt: skip
    table = (ROOT / "recipes" / "README.md").read_text()
    assert all(f"`{relative(path)}`" in table for path in RECIPES)


@pytest.mark.parametrize("path", RECIPES, ids=relative)
def test_every_candidate_is_taken_by_trl_and_goes_with_its_launch_file(path, monkeypatch):
    monkeypatch.setattr(combinations, "_installed", lambda module: True)
    recipe = load_yaml(path, CycleRecipe)
    launch_file = read_launch_file(ROOT / recipe.accelerate_config)
    assert recipe.model.model_name_or_path in CONFIGS
    assert recipe.model.dtype == "bfloat16"
    for index, candidate in enumerate(recipe.candidates):
        run = run_of(recipe, index)
        config = trainer_config(run)
        # What a small model trained from scratch takes would ruin a pretrained one.
        assert config.learning_rate <= 1e-4
        assert candidate.trainer["save_steps"] <= 50
        refuse_clashes(candidate.name, setup_of(run, config, launch_file.zero_stage))
        if candidate.method == "grpo":
            assert (config.use_vllm, config.vllm_mode) == (True, "colocate")  # type: ignore[attr-defined]


@pytest.mark.parametrize("path", HEADED, ids=relative)
def test_a_header_says_what_the_estimate_says(path):
    recipe = load_yaml(path, CycleRecipe)
    architecture = read_architecture(CONFIGS[recipe.model.model_name_or_path])
    candidate = recipe.candidates[0]
    launch_file = read_launch_file(ROOT / recipe.accelerate_config)
    gpus = launch_file.num_processes
    keys = candidate.trainer
    pairs, steps = keys["per_device_train_batch_size"], keys["gradient_accumulation_steps"]
    tokens = 2 * pairs * (PROMPT + COMPLETION)
    training = Training(
        recipe.model.dtype, recipe.model.quantisation, candidate.lora, tokens,
        gpus if launch_file.zero_stage == 3 else 1, keys["gradient_checkpointing"],
    )  # fmt: skip
    need = memory(architecture, training)
    flops = pair_flops(
        architecture, PROMPT, COMPLETION, keys["num_train_epochs"], training.checkpointing
    )
    header = path.read_text().split("schema:")[0].replace("\n#  ", "")
    assert f"= {tokens * steps * gpus:,}." in header
    assert f"= {need.total / 1e9:.1f} GB, and a tenth" in header
    for name in ("base", "adapter", "activations", "head"):
        assert f"{getattr(need, name) / 1e9:.1f} {name}" in header
    assert f"{architecture.parameters / 1e9:.3g}".rstrip("0") in header
    assert f"= {flops / 1e12:.1f} TFLOP a pair" in header
    assert "not measured" in header


@pytest.mark.parametrize(
    ("name", "billions", "lora_millions"),
    [
        ("Qwen/Qwen2.5-0.5B-Instruct", 0.494, 8.8),
        ("meta-llama/Llama-3.1-8B-Instruct", 8.03, 41.9),
        ("meta-llama/Llama-3.3-70B-Instruct", 70.6, 207.1),
    ],
)
def test_parameters_are_counted_as_published(name, billions, lora_millions):
    architecture = read_architecture(CONFIGS[name])
    assert architecture.parameters / 1e9 == pytest.approx(billions, rel=1e-3)
    adapted = estimate.lora_parameters(architecture, LoraSettings())
    assert adapted / 1e6 == pytest.approx(lora_millions, rel=2e-3)


def test_each_way_to_save_memory_saves_where_it_should():
    architecture = read_architecture(CONFIGS["meta-llama/Llama-3.1-8B-Instruct"])

    def need(**overrides: Any) -> estimate.Memory:
        keys: dict[str, Any] = {
            "dtype": "bfloat16", "quantisation": "none", "lora": LoraSettings(), "tokens": 4096,
        }  # fmt: skip
        return memory(architecture, Training(**keys | overrides))

    plain = need()
    assert plain.base == 2 * architecture.parameters
    assert need(tokens=8192).activations == 2 * plain.activations
    assert need(checkpointing=True).activations < plain.activations / 10
    assert need(quantisation="nf4").base < 0.4 * plain.base
    assert need(shards=8).base == plain.base / 8
    assert need(shards=8).gathered > 0 == plain.gathered


def test_the_cost_of_a_pair_is_the_formula():
    architecture = Architecture(1, 2, 4, 1, 1, 2, 10, tied=True)
    trunk, head = 4 * 2 * 2 + 3 * 2 * 4, 20
    assert (architecture.trunk, architecture.head) == (trunk, head)
    step, reference = 4 * trunk * 10 + 6 * head * 4, 2 * trunk * 10 + 2 * head * 4
    assert pair_flops(architecture, 3, 2, 2) == 2 * step + reference
    again = 6 * trunk * 10 + 6 * head * 4
    assert pair_flops(architecture, 3, 2, 2, checkpointing=True) == 2 * again + reference


def test_a_model_of_another_shape_is_refused(tmp_path):
    with pytest.raises(RecipeError, match="models of Llama's shape only"):
        read_architecture({"num_attention_heads": 2})
    with pytest.raises(RecipeError, match=r"holds no config\.json"):
        estimate.architecture_of(tmp_path)


def test_the_command_estimates_the_embedded_recipe(capsys):
    from negalign_train.commands.estimate import estimate as command  # noqa: PLC0415

    command(ROOT / "recipes" / "log" / "cycle.yaml", pairs=1000, as_json=True)
    actual = json.loads(capsys.readouterr().out)
    assert actual["estimated"] is True
    (row,) = actual["candidates"]
    assert row["candidate"] == "dpo"
    assert row["tokens_per_step"] == 8 * 2 * 250
    assert row["memory_gb"]["total"] == pytest.approx(
        sum(value for name, value in row["memory_gb"].items() if name != "total")
    )
