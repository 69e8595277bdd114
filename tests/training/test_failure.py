"""A run that fails says why to the cycle, and never with a word of a report."""

from __future__ import annotations

import errno
import traceback
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from negalign_train.cycle.steps import train as train_step
from negalign_train.training import run as training_run
from negalign_train.training.running.failure import (
    FAILURE,
    describe,
    forget_failure,
    read_failure,
    record_failure,
)
from negalign_train.vocabulary.errors import CycleError, TrainingError
from tests.tiny import write_run

REPORT = "Findings: Large right pneumothorax of Mr. Smith."


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except type(error) as caught:
        return caught


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (TrainingError("pairs.parquet holds\nno examples"), "pairs.parquet holds no examples"),
        (ValueError(REPORT), "ValueError at "),
        (KeyError(REPORT), "KeyError at "),
        (OSError(errno.ENOSPC, REPORT), "OSError: No space left on device at "),
        (ModuleNotFoundError(REPORT, name="vllm"), "ModuleNotFoundError: module vllm at "),
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB. GPU 0 has"),
            "torch.OutOfMemoryError: CUDA out of memory at ",
        ),
    ],
)
def test_an_error_is_told_by_its_class_and_place_and_not_in_a_librarys_words(error, message):
    actual = describe(raised(error))
    assert actual.startswith(message)
    assert "Smith" not in actual
    if not isinstance(error, TrainingError):
        assert "tests/training/test_failure.py:" in actual


def test_the_first_process_to_fail_is_the_one_that_is_heard(tmp_path):
    record_failure(tmp_path, TrainingError("the cause"))
    record_failure(tmp_path, TrainingError("a consequence"))
    assert read_failure(tmp_path) == "the cause"
    forget_failure(tmp_path)
    assert "without saying why" in read_failure(tmp_path)


def fake_cycle(run: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """``train`` on a run of the tests, launched in this process as accelerate would launch it."""

    def launch(_: Path, config: Path, log: Path, _progress: object) -> int:
        with log.open("a") as stream:
            try:
                code = training_run.main(["--config", str(config)])
            except ValueError:
                traceback.print_exc(file=stream)
                code = 1
        return code

    monkeypatch.setattr(train_step, "_run_of", lambda *_: run)
    monkeypatch.setattr(train_step, "_launch", launch)
    context: Any = SimpleNamespace(located=SimpleNamespace(accelerate_config=lambda: Path("x")))
    calibration: Any = None
    return train_step.train(context, run.candidate, calibration)


def test_a_cycle_begins_its_message_with_the_childs_own_error(base, tmp_path, monkeypatch):
    with pytest.raises(CycleError) as error:
        fake_cycle(write_run(tmp_path, base, pairs=[]), monkeypatch)
    first = str(error.value).split(". ")[0]
    assert first.startswith("candidate test: ")
    assert "holds no examples for dpo; collect feedback first" in first
    assert "train.log" in str(error.value)


def test_a_cycle_repeats_nothing_of_the_childs_output(base, tmp_path, monkeypatch):
    def broken(_: Any) -> None:
        raise ValueError(REPORT)

    run = write_run(tmp_path, base)
    monkeypatch.setattr(training_run, "train_candidate", broken)
    with pytest.raises(CycleError) as error:
        fake_cycle(run, monkeypatch)
    assert "Smith" in (run.output_dir / "train.log").read_text()
    assert "Smith" not in str(error.value)
    assert str(error.value).startswith("candidate test: ValueError at training/run.py:") or (
        "negalign_train/training/run.py:" in str(error.value)
    )
    assert "exit code 1" in str(error.value)


def test_a_candidate_that_names_itself_is_not_named_twice(base, tmp_path, monkeypatch):
    def stopped(_: Any) -> None:
        raise TrainingError("candidate test: a guard stopped it")

    monkeypatch.setattr(training_run, "train_candidate", stopped)
    with pytest.raises(CycleError, match=r"^candidate test: a guard stopped it\. Its training"):
        fake_cycle(write_run(tmp_path, base), monkeypatch)


def test_what_an_earlier_launch_left_is_not_taken_for_the_cause(base, tmp_path, monkeypatch):
    run = write_run(tmp_path, base)
    run.output_dir.mkdir()
    (run.output_dir / FAILURE).write_text('{"message": "an old cause", "own": true}')
    monkeypatch.setattr(training_run, "train_candidate", lambda _: None)  # ends, and did nothing
    with pytest.raises(CycleError, match="without saying why") as error:
        fake_cycle(run, monkeypatch)
    assert "an old cause" not in str(error.value)
