"""The launched process: what its environment keeps out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from negalign_train.cycle.steps import train as train_step
from negalign_train.progress import silent
from negalign_train.training.running.progress_file import PROGRESS, RunPlace, write_place


def test_a_python_file_of_the_current_folder_is_not_run_by_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "yaml.py").write_text("raise SystemExit('planted')")
    monkeypatch.chdir(tmp_path)
    started: list[list[str]] = []
    launch = subprocess.Popen

    def import_yaml(command: list[str], **how: Any) -> subprocess.Popen[bytes]:
        started.append(command)
        # As the launcher starts its workers: Python with -m and its own environment.
        return launch([sys.executable, "-c", "import yaml; yaml.safe_load"], **how)

    monkeypatch.setattr(subprocess, "Popen", import_yaml)
    root = Path(__file__).resolve().parents[2]
    file = root / "recipes" / "accelerate" / "cpu.yaml"
    code = train_step._launch(file, tmp_path / "candidate.yaml", tmp_path / "train.log")
    assert code == 0, (tmp_path / "train.log").read_text()
    assert started[0][:3] == [sys.executable, "-m", "accelerate.commands.launch"]


def test_the_launcher_says_how_far_the_run_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_place(tmp_path / PROGRESS, RunPlace("optimiser steps", 3, 8))
    ticks: list[tuple[str, int, int]] = []
    monkeypatch.setattr(
        train_step,
        "time_left",
        lambda what, _: lambda done, total: ticks.append((what, done, total)),
    )
    monkeypatch.setattr(train_step, "_LOOK_SECONDS", 0.02)
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(0.3)"])
    assert train_step._watched(process, tmp_path, silent) == 0
    assert set(ticks) == {(f"candidate {tmp_path.name}, optimiser steps", 3, 8)}
