"""The averaged adapter and the reference cache over two processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from negalign_train.recipe.candidate import CandidateRun
from tests.tiny import write_run, write_tiny_model

FOLDER = Path(__file__).parents[2] / "recipes" / "accelerate"


def launch(folder: Path, base: Path, name: str, per_device: int) -> CandidateRun:
    """Trains through ``accelerate launch``, the average on and a checkpoint every two steps."""
    trainer = {
        "per_device_train_batch_size": per_device, "train_sampling_strategy": "random",
        "save_steps": 2,
    }  # fmt: skip
    run = write_run(
        folder, base, trainer=trainer, candidate={"averaging": {"decay": 0.7}},
        reference_cache_dir=folder / "cache",
    )  # fmt: skip
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
    return run


def products(run: CandidateRun) -> dict[str, torch.Tensor]:
    state = load_file(run.output_dir / "adapter" / "adapter_model.safetensors")
    return {
        name: state[name.replace("lora_A", "lora_B")] @ a
        for name, a in state.items()
        if "lora_A" in name
    }


@pytest.mark.slow
def test_two_processes_publish_the_average_of_one(tmp_path):
    write_tiny_model(tmp_path / "base")
    one = launch(tmp_path / "one", tmp_path / "base", "cpu.yaml", per_device=4)
    two = launch(tmp_path / "two", tmp_path / "base", "cpu_2proc.yaml", per_device=2)
    actual, expected = products(two), products(one)
    lost = sum(float((actual[name] - expected[name]).square().sum()) for name in expected)
    assert lost / sum(float(each.square().sum()) for each in expected.values()) < 1e-4
    metrics: list[dict[str, Any]] = [
        json.loads((run.output_dir / "metrics.json").read_text()) for run in (one, two)
    ]
    # All processes hold the average: they share the pass that takes these.
    for name in ("logps/chosen_end", "logps/rejected_end"):
        assert metrics[0][name] == pytest.approx(metrics[1][name], abs=1e-2)
    assert len(list((tmp_path / "two" / "cache").iterdir())) == 1
