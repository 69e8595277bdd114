"""One trajectory everywhere: one process, and two with DDP, ZeRO-2 and ZeRO-3.

``accelerate launch`` trains the candidates on two CPU processes over gloo. Each step sees the same
global batch. Sums are taken in another order, so the runs agree to rounding and not to the bit:
losses to ``LOSS_TOLERANCE``, the final adapter's weights (the largest is 0.3) to
``WEIGHT_TOLERANCE``. Both are float32 and over all steps; measured were 5e-7 and 2e-6.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from safetensors.torch import load_file

from negalign_train.preferences.files import write_unpaired
from negalign_train.recipe.candidate import CandidateRun
from negalign_train.training.run import main
from negalign_train.training.running.checkpoints import is_complete
from tests.tiny import make_pairs, make_unpaired, write_parent, write_run

ROOT = Path(__file__).parents[2]
LOSS_TOLERANCE = 5e-6
WEIGHT_TOLERANCE = 2e-5
LAUNCHES = {"ddp": "cpu_2proc.yaml", "zero2": "zero2.yaml", "zero3": "zero3.yaml"}
REWARD = {"length_weight": 0.5, "length_slack": 0.1, "unscorable": -9.0}
TIMEOUT = 300
"""Seconds; a hang fails."""

Result = tuple[list[float], dict[str, Any]]
"""Logged losses, and the final adapter's tensors."""


