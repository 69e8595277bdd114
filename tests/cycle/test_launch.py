"""The launched process: what its environment keeps out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from negalign_train.cycle.steps import train as train_step


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
