"""``negalign init``: numbers that fit model, machine and log, in a recipe that a cycle takes."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from negalign_train.commands import cli
from negalign_train.recipe.candidate import LoraSettings, Method
from negalign_train.recipe.cycle import CycleRecipe, load_yaml
from negalign_train.recipe.estimate import Training, memory, read_architecture
from negalign_train.recipe.launch_file import read_launch_file
from negalign_train.recipe.tailored.base_files import BaseFiles, read_base_files
from negalign_train.recipe.tailored.machine import Machine, detect_machine
from negalign_train.recipe.tailored.planning import LogFacts, RecipePlan, budget_gb, plan_recipe
from negalign_train.recipe.tailored.writing import launch_text, recipe_text
from negalign_train.storage.database import open_database
from negalign_train.storage.workspace import Workspace
from negalign_train.vocabulary.errors import RecipeError
from negalign_train.vocabulary.resources import data_path
from tests.recipe.test_recipes import CONFIGS

ROOT = Path(__file__).resolve().parents[2]
METHODS: tuple[Method, ...] = ("dpo", "kto", "grpo", "sft")
MAPS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
QWEN, LLAMA, LLAMA_70B = CONFIGS
MACHINES = {
    "24 GB": Machine(1, 24.0, True), "80 GB": Machine(1, 80.0, True),
    "4 x 80 GB": Machine(4, 80.0, True), "5 x 40 GB": Machine(5, 40.0, True),
    "old 16 GB": Machine(1, 16.0, False), "CPU": Machine(0, 64.0, False),
}  # fmt: skip


def model(name: str) -> BaseFiles:
    return BaseFiles(name, Path("nowhere"), read_architecture(CONFIGS[name]), 8192, MAPS)


def header(shapes: dict[str, list[int]]) -> bytes:
    """A safetensors file without its weights: nothing reads more than the header."""
    entries = {key: {"dtype": "F32", "shape": shape} for key, shape in shapes.items()}
    text = json.dumps({"__metadata__": {"format": "pt"}, **entries}).encode()
    return len(text).to_bytes(8, "little") + text


def base_folder(folder: Path, config: dict[str, Any], shapes: dict[str, list[int]]) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").write_bytes(header(shapes))
    return folder


def recipe_of(plan: RecipePlan, folder: Path) -> CycleRecipe:
    path = folder / "cycle.yaml"
    path.write_text(recipe_text(plan, path.name, "cycle.accelerate.yaml"), encoding="utf-8")
    return load_yaml(path, CycleRecipe)


@pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES)
@pytest.mark.parametrize("name", [QWEN, LLAMA])
def test_every_plan_is_a_recipe_that_fits_or_a_refusal(
    name: str, machine: Machine, tmp_path: Path
) -> None:
    base = model(name)
    if name == LLAMA and not machine.bfloat16:
        with pytest.raises(RecipeError, match=r"8\.03 B parameters\) needs 32\.1 GB in float32"):
            plan_recipe(base, machine, METHODS, None)
        return
    plan = plan_recipe(base, machine, METHODS, None)
    recipe = recipe_of(plan, tmp_path)
    assert [candidate.method for candidate in recipe.candidates] == list(METHODS)
    for candidate in recipe.candidates:
        keys = candidate.trainer
        size = keys["per_device_train_batch_size"]
        training = Training(
            recipe.model.dtype, recipe.model.quantisation, candidate.lora, 2 * size * 1024,
            checkpointing=keys["gradient_checkpointing"],
        )  # fmt: skip
        assert memory(base.architecture, training).total / 1e9 <= budget_gb(machine)
        assert keys["learning_rate"] <= 1e-4  # that of the small generator would wreck this one
        assert keys["save_steps"] == 50
        step = size * keys["gradient_accumulation_steps"] * plan.processes
        assert step % 8 == 0 if candidate.method == "grpo" else 8 <= step <= 40


@pytest.mark.parametrize(
    ("name", "machine", "expected"),
    [
        (QWEN, "24 GB", ("bfloat16", "none", False)),
        (QWEN, "CPU", ("float32", "none", False)),
        (QWEN, "old 16 GB", ("float32", "none", False)),
        (LLAMA, "24 GB", ("bfloat16", "none", True)),
        (LLAMA, "80 GB", ("bfloat16", "none", False)),
    ],
)
def test_dtype_weights_and_checkpointing_follow_the_machine(
    name: str, machine: str, expected: tuple[str, str, bool]
) -> None:
    plan = plan_recipe(model(name), MACHINES[machine], ("dpo",), None)
    assert (plan.dtype, plan.quantisation, plan.checkpointing) == expected


def test_kto_has_two_rows_at_once_where_dpo_takes_one_pair() -> None:
    long = LogFacts(events=900, approved_cases=600, prompt=7000, completion=1000)
    assert plan_recipe(model(LLAMA), MACHINES["24 GB"], ("dpo",), long).examples == 1
    with pytest.raises(RecipeError, match=r"needs at least 22\.6 GB to train"):
        plan_recipe(model(LLAMA), MACHINES["24 GB"], ("dpo", "kto"), long)


def test_a_base_that_does_not_fit_is_trained_in_four_bits_and_a_larger_one_refused() -> None:
    plan = plan_recipe(model(LLAMA), Machine(1, 20.0, True), ("dpo",), None)
    assert (plan.quantisation, plan.dtype) == ("nf4", "bfloat16")
    with pytest.raises(RecipeError, match=r"share the base over several \(recipes/70b-zero3"):
        plan_recipe(model(LLAMA_70B), MACHINES["24 GB"], ("dpo",), None)


def test_only_a_small_model_takes_the_small_generator_s_learning_rate(tmp_path: Path) -> None:
    folder = data_path("embedded")
    small = plan_recipe(read_base_files("embedded", folder), MACHINES["80 GB"], ("dpo",), None)
    recipe = recipe_of(small, tmp_path)
    assert recipe.candidates[0].trainer["learning_rate"] == 1e-3
    assert (recipe.model.dtype, recipe.candidates[0].trainer["max_length"]) == ("float32", 512)
    assert recipe.candidates[0].lora == LoraSettings()


def test_lengths_and_held_out_cases_follow_the_log() -> None:
    def planned(**facts: int) -> RecipePlan:
        return plan_recipe(model(QWEN), MACHINES["24 GB"], ("dpo",), LogFacts(**facts))

    plan = planned(events=900, approved_cases=600, prompt=300, completion=200)
    assert (plan.max_length, plan.max_new_tokens) == (640, 256)
    assert (plan.held_out_fraction, plan.min_cases) == (0.2, 98)
    short = planned(events=900, approved_cases=600, prompt=5, completion=300)
    assert short.max_length > short.max_new_tokens == 384
    few = planned(events=40, approved_cases=40, prompt=10, completion=10)
    assert (few.held_out_fraction, few.min_cases) == (0.3, 20)
    many = planned(events=9000, approved_cases=6000, prompt=10, completion=10)
    assert (many.held_out_fraction, many.min_cases) == (0.1, 100)
    with pytest.raises(RecipeError, match="have 8200 tokens together, the context of"):
        planned(events=1, approved_cases=1, prompt=8000, completion=200)


@pytest.mark.parametrize(
    ("name", "machine"),
    [("cpu", "CPU"), ("single_gpu", "24 GB"), ("multi_gpu", "4 x 80 GB")],
)
def test_the_launch_file_is_the_shipped_one_with_the_devices_that_are_there(
    name: str, machine: str
) -> None:
    shipped = yaml.safe_load((ROOT / "recipes" / "accelerate" / f"{name}.yaml").read_text())
    processes = max(1, MACHINES[machine].num_gpus)
    assert yaml.safe_load(launch_text(MACHINES[machine])) == shipped | {"num_processes": processes}


def test_target_modules_are_the_maps_that_the_weights_hold(tmp_path: Path) -> None:
    layer, moe = "model.layers.0.", "model.layers.1.block_sparse_moe."
    shapes = {
        "model.embed_tokens.weight": [10, 4], "lm_head.weight": [10, 4],
        f"{layer}self_attn.qkv_proj.weight": [12, 4], f"{layer}self_attn.o_proj.weight": [4, 4],
        f"{layer}mlp.gate_up_proj.weight": [16, 4], f"{layer}mlp.down_proj.weight": [4, 8],
        f"{layer}input_layernorm.weight": [4], f"{layer}self_attn.o_proj.bias": [4],
        f"{moe}gate.weight": [2, 4], f"{moe}experts.0.w1.weight": [8, 4],
    }  # fmt: skip
    config = CONFIGS[LLAMA] | {"max_position_embeddings": 4096}
    base = read_base_files("x", base_folder(tmp_path / "phi", config, shapes))
    assert base.linear_maps == ("o_proj", "down_proj", "gate_up_proj", "qkv_proj")
    assert base.context == 4096


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"config": {"d_model": 8, "max_position_embeddings": 64}}, "Llama's shape only"),
        ({"config": {"is_encoder_decoder": True, "model_type": "t5"}}, "is an encoder-decoder"),
        ({"config": CONFIGS[LLAMA]}, "has no max_position_embeddings"),
        (
            {"config": CONFIGS[LLAMA] | {"quantization_config": {"quant_method": "awq"}}},
            "quantised already; give the whole model",
        ),
        ({"shapes": {"encoder.weight": [4, 4]}}, "no safetensors file with a model's layers"),
    ],
)
def test_a_folder_of_another_kind_is_refused_in_one_line(
    change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    config = CONFIGS[LLAMA] | {"max_position_embeddings": 4096}
    given = {"config": config, "shapes": {"model.layers.0.mlp.up_proj.weight": [8, 4]}} | change
    with pytest.raises(RecipeError, match=message):
        read_base_files("x", base_folder(tmp_path / "base", **given))


SMI = "#!/bin/sh\nprintf '81559, 9.0\\n24576, 8.6\\n'\n"


def test_the_machine_is_its_smallest_visible_gpu(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(SMI)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    found = detect_machine()
    assert (found.num_gpus, round(found.memory_gb, 1), found.bfloat16) == (2, 25.8, True)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert detect_machine() == replace(found, num_gpus=1, memory_gb=81559 * 2**20 / 1e9)
    program.write_text(SMI.replace("8.6", "7.5"))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert not detect_machine().bfloat16
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert detect_machine().num_gpus == 0


def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object
) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["negalign", "init", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    out, err = capsys.readouterr()
    return int(stopped.value.code or 0), out, err


def test_the_command_writes_a_checked_recipe_and_keeps_what_is_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out = tmp_path / "mine.yaml"
    arguments = ("--model", "embedded", "--out", out, "--gpu-memory", 0)
    code, shown, _ = run(monkeypatch, capsys, *arguments, "--method", "dpo,kto,grpo,sft")
    assert code == 0
    assert "mine.yaml" in shown
    assert "GB a GPU" in shown  # the lines of negalign estimate
    recipe = load_yaml(out, CycleRecipe)
    assert [candidate.name for candidate in recipe.candidates] == list(METHODS)
    launch = read_launch_file(tmp_path / recipe.accelerate_config)
    assert (launch.path.name, launch.num_processes) == ("mine.accelerate.yaml", 1)
    before = out.read_bytes()
    code, _, err = run(monkeypatch, capsys, *arguments)
    assert code == 1
    assert "mine.yaml exists; choose another --out, or replace it with --force" in err
    assert out.read_bytes() == before
    assert run(monkeypatch, capsys, *arguments, "--force")[0] == 0
    assert out.read_bytes() != before


def test_the_command_measures_the_log_in_the_model_s_tokens(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from negalign_train.feedback.store import FeedbackStore  # noqa: PLC0415
    from tests.feedback.importing import import_log  # noqa: PLC0415

    place = Workspace(tmp_path / "w")
    log = FeedbackStore(open_database(place.database_url))
    import_log(log, data_path("sample_feedback.jsonl"))
    out = tmp_path / "mine.yaml"
    code, shown, _ = run(
        monkeypatch, capsys, "--model", "embedded", "--out", out, "--workspace", place.root
    )
    assert code == 0
    assert (
        "The log has 244 events, and 154 cases with a text that a reader approved of; about"
        in shown
    )
    recipe = load_yaml(out, CycleRecipe)
    assert (recipe.preferences.held_out_fraction, recipe.gate.min_cases) == (0.3, 32)
    assert 128 < recipe.candidates[0].trainer["max_length"] < 512


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--model", "no/such"), 1, "is no folder and cannot be had from the hub"),
        (("--model", "embedded", "--method", "ppo"), 2, "--method 'ppo' is none of dpo, kto"),
        (("--model", "embedded", "--method", "dpo,dpo"), 2, "names one twice"),
        (("--model", "embedded", "--gpu-memory", 0, "--gpus", 2), 2, "--gpus does not go with"),
        (("--model", "embedded", "--workspace", "nowhere"), 1, "there is no workspace at nowhere"),
        (("--model", "."), 1, "config.json cannot be read"),
    ],
)
def test_a_wrong_call_is_one_line_and_writes_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path,
    arguments: tuple[object, ...], code: int, message: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    found, _, err = run(monkeypatch, capsys, *arguments)
    (line,) = [line for line in err.splitlines() if line.startswith("error: ")]
    assert found == code
    assert message in line
    assert list(tmp_path.iterdir()) == []


def test_a_recipe_that_a_cycle_would_refuse_is_not_written(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    import negalign_train.commands.init as command  # noqa: PLC0415

    def refused(plan: RecipePlan, *names: str) -> str:
        return recipe_text(plan, *names).replace(
            "loss_type: [sigmoid, sft]", "loss_type: [magic, sft]"
        )

    monkeypatch.setattr(command, "recipe_text", refused)
    monkeypatch.chdir(tmp_path)
    code, _, err = run(monkeypatch, capsys, "--model", "embedded")
    assert code == 1
    assert "magic" in err
    assert list(tmp_path.iterdir()) == []
