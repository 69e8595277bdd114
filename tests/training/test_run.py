"""The launched entry point, in this process: real tiny runs, start to end."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from negalign_train.recipe.candidate import CandidateRun
from negalign_train.training.running import outputs
from negalign_train.training.running.checkpoints import is_complete
from tests.tiny import TRAINER, launch, make_pairs, write_run


def digests(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def read_log(run: CandidateRun) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run.output_dir / "log.jsonl").read_text().splitlines()]


def read_metrics(run: CandidateRun) -> dict[str, Any]:
    metrics: dict[str, Any] = json.loads((run.output_dir / "metrics.json").read_text())
    return metrics


def test_a_dpo_run_moves_the_adapter_and_nothing_else(base, parent, tmp_path, capsys):
    run = write_run(tmp_path, base, parent_adapter_dir=parent)
    untouched = digests(base) | digests(parent)
    assert launch(run) == 0
    assert digests(base) | digests(parent) == untouched

    adapter = run.output_dir / "adapter"
    assert sorted(path.name for path in adapter.iterdir()) == [
        "adapter_config.json", "adapter_model.safetensors",
    ]  # fmt: skip
    before = load_file(parent / "adapter_model.safetensors")
    after = load_file(adapter / "adapter_model.safetensors")
    assert before.keys() == after.keys()
    assert all(not before[name].equal(after[name]) for name in before)

    metrics = read_metrics(run)
    assert metrics["num_examples"] == 8
    assert metrics["num_steps"] == 6
    assert metrics["loss_start"] == pytest.approx(math.log(2), abs=1e-5)
    assert metrics["loss_end"] < 0.4
    assert metrics["rewards/accuracies"] == 1.0
    assert metrics["logps/chosen_change"] - metrics["logps/rejected_change"] > 1.0
    assert set(metrics["seconds"]) == {"load", "tokenise", "reference", "train"}
    assert capsys.readouterr().out.splitlines()[0] == "test (dpo): 8 examples, seed 7"


def test_the_adapter_names_the_base_by_name_and_loads_in_plain_peft(base, tmp_path):
    run = write_run(tmp_path, base)
    assert launch(run) == 0
    config = json.loads((run.output_dir / "adapter" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "tests/tiny"
    assert config["target_modules"] == sorted(config["target_modules"])
    assert str(base) not in json.dumps(config)
    model = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(base), str(run.output_dir / "adapter")
    )
    assert list(model.peft_config) == ["default"]


def test_the_next_cycle_starts_at_margin_0_to_its_parent_and_not_to_the_base(base, tmp_path):
    first = write_run(tmp_path / "c1", base)
    assert launch(first) == 0
    parent = first.output_dir / "adapter"
    second = write_run(tmp_path / "c2", base, parent_adapter_dir=parent)
    assert launch(second) == 0
    start = read_log(second)[0]
    assert start["rewards/margins"] == pytest.approx(0.0, abs=1e-4)
    assert start["loss"] == pytest.approx(math.log(2), abs=1e-5)
    anchored = write_run(
        tmp_path / "c2b", base, parent_adapter_dir=parent, candidate={"reference": "base"}
    )
    assert launch(anchored) == 0
    assert read_log(anchored)[0]["rewards/margins"] > 0.5


@pytest.mark.parametrize("method", ["sft", "kto"])
def test_other_offline_methods_learn_their_examples(base, tmp_path, method):
    run = write_run(tmp_path, base, candidate={"method": method})
    assert launch(run) == 0
    metrics = read_metrics(run)
    assert metrics["loss_end"] < metrics["loss_start"]
    assert metrics["logps/chosen_change"] > 0
    assert metrics["num_examples"] == {"sft": 8, "kto": 16}[method]
    if method == "kto":
        assert metrics["loss_start"] == pytest.approx(0.5)  # policy is reference, z0 is 0
        assert metrics["rewards/margins"] > 1.0


def test_same_run_same_bytes(base, tmp_path):
    runs = [write_run(tmp_path / name, base) for name in ("a", "b")]
    assert [launch(run) for run in runs] == [0, 0]
    first, second = (
        [hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())]
        for folder in (run.output_dir / "adapter" for run in runs)
    )
    assert first == second


def test_a_finished_run_is_not_trained_again(base, tmp_path, capsys):
    run = write_run(tmp_path, base)
    assert launch(run) == 0
    done = digests(run.output_dir)
    capsys.readouterr()
    assert launch(run) == 0
    assert "already complete" in capsys.readouterr().out
    assert digests(run.output_dir) == done


def test_a_damaged_result_is_trained_again(base, tmp_path):
    run = write_run(tmp_path, base)
    assert launch(run) == 0
    weights = run.output_dir / "adapter" / "adapter_model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1])
    assert launch(run) == 0
    assert weights.read_bytes() == whole
    assert is_complete(run.output_dir)


def test_another_runs_result_is_not_overwritten(base, tmp_path, capsys):
    assert launch(write_run(tmp_path, base)) == 0
    assert launch(write_run(tmp_path, base, seed=8)) == 1
    assert "holds the result of another run" in capsys.readouterr().err


class _PowerCut(Exception):
    pass


def test_a_resumed_run_equals_an_uninterrupted_one(base, parent, tmp_path, monkeypatch, capsys):
    keys: dict[str, Any] = {"parent_adapter_dir": parent, "trainer": {"save_steps": 2}}
    whole = write_run(tmp_path / "whole", base, **keys)
    assert launch(whole) == 0
    cut = write_run(tmp_path / "cut", base, **keys)
    on_log = outputs.JsonLog.on_log

    def failing(self: Any, args: Any, state: Any, control: Any, **rest: Any) -> None:
        on_log(self, args, state, control, **rest)
        if state.global_step == 5:
            raise _PowerCut

    with monkeypatch.context() as patch:
        patch.setattr(outputs.JsonLog, "on_log", failing)
        with pytest.raises(_PowerCut):
            launch(cut)
    assert not is_complete(cut.output_dir)
    checkpoints = cut.output_dir / "checkpoints"
    # A second cut, in the middle of saving: bigger number, no marker.
    (checkpoints / "checkpoint-6").mkdir()
    assert launch(cut) == 0
    assert f"going on from {checkpoints / 'checkpoint-4'}" in capsys.readouterr().out
    name = Path("adapter", "adapter_model.safetensors")
    assert (cut.output_dir / name).read_bytes() == (whole.output_dir / name).read_bytes()
    steps = [{k: e[k] for k in ("step", "loss")} for e in read_log(cut) if "loss" in e]
    assert steps == [{k: e[k] for k in ("step", "loss")} for e in read_log(whole) if "loss" in e]
    assert not checkpoints.exists()


def test_a_run_cut_after_its_last_step_only_writes(base, tmp_path, monkeypatch):
    run = write_run(tmp_path, base, trainer={"save_steps": 2})

    def failing(*_: Any) -> None:
        raise _PowerCut

    with monkeypatch.context() as patch:
        patch.setattr("negalign_train.training.run.save_adapter", failing)
        with pytest.raises(_PowerCut):
            launch(run)
    before = len([entry for entry in read_log(run) if "loss" in entry])
    assert launch(run) == 0
    assert before == len([entry for entry in read_log(run) if "loss" in entry]) == 6
    whole = write_run(tmp_path / "whole", base, trainer={"save_steps": 2})
    assert launch(whole) == 0
    name = Path("adapter", "adapter_model.safetensors")
    assert (run.output_dir / name).read_bytes() == (whole.output_dir / name).read_bytes()


def test_a_run_that_diverges_leaves_no_adapter(base, tmp_path, capsys):
    pairs = [replace(pair, weight=1.0e38) for pair in make_pairs()]
    run = write_run(tmp_path, base, pairs=pairs)
    assert launch(run) == 1
    error = capsys.readouterr().err
    assert "no adapter was written" in error
    assert not (run.output_dir / "adapter").exists()
    assert not is_complete(run.output_dir)


def test_a_sequence_that_is_too_long_stops_the_run(base, tmp_path, capsys):
    run = write_run(tmp_path, base, trainer={"max_length": 40})
    assert launch(run) == 1
    error = capsys.readouterr().err
    assert "8 examples exceed 40 tokens" in error
    assert "Effusion" not in error


def test_bfloat16_starts_at_the_reference_and_learns(base, tmp_path):
    run = write_run(tmp_path, base, dtype="bfloat16")
    assert launch(run) == 0
    metrics = read_metrics(run)
    assert metrics["loss_start"] == pytest.approx(math.log(2), abs=2e-3)
    assert metrics["loss_end"] < 0.4
    tensors = load_file(run.output_dir / "adapter" / "adapter_model.safetensors")
    assert {str(tensor.dtype) for tensor in tensors.values()} == {"torch.float32"}


def test_gradient_checkpointing_changes_no_loss(base, tmp_path):
    plain = write_run(tmp_path / "a", base)
    saving = write_run(tmp_path / "b", base, trainer={"gradient_checkpointing": True})
    assert [launch(plain), launch(saving)] == [0, 0]
    losses = [[e["loss"] for e in read_log(run) if "loss" in e] for run in (plain, saving)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)


def test_missing_inputs_are_named(base, parent, tmp_path, capsys):
    run = write_run(tmp_path, base)
    run.pairs_path.unlink()
    assert launch(run) == 1
    assert "pairs.parquet is missing" in capsys.readouterr().err
    assert launch(write_run(tmp_path, base, parent_adapter_dir=tmp_path)) == 1
    assert "holds no adapter_config.json" in capsys.readouterr().err


def test_an_empty_set_of_examples_is_refused(base, tmp_path, capsys):
    assert launch(write_run(tmp_path, base, pairs=[])) == 1
    assert "holds no examples for dpo" in capsys.readouterr().err


def test_an_unknown_trainer_key_is_refused_before_anything_is_loaded(base, tmp_path, capsys):
    run = write_run(tmp_path, base)
    run.candidate.trainer["betta"] = 0.1
    assert launch(run) == 1
    assert "trainer.betta is no key that dpo takes" in capsys.readouterr().err
    assert not run.output_dir.exists()


def test_accumulated_micro_batches_equal_one_batch(base, tmp_path):
    keys = {"train_sampling_strategy": "random", "per_device_train_batch_size": 2}
    split = write_run(tmp_path / "a", base, trainer=keys | {"gradient_accumulation_steps": 4})
    one = write_run(tmp_path / "b", base, trainer=keys | {"per_device_train_batch_size": 8})
    assert [launch(split), launch(one)] == [0, 0]
    assert TRAINER["num_train_epochs"] == 3
    losses = [[e["loss"] for e in read_log(run) if "loss" in e] for run in (split, one)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
