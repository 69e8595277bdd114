"""The guard against likelihood displacement, by itself and over real tiny runs."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from negalign_train.training.objective.displacement import smoothed_drift
from negalign_train.training.objective.step_metrics import CHOSEN_DRIFT
from negalign_train.training.running.checkpoints import is_complete
from negalign_train.vocabulary.records import PreferencePair, WeightedSpan
from tests.tiny import launch, make_pairs, write_run


def entries(*values: float, every: int = 1) -> list[dict[str, float]]:
    return [{"step": every * (i + 1), CHOSEN_DRIFT: value} for i, value in enumerate(values)]


def test_the_drift_is_the_mean_of_the_last_steps():
    assert smoothed_drift(entries(-9.0, -1.0, -2.0, -3.0), window=3, step=4) == -2.0


def test_no_drift_is_judged_before_the_window_is_full():
    assert smoothed_drift(entries(-9.0, -9.0), window=3, step=2) is None


def test_a_log_of_many_steps_counts_for_each_of_them_that_lies_in_the_window():
    """Steps 1, 2-11 and 12-21 hold means -8, -4 and -1: the last 15 are five of -4, ten of -1."""
    history = [
        {"step": 1, CHOSEN_DRIFT: -8.0},
        {"step": 11, CHOSEN_DRIFT: -4.0},
        {"step": 21, CHOSEN_DRIFT: -1.0},
    ]
    assert smoothed_drift(history, window=15, step=21) == pytest.approx(-2.0)


def test_entries_without_the_metric_are_passed_over():
    history = [*entries(-1.0, -3.0), {"step": 2, "train_loss": 0.1}]
    assert smoothed_drift(history, window=2, step=2) == -2.0
    assert smoothed_drift([{"step": 2, "train_loss": 0.1}], window=2, step=2) is None


def alike() -> list[PreferencePair]:
    """Chosen and rejected share most of their words, and only the rejected side's weigh much: what
    pushes those down pushes the same words down in the chosen text.
    """
    return [
        replace(
            pair,
            chosen_spans=(WeightedSpan(0, len(pair.chosen), 0.1),),
            rejected_spans=(WeightedSpan(0, len(pair.rejected), 5.0),),
        )
        for pair in make_pairs()
    ]


FALLING: dict[str, Any] = {"learning_rate": 1.0e-2, "num_train_epochs": 6, "loss_type": ["sigmoid"]}


def test_a_run_whose_chosen_completions_fall_is_stopped_and_leaves_nothing(base, tmp_path, capsys):
    limit = {"max_drop": 0.05, "window": 2}
    run = write_run(
        tmp_path, base, pairs=alike(), trainer=FALLING, candidate={"displacement": limit}
    )
    assert launch(run) == 1
    error = capsys.readouterr().err
    assert "nats per token less likely than under the reference (mean of 2 steps" in error
    assert (
        "displacement.max_drop is 0.05), no adapter was written; raise the counter-term: the "
        in error
    )
    assert "sft in trainer.loss_type (now none) or objective.dpop_lambda (now none)" in error
    assert not (run.output_dir / "adapter").exists()
    assert not is_complete(run.output_dir)
    log = [json.loads(line) for line in (run.output_dir / "log.jsonl").read_text().splitlines()]
    assert (log[-1][CHOSEN_DRIFT] + log[-2][CHOSEN_DRIFT]) / 2 < -0.05
    assert all((a[CHOSEN_DRIFT] + b[CHOSEN_DRIFT]) / 2 >= -0.05 for a, b in pairwise(log[:-1]))


@pytest.mark.parametrize(
    ("trainer", "objective"),
    [
        ({"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, 2.0]}, {}),
        ({}, {"dpop_lambda": 20.0}),
    ],
    ids=["sft", "dpop"],
)
def test_either_counter_term_keeps_the_same_run_going(base, tmp_path, trainer, objective):
    limit = {"max_drop": 0.05, "window": 2}
    run = write_run(
        tmp_path, base, pairs=alike(), trainer=FALLING | trainer,
        candidate={"displacement": limit, "objective": objective},
    )  # fmt: skip
    assert launch(run) == 0
    metrics = json.loads((run.output_dir / "metrics.json").read_text())
    assert metrics[CHOSEN_DRIFT] > -0.05
    assert metrics["rewards/accuracies"] == 1.0


def test_null_switches_the_guard_off(base, tmp_path):
    run = write_run(
        tmp_path,
        base,
        pairs=alike(),
        trainer=FALLING,
        candidate={"displacement": {"max_drop": None}},
    )
    assert launch(run) == 0
    assert json.loads((run.output_dir / "metrics.json").read_text())[CHOSEN_DRIFT] < -0.05


def test_kto_is_guarded_too_and_names_its_own_way_out(base, tmp_path, capsys):
    trainer = {"learning_rate": 5.0e-2, "num_train_epochs": 10, "undesirable_weight": 20.0}
    run = write_run(
        tmp_path, base, trainer=trainer,
        candidate={"method": "kto", "displacement": {"max_drop": 0.05, "window": 2}},
    )  # fmt: skip
    assert launch(run) == 1
    assert "raise trainer.desirable_weight (now 1.0)" in capsys.readouterr().err
    assert not is_complete(run.output_dir)
