"""The launch files, by accelerate's own loader, and the launch itself."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import launch_command_parser
from pydantic import ValidationError
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.integrations.deepspeed import HfTrainerDeepSpeedConfig

from negalign_train.recipe.launch_file import read_launch_file
from negalign_train.training.settings.arguments import trainer_config
from negalign_train.vocabulary.errors import RecipeError
from tests.tiny import write_run, write_tiny_model

FOLDER = Path(__file__).parents[2] / "recipes" / "accelerate"
FILES = sorted(FOLDER.glob("*.yaml"))
DEEPSPEED_FILES = sorted(FOLDER.glob("*.json"))
SMALL = LlamaConfig(
    vocab_size=8, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1
)


def test_the_launch_files_are_the_ones_promised():
    names = {path.name for path in FILES}
    assert names == {
        "cpu.yaml", "cpu_2proc.yaml", "single_gpu.yaml", "multi_gpu.yaml", "multi_node.yaml",
        "zero2.yaml", "zero3.yaml", "zero3_nodes.yaml",
    }  # fmt: skip


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_launch_file_holds_only_keys_accelerate_reads(path):
    config = load_config_from_file(str(path))
    written = yaml.safe_load(path.read_text())
    assert {key: getattr(config, key) for key in written if key != "distributed_type"} == {
        key: value for key, value in written.items() if key != "distributed_type"
    }
    assert config.distributed_type.value == written["distributed_type"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_launch_files_deepspeed_section_holds_only_options_of_accelerate_launch(path):
    options = {action.dest for action in launch_command_parser()._actions}
    section = yaml.safe_load(path.read_text()).get("deepspeed_config", {})
    assert set(section) <= options
    # What stands in the DeepSpeed file must not stand here too: accelerate refuses it.
    assert not {"zero_stage", "gradient_accumulation_steps", "gradient_clipping"} & set(section)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_launch_file_is_read_as_what_its_name_says(path, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # the DeepSpeed file is found from anywhere
    launch_file = read_launch_file(path)
    stage = int(path.name[4]) if path.name.startswith("zero") else 0
    assert launch_file.zero_stage == stage
    beside = path.with_suffix(".json") if stage else None
    assert launch_file.deepspeed_config == beside
    processes = {"cpu": 1, "cpu_2proc": 2, "single_gpu": 1, "multi_node": 16, "zero3_nodes": 16}
    assert launch_file.num_processes == processes.get(path.stem, 8)
    named = ["--config_file", str(path)]
    named += ["--deepspeed_config_file", str(beside)] if beside else []
    assert launch_file.arguments() == named


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("deepspeed_config:\n  deepspeed_config_file: nowhere.json\n", "neither in the working"),
        ("a: [", "cannot be parsed"),
        ("- a\n", "holds no mapping"),
    ],
)
def test_a_launch_file_that_cannot_be_read_is_refused(tmp_path, text, message):
    (tmp_path / "launch.yaml").write_text(text)
    with pytest.raises(RecipeError, match=message):
        read_launch_file(tmp_path / "launch.yaml")
    with pytest.raises(RecipeError, match="cannot be read"):
        read_launch_file(tmp_path / "missing.yaml")


@pytest.mark.parametrize("path", DEEPSPEED_FILES, ids=lambda path: path.name)
def test_a_deepspeed_file_is_filled_by_trainer_and_taken_by_deepspeed(path, tmp_path):
    """Every ``auto`` is one that transformers fills, every key one that DeepSpeed reads."""
    deepspeed = pytest.importorskip("deepspeed", reason="an optional extra (distributed)")
    constants = importlib.import_module("deepspeed.runtime.constants")
    known = {value for value in vars(constants).values() if isinstance(value, str)}
    assert set(json.loads(path.read_text())) <= known | {"zero_optimization", "bf16"}
    write_tiny_model(tmp_path / "base")
    filled = HfTrainerDeepSpeedConfig(str(path))
    arguments = trainer_config(write_run(tmp_path, tmp_path / "base", dtype="bfloat16"))
    filled.trainer_config_process(arguments)
    filled.trainer_config_finalize(arguments, LlamaForCausalLM(SMALL), num_training_steps=10)
    assert "auto" not in json.dumps(filled.config)
    assert filled.config["bf16"] == {"enabled": True}
    assert filled.config["train_micro_batch_size_per_gpu"] == 4
    parsed = deepspeed.DeepSpeedConfig(filled.config)
    assert parsed.zero_optimization_stage == int(path.name[4])
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        deepspeed.DeepSpeedConfig(
            filled.config | {"zero_optimization": {"stage": 2, "overlap": True}}
        )


def launch(folder: Path, base: Path, name: str, per_device: int) -> list[float]:
    """Trains through ``accelerate launch`` and returns the logged losses."""
    sizes = {"per_device_train_batch_size": per_device, "train_sampling_strategy": "random"}
    run = write_run(folder, base, trainer=sizes)
    config = folder / "candidate.yaml"
    config.write_text(yaml.safe_dump(run.model_dump(mode="json", by_alias=True)))
    command = [
        sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(FOLDER / name),
        "-m", "negalign_train.training.run", "--config", str(config),
    ]  # fmt: skip
    finished = subprocess.run(
        command, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
        cwd=FOLDER.parent.parent, check=False,
    )  # fmt: skip
    assert finished.returncode == 0, finished.stderr[-2000:]
    assert finished.stdout.count("8 examples, seed 7") == 1
    log = (run.output_dir / "log.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in log if "grad_norm" in line]


@pytest.mark.slow
def test_two_processes_take_the_path_of_one(tmp_path):
    """Each step sees the same four pairs, whole or split over two processes."""
    write_tiny_model(tmp_path / "base")
    one = launch(tmp_path / "one", tmp_path / "base", "cpu.yaml", per_device=4)
    two = launch(tmp_path / "two", tmp_path / "base", "cpu_2proc.yaml", per_device=2)
    assert len(one) == 6
    assert two == pytest.approx(one, abs=1e-4)
