"""`negalign cycle` from outside: what wrong input says, and with which exit code."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RECIPE = ROOT / "recipes" / "embedded" / "cycle.yaml"


SMALL = (
    ("num_feedback_cases: 400", "num_feedback_cases: 40"),
    ("num_evaluation_cases: 400", "num_evaluation_cases: 20"),
    ("num_kl_cases: 64", "num_kl_cases: 16"),
    ("min_cases: 100", "min_cases: 20"),
    ("min_events: 50", "min_events: 5"),
)


def negalign(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "negalign_train.commands.cli", "cycle", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ("min_events:", "min_event:"),
            "feedback.min_event: unknown key; did you mean min_events?",
        ),
        (("beta: 0.1 ", "betta: 0.1 "), "betta"),
        (("recipes/accelerate/cpu.yaml", "nowhere.yaml"), "nowhere.yaml is neither in the working"),
        (
            ("model_name_or_path: embedded", "model_name_or_path: no/such"),
            "is no folder and cannot",
        ),
        (("loss_type: [sigmoid, sft]", "loss_type: [sigmoidal, sft]"), "sigmoidal"),
    ],
)
def test_a_wrong_recipe_is_one_line_that_names_the_fault(tmp_path, change, message):
    path = tmp_path / "cycle.yaml"
    text = RECIPE.read_text(encoding="utf-8")
    assert change[0] in text
    path.write_text(text.replace(*change), encoding="utf-8")
    done = negalign("--config", str(path), "--workspace", str(tmp_path / "w"))
    assert done.returncode == 1
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert message in errors[0]
    assert "Traceback" not in done.stderr


def test_a_missing_recipe_is_told(tmp_path):
    done = negalign("--config", str(tmp_path / "none.yaml"), "--workspace", str(tmp_path / "w"))
    assert done.returncode == 1
    assert "none.yaml: cannot be read" in done.stderr


def test_ctrl_c_ends_the_training_too_and_says_how_to_go_on(tmp_path):
    text = RECIPE.read_text(encoding="utf-8")
    for large, small in SMALL:
        assert large in text
        text = text.replace(large, small)
    path = tmp_path / "cycle.yaml"
    path.write_text(text.replace("num_train_epochs: 3", "num_train_epochs: 500"))
    workspace = tmp_path / "w"
    process = subprocess.Popen(
        [sys.executable, "-m", "negalign_train.commands.cli", "cycle", "--config", str(path),
         "--workspace", str(workspace)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip
    folder = workspace / "cycles" / "c0001" / "candidates" / "dpo"
    deadline = time.monotonic() + 120
    while not (folder / "log.jsonl").is_file() and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command goes on" in stderr
    before = (folder / "log.jsonl").read_text()
    time.sleep(3)
    assert (folder / "log.jsonl").read_text() == before
    assert str(folder) not in "".join(_commands())


def _commands() -> list[str]:
    """Command lines of this machine's processes, where /proc shows them."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue
    return [line for line in found if str(os.getpid()) not in line]


def test_json_prints_one_object_per_cycle_and_nothing_else(tmp_path):
    text = RECIPE.read_text(encoding="utf-8")
    for large, small in SMALL:
        assert large in text
        text = text.replace(large, small)
    path = tmp_path / "cycle.yaml"
    path.write_text(text.replace("num_train_epochs: 3", "num_train_epochs: 1"))
    done = negalign("--config", str(path), "--workspace", str(tmp_path / "w"), "--json")
    assert done.returncode == 0, done.stderr
    (summary,) = [json.loads(line) for line in done.stdout.splitlines()]
    assert (summary["cycle"], summary["num_cases"]) == (1, 20)
    promoted = summary["decision"] == "promoted"
    assert (summary["champion"] is not None) == promoted
