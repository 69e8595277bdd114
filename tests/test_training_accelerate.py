"""The launch files, by accelerate's own loader, and the launch itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from accelerate.commands.config.config_args import load_config_from_file

from tests.tiny import write_run, write_tiny_model

FOLDER = Path(__file__).parent.parent / "recipes" / "accelerate"
FILES = sorted(FOLDER.glob("*.yaml"))


def test_the_launch_files_are_the_ones_promised():
    names = {path.name for path in FILES}
    assert {"cpu.yaml", "cpu_2proc.yaml", "single_gpu.yaml", "multi_gpu.yaml"} <= names


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_launch_file_holds_only_keys_accelerate_reads(path):
    config = load_config_from_file(str(path))
    written = yaml.safe_load(path.read_text())
    assert {key: getattr(config, key) for key in written if key != "distributed_type"} == {
        key: value for key, value in written.items() if key != "distributed_type"
    }
    assert config.distributed_type.value == written["distributed_type"]


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