@pytest.fixture(scope="module")
def adapters(base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A parent to go on from, and another adapter as the reference."""
    folder = tmp_path_factory.mktemp("adapters")
    return write_parent(folder / "parent", base), write_parent(folder / "approved", base, seed=9)


def candidate(folder: Path, base: Path, adapters: tuple[Path, Path], method: str) -> CandidateRun:
    """20 steps of 4 pairs, or of 8 KTO rows; 2 steps of 8 GRPO completions."""
    world = 1 if folder.name == "one" else 2
    trainer: dict[str, Any] = {"per_device_train_batch_size": 4 // world, "num_train_epochs": 5}
    keys: dict[str, Any] = {"method": method, "reference": "approved"}
    if method == "dpo":
        trainer |= {"train_sampling_strategy": "random", "save_steps": 8}
        if world == 2:
            trainer |= {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 2}
    elif method == "kto":
        trainer |= {"per_device_train_batch_size": 8 // world}
    else:
        keys["reward"] = REWARD
        trainer |= {"per_device_train_batch_size": 4, "num_generations": 4, "max_steps": 2}
        trainer["num_train_epochs"] = None
    return write_run(
        folder / method, base, pairs=make_pairs(16), candidate=keys, trainer=trainer,
        parent_adapter_dir=adapters[0], approved_adapter_dir=adapters[1],
    )  # fmt: skip


def poor_candidate(folder: Path, base: Path) -> CandidateRun:
    """KTO on nine rows, one of them undesirable: the last batch is short, most batches have one
    class only, and the reference's batches do not divide by two.
    """
    run = write_run(
        folder / "poor", base, candidate={"method": "kto"},
        trainer={"per_device_train_batch_size": 2, "num_train_epochs": 2},
    )  # fmt: skip
    rows = make_unpaired(make_pairs(9))
    write_unpaired(run.unpaired_path, [*rows[0:16:2], rows[17]])
    return run


def written(run: CandidateRun) -> str:
    path = run.output_dir.parent / "candidate.yaml"
    path.write_text(yaml.safe_dump(run.model_dump(mode="json", by_alias=True)))
    return str(path)


def result(run: CandidateRun) -> Result:
    assert is_complete(run.output_dir)
    log = [json.loads(line) for line in (run.output_dir / "log.jsonl").read_text().splitlines()]
    tensors = load_file(run.output_dir / "adapter" / "adapter_model.safetensors")
    return [entry["loss"] for entry in log if "grad_norm" in entry], tensors


def launch(kind: str, module: str, arguments: list[str]) -> str:
    """Runs ``module`` in two CPU processes of the launch file and returns what they print."""
    command = [
        sys.executable, "-m", "accelerate.commands.launch", "--config_file",
        f"recipes/accelerate/{LAUNCHES[kind]}", "--num_processes", "2", "--main_process_port", "0",
        "-m", module, *arguments,
    ]  # fmt: skip
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    if kind != "ddp":
        environment["DS_ACCELERATOR"] = "cpu"
    finished = subprocess.run(
        command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False,
        timeout=TIMEOUT,
    )  # fmt: skip
    assert finished.returncode == 0, finished.stdout[-1000:] + finished.stderr[-3000:]
    return finished.stdout


@pytest.fixture(scope="module")
def launched(
    base: Path, adapters: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], dict[str, Result]]:
    """The results of a kind of launch by method; each kind is launched once."""
    done: dict[str, dict[str, Result]] = {}

    def results(kind: str) -> dict[str, Result]:
        if kind not in done:
            folder = tmp_path_factory.mktemp("runs") / kind
            methods = ["dpo", "kto"] if kind == "one" else ["dpo", "kto", "grpo"]
            runs = {method: candidate(folder, base, adapters, method) for method in methods}
            if kind == "one":
                assert [main(["--config", written(run)]) for run in runs.values()] == [0, 0]
            else:
                if kind != "zero2":
                    runs["poor"] = poor_candidate(folder, base)
                paths = [written(run) for run in runs.values()]
                # Cut after its first checkpoint, the run goes on from there in the same launch.
                said = launch(kind, "tests.launched", [f"{paths[0]}@10", *paths])
                assert f"going on from {runs['dpo'].output_dir}/checkpoints/checkpoint-8" in said
            done[kind] = {method: result(run) for method, run in runs.items()}
        return done[kind]

    return results


def largest_difference(left: Result, right: Result) -> float:
    assert left[1].keys() == right[1].keys()
    return max(float((left[1][name] - right[1][name]).abs().max()) for name in left[1])


@pytest.mark.parametrize("method", ["dpo", "kto"])
@pytest.mark.parametrize("kind", LAUNCHES)
def test_two_processes_take_the_path_of_one(launched, adapters, kind, method):
    """A wrong parent, reference, partner of a KTO row or gradient scale would each part them; so
    would a checkpoint that lost something, since the DPO run went on from one.
    """
    one, two = launched("one")[method], launched(kind)[method]
    assert len(one[0]) == len(two[0]) == 20
    assert two[0] == pytest.approx(one[0], abs=LOSS_TOLERANCE)
    assert largest_difference(one, two) < WEIGHT_TOLERANCE
    parent = load_file(adapters[0] / "adapter_model.safetensors")
    assert largest_difference(one, ([], parent)) > 1e-2
    assert one[0][-1] < one[0][0] / 2


@pytest.mark.parametrize("kind", ["zero2", "zero3"])
def test_grpo_takes_one_path_under_ddp_and_zero(launched, adapters, kind):
    """Each process draws its own completions, so the runs compared have two processes each."""
    ddp, zero = launched("ddp")["grpo"], launched(kind)["grpo"]
    assert zero[0] == pytest.approx(ddp[0], abs=LOSS_TOLERANCE)
    assert largest_difference(ddp, zero) < WEIGHT_TOLERANCE
    parent = load_file(adapters[0] / "adapter_model.safetensors")
    assert largest_difference(ddp, ([], parent)) > 1e-3


@pytest.mark.parametrize("kind", ["ddp", "zero3"])
def test_kto_with_uneven_rows_and_a_process_without_a_class_ends(launched, kind):
    losses, tensors = launched(kind)["poor"]
    assert len(losses) == 6
    assert losses[-1] < losses[0]
    assert all(bool(value.isfinite().all()) for value in tensors.values())
