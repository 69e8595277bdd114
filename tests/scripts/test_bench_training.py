"""The training benchmark: its arms train the same thing, and its report holds what it promises."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from bench_training import CPU_WORKLOADS, GPU_WORKLOADS, QUICK_WORKLOADS, SWEEPS, main
from benchmarks.training_arms import build_arm
from benchmarks.training_check import gradient_error
from benchmarks.training_measure import executed_flops, unique_tokens
from benchmarks.training_process import alone
from benchmarks.training_shapes import ARMS, SHAPES, Workload
from benchmarks.training_workloads import FIRST_WORD, make_model, pair_rows, unpaired_rows

ROOT = Path(__file__).resolve().parents[2]
MIDDLE, KTO, GRPO = QUICK_WORKLOADS


def test_it_answers_help():
    script = ROOT / "scripts" / "bench_training.py"
    done = subprocess.run(
        [sys.executable, str(script), "--help"], capture_output=True, text=True, check=True
    )
    assert "--preset" in done.stdout


def test_the_cpu_preset_holds_the_eight_workloads():
    assert [(each.name, each.model) for each in CPU_WORKLOADS] == [
        ("middle edit", "45M"), ("late edit", "45M"), ("early edit", "45M"), ("middle edit", "9M"),
        ("clinician edits", "45M"), ("kto", "45M"), ("grpo update", "45M"),
        ("nothing in common", "45M"),
    ]  # fmt: skip
    assert {each.dtype for each in GPU_WORKLOADS} == {"bfloat16"}


def test_a_sweep_changes_settings_that_a_workload_has():
    for changes in SWEEPS.values():
        assert len({replace(MIDDLE, **change) for change in changes}) == len(changes)


@pytest.mark.parametrize(("name", "millions"), [("9M", 9.0), ("45M", 45.2)])
def test_models_have_the_size_of_their_name(name, millions):
    with torch.device("meta"):
        model = make_model(SHAPES[name], torch.float32)
    assert model.num_parameters() / 1e6 == pytest.approx(millions, abs=0.1)


def test_pairs_have_the_geometry_asked_for():
    for row in pair_rows(MIDDLE, steps=3):
        assert row["shared"] == MIDDLE.common
        assert len(row["prompt_ids"]) == MIDDLE.prompt
        assert len(row["chosen_ids"]) == MIDDLE.common + MIDDLE.suffix == len(row["rejected_ids"])


def test_clinician_edits_share_what_the_edit_left_standing(tmp_path):
    medec = tmp_path / "medec.csv"
    text = "The heart is {}. No effusion."
    lines = [f"{flag},{text.format('big')},{text.format('normal')}" for flag in (1, 0, 1)]
    medec.write_text("\n".join(["Error Flag,Text,Corrected Text", *lines]) + "\n")
    rows = pair_rows(replace(MIDDLE, medec=str(medec), examples=2), steps=1)
    assert len(rows) == 2  # the text without an error is no edit
    # the, heart, is | norma, l, ., No, effus, ion, ., end
    assert (rows[0]["shared"], len(rows[0]["chosen_ids"]), len(rows[0]["rejected_ids"])) == (
        3,
        11,
        10,
    )
    assert min(rows[0]["chosen_ids"][:-1]) >= FIRST_WORD


def test_both_texts_of_a_case_and_their_mismatches_are_of_one_step():
    rows = unpaired_rows(KTO, steps=2)
    for start in (0, KTO.examples):
        block = rows[start : start + KTO.examples]
        assert len({row["group"] for row in block}) == KTO.examples // 2
        texts = [row["completion_ids"] for row in block]
        assert all(row["KL_completion_ids"] in texts for row in block)


@pytest.mark.parametrize("workload", QUICK_WORKLOADS, ids=lambda each: each.name)
def test_every_arm_takes_the_same_steps(workload):
    losses = {}
    for name in ARMS:
        arm = build_arm(workload, name, steps=2)
        losses[name] = [arm.step(0), arm.step(1)]
    for name, found in losses.items():
        assert found == pytest.approx(losses["trl_best"], rel=1e-5), name
    assert gradient_error(workload) < 1e-5


def test_tokens_are_counted_as_run_by_trl_and_by_trees():
    arm = build_arm(MIDDLE, "ours", steps=1)
    # Two pairs of 20 + 10 + 6: as two texts each, and with prompt and beginning once.
    assert unique_tokens(MIDDLE, arm) == (2 * 2 * 36, 2 * (30 + 12))


def test_flops_count_four_per_trunk_weight_and_token():
    shape = SHAPES["9M"]
    trunk = make_trunk_weights(shape)
    workload = Workload("x", "9M")
    assert executed_flops(workload, "ours", 10, 0) == 40 * trunk
    head = shape.vocabulary * shape.hidden
    assert executed_flops(workload, "trl_best", 0, 5) == 30 * head
    assert executed_flops(workload, "ours", 0, 5) == 20 * head


def make_trunk_weights(shape: Any) -> int:
    attention = 2 * shape.hidden * (shape.hidden + shape.hidden * shape.kv_heads // shape.heads)
    return int(shape.layers * (attention + 3 * shape.hidden * shape.intermediate))


@pytest.mark.slow
def test_the_report_holds_ratios_errors_and_where_it_was_measured(tmp_path, capsys):
    out = tmp_path / "out.json"
    arguments = ["--preset", "quick", "--only", "middle", "--repeats", "1"]
    assert main([*arguments, "--json", str(out)]) == 0
    report = json.loads(out.read_text())
    (row,) = report["rows"]
    seconds = row["seconds_per_step"]
    assert set(seconds) == set(ARMS)
    assert row["ratio_vs_trl_best"] == pytest.approx(seconds["trl_best"] / seconds["ours"])
    assert row["ratio_vs_trl_patched"] == pytest.approx(seconds["trl_patched"] / seconds["ours"])
    assert row["max_grad_rel_error"] < 1e-5
    memory = {name: each["step_mb"] for name, each in row["memory_mb"].items()}
    assert all(each > 0 for each in memory.values())
    assert row["memory_ratio"] == pytest.approx(memory["ours"] / memory["trl_best"])
    assert report["environment"]["trl"].startswith("1.16")
    assert "| middle edit | tiny |" in capsys.readouterr().out


def test_an_arm_whose_process_dies_is_named(capfd):
    with pytest.raises(SystemExit, match="middle edit, arm ours, ended early"):
        alone(replace(MIDDLE, model="unknown"), "ours", 1, 1)
    assert "KeyError: 'unknown'" in capfd.readouterr().err  # its own traceback stands above


def test_a_missing_file_of_edits_leaves_its_workload_out(tmp_path, capsys):
    arguments = ["--only", "clinician", "--medec", str(tmp_path / "none.csv")]
    assert main(arguments) == 0
    assert "clinician edits: left out" in capsys.readouterr().out
