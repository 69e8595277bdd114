"""A run that is cut goes on from its newest whole checkpoint, to the very same bytes."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from negalign_train.recipe.candidate import CandidateRun
from negalign_train.training.running import outputs
from negalign_train.training.running.checkpoints import MARKER, is_complete
from tests.tiny import launch, write_run

ROOT = Path(__file__).parents[2]
WEIGHTS = Path("adapter", "adapter_model.safetensors")
AVERAGING = {"averaging": {"decay": 0.7}}
KINDS: dict[str, dict[str, Any]] = {
    "dpo": {"candidate": {}},
    "dpo-averaged": {"candidate": AVERAGING},
    "kto": {"candidate": {"method": "kto"}},
    "kto-averaged": {"candidate": {"method": "kto"} | AVERAGING},
}


class _PowerCut(Exception):
    pass


@pytest.fixture(scope="module")
def make_run(base: Path, parent: Path) -> Callable[[Path, str], CandidateRun]:
    """``make_run(folder, kind)``: a checkpoint every two steps, a reference cache of its own."""

    def make(folder: Path, kind: str) -> CandidateRun:
        return write_run(
            folder, base, parent_adapter_dir=parent, reference_cache_dir=folder / "cache",
            trainer={"save_steps": 2, "num_train_epochs": None, "max_steps": 6}, **KINDS[kind],
        )  # fmt: skip

    return make


def cut_at(step: int, run: CandidateRun) -> None:
    """The run dies at the log of ``step``."""
    on_log = outputs.JsonLog.on_log

    def failing(self: Any, args: Any, state: Any, control: Any, **rest: Any) -> None:
        on_log(self, args, state, control, **rest)
        if state.global_step == step:
            raise _PowerCut

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outputs.JsonLog, "on_log", failing)
        with pytest.raises(_PowerCut):
            launch(run)
    assert not is_complete(run.output_dir)


@pytest.fixture(scope="module")
def whole(make_run: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, CandidateRun]:
    """An uninterrupted run of each kind."""
    runs = {kind: make_run(tmp_path_factory.mktemp("whole"), kind) for kind in KINDS}
    assert [launch(run) for run in runs.values()] == [0] * len(runs)
    return runs


@pytest.fixture(scope="module")
def cut(make_run: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, CandidateRun]:
    """A run of each kind that died in its fifth step of six."""
    runs = {kind: make_run(tmp_path_factory.mktemp("cut"), kind) for kind in KINDS}
    for run in runs.values():
        cut_at(5, run)
    return runs


@pytest.fixture
def copy_of(cut: dict[str, CandidateRun], make_run: Any, tmp_path: Path) -> Any:
    """``copy_of(kind)``: the cut run of that kind in a folder of its own (a workspace may move)."""

    def make(kind: str) -> CandidateRun:
        run: CandidateRun = make_run(tmp_path, kind)
        shutil.copytree(cut[kind].output_dir, run.output_dir)
        return run

    return make


def losses(run: CandidateRun) -> list[tuple[int, float]]:
    lines = (run.output_dir / "log.jsonl").read_text().splitlines()
    entries = [json.loads(line) for line in lines]
    return [(entry["step"], entry["loss"]) for entry in entries if "loss" in entry]


@pytest.mark.parametrize("kind", KINDS)
def test_a_cut_run_ends_with_the_bytes_of_an_uninterrupted_one(copy_of, whole, capsys, kind):
    run, expected = copy_of(kind), whole[kind]
    assert launch(run) == 0
    assert f"going on from {run.output_dir}/checkpoints/checkpoint-4" in capsys.readouterr().out
    assert (run.output_dir / WEIGHTS).read_bytes() == (expected.output_dir / WEIGHTS).read_bytes()
    assert losses(run) == losses(expected)
    actual, metrics = (
        json.loads((each.output_dir / "metrics.json").read_text()) for each in (run, expected)
    )
    assert actual.keys() == metrics.keys()
    differing = {name for name in metrics if actual[name] != metrics[name]}
    assert differing <= {"seconds", "peak_rss_mb"}
    assert ("averaging/discarded_energy" in metrics) == ("averaged" in kind)


def cut_the_weights(folder: Path) -> None:
    path = folder / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


def cut_the_average(folder: Path) -> None:
    path = folder / "averaging.safetensors"
    path.write_bytes(path.read_bytes()[:100])


def lose_the_trainer_state(folder: Path) -> None:
    (folder / "trainer_state.json").unlink()


def lose_the_optimiser(folder: Path) -> None:
    (folder / "optimizer.pt").unlink()


def lose_the_marker(folder: Path) -> None:
    (folder / MARKER).unlink()


def cut_the_marker(folder: Path) -> None:
    (folder / MARKER).write_text((folder / MARKER).read_text()[:40])


def empty_the_folder(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


DAMAGES = [
    cut_the_weights,
    cut_the_average,
    lose_the_trainer_state,
    lose_the_optimiser,
    lose_the_marker,
    cut_the_marker,
    empty_the_folder,
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_newest_checkpoint_is_passed_over(copy_of, whole, capsys, damage):
    run = copy_of("dpo-averaged")
    damage(run.output_dir / "checkpoints" / "checkpoint-4")
    assert launch(run) == 0
    assert f"going on from {run.output_dir}/checkpoints/checkpoint-2" in capsys.readouterr().out
    expected = whole["dpo-averaged"].output_dir / WEIGHTS
    assert (run.output_dir / WEIGHTS).read_bytes() == expected.read_bytes()


def test_a_run_without_any_whole_checkpoint_starts_again(copy_of, whole, capsys):
    run = copy_of("kto-averaged")
    for folder in (run.output_dir / "checkpoints").glob("checkpoint-*"):
        lose_the_trainer_state(folder)
    assert launch(run) == 0
    assert "going on from" not in capsys.readouterr().out
    expected = whole["kto-averaged"].output_dir / WEIGHTS
    assert (run.output_dir / WEIGHTS).read_bytes() == expected.read_bytes()


def test_a_run_that_is_cut_twice_ends_with_the_same_bytes(make_run, whole, tmp_path):
    run = make_run(tmp_path, "dpo-averaged")
    cut_at(3, run)
    cut_at(5, run)
    assert launch(run) == 0
    expected = whole["dpo-averaged"]
    assert (run.output_dir / WEIGHTS).read_bytes() == (expected.output_dir / WEIGHTS).read_bytes()
    assert losses(run) == losses(expected)


def test_averaging_publishes_another_adapter_from_the_same_steps(whole):
    plain, averaged = whole["dpo"], whole["dpo-averaged"]
    assert losses(plain) == losses(averaged)
    assert (plain.output_dir / WEIGHTS).read_bytes() != (averaged.output_dir / WEIGHTS).read_bytes()


@pytest.mark.slow
def test_a_run_killed_while_it_trains_always_goes_on_to_the_same_bytes(base, parent, tmp_path):
    """SIGKILL at three random moments, each after one more checkpoint has begun to appear."""
    keys: dict[str, Any] = {
        "parent_adapter_dir": parent, "candidate": AVERAGING,
        "trainer": {"save_steps": 1, "num_train_epochs": None, "max_steps": 40},
    }  # fmt: skip
    expected = write_run(tmp_path / "whole", base, **keys)
    assert launch(expected) == 0
    run = write_run(tmp_path / "cut", base, **keys)
    config = tmp_path / "cut" / "candidate.yaml"
    config.write_text(yaml.safe_dump(run.model_dump(mode="json", by_alias=True)))
    command = [sys.executable, "-m", "negalign_train.training.run", "--config", str(config)]
    moments = random.Random(7)
    for _ in range(3):
        seen = checkpoint_names(run)
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT
        )
        while process.poll() is None and checkpoint_names(run) <= seen:
            time.sleep(0.01)
        time.sleep(moments.random() * 0.5)
        process.kill()
        process.wait()
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert (run.output_dir / WEIGHTS).read_bytes() == (expected.output_dir / WEIGHTS).read_bytes()
    assert losses(run) == losses(expected)


def checkpoint_names(run: CandidateRun) -> set[str]:
    return {path.name for path in (run.output_dir / "checkpoints").glob("checkpoint-*")}
