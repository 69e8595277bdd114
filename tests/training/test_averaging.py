"""The averaged adapter of real tiny runs."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainerControl, TrainerState, TrainingArguments

from negalign_train.recipe.candidate import AveragingSettings
from negalign_train.training.policy.loading import load_policy
from negalign_train.training.running import averaging
from negalign_train.training.running.averaging import (
    DISCARDED,
    AdapterAverage,
    lora_layers,
    product,
    read_averages,
    write_averages,
)
from negalign_train.training.running.low_rank import ProductAverage
from negalign_train.vocabulary.errors import TrainingError
from tests.tiny import launch, perturb, write_run

DECAY = 0.6
SCALE = 8 / 4  # lora_alpha / r of the tiny runs


def products(adapter_dir: Path) -> dict[str, torch.Tensor]:
    """``s B A`` of each layer, float64."""
    state = load_file(adapter_dir / "adapter_model.safetensors")
    return {
        name.removesuffix(".lora_A.weight"): SCALE
        * state[name.replace("lora_A", "lora_B")].double()
        @ a.double()
        for name, a in state.items()
        if name.endswith(".lora_A.weight")
    }


def dense(policy: Any) -> dict[str, torch.Tensor]:
    pairs = {name: product(layer) for name, layer in lora_layers(policy)}
    return {name: left.double() @ right.double() for name, (left, right) in pairs.items()}


def events(callback: AdapterAverage, policy: Any, steps: int, scale: float = 0.05) -> TrainerState:
    """The callback sees a start, ``steps`` steps of noise, and the end."""
    arguments, control = SimpleNamespace(output_dir="unused"), TrainerControl()
    state = TrainerState()
    callback.on_train_begin(arguments, state, control, model=policy)  # type: ignore[arg-type]
    for step in range(steps):
        perturb(policy, seed=step, scale=scale)
        state.global_step += 1
        callback.on_step_end(arguments, state, control, model=policy)  # type: ignore[arg-type]
    callback.on_train_end(arguments, state, control, model=policy)  # type: ignore[arg-type]
    return state


@pytest.mark.parametrize("steps", [2, 9])
def test_the_policy_ends_as_the_nearest_to_the_average_of_its_products(base, tmp_path, steps):
    """Nine steps pass the first cut: 4 columns at the start and 4 a step, cut over 64."""
    run = write_run(tmp_path, base, candidate={"averaging": {"decay": DECAY}})
    policy, twin = load_policy(run), load_policy(run)
    perturb(policy, seed=99)
    twin.load_state_dict(policy.state_dict())
    expected = dense(twin)
    for step in range(steps):
        perturb(twin, seed=step)
        now = dense(twin)
        expected = {name: DECAY * old + (1 - DECAY) * now[name] for name, old in expected.items()}
    state = events(AdapterAverage(AveragingSettings(decay=DECAY)), policy, steps)
    lost = energy = 0.0
    for name, actual in dense(policy).items():
        u, singular, v = torch.linalg.svd(expected[name], full_matrices=False)
        best = u[:, :4] @ torch.diag(singular[:4]) @ v[:4]
        assert torch.allclose(actual, best, atol=1e-5), name
        lost += float(singular[4:].square().sum())
        energy += float(singular.square().sum())
    assert state.log_history[-1][DISCARDED] == pytest.approx(lost / energy, rel=1e-3)
    assert lost > 0


def test_cutting_the_running_average_loses_no_more_than_it_says(base, tmp_path, monkeypatch):
    """Forty steps with 32 columns kept of at most 64, against forty with all of them."""
    run = write_run(tmp_path, base)
    kept: list[AdapterAverage] = []
    ends: list[dict[str, torch.Tensor]] = []
    for ranks in (8, 1000):
        monkeypatch.setattr(averaging, "_KEPT_RANKS", ranks)
        torch.manual_seed(0)
        policy = load_policy(run)
        perturb(policy, seed=99, scale=0.3)
        kept.append(AdapterAverage(AveragingSettings(decay=0.9)))
        events(kept[-1], policy, steps=40, scale=0.01)
        ends.append(dense(policy))
    energy = lost = 0.0
    for name, cut in kept[0].averages.items():
        whole = kept[1].averages[name]
        distance = float(torch.linalg.norm(cut.left @ cut.right - whole.left @ whole.right))
        assert distance <= cut.error + 1e-4
        assert (cut.error > 0) == (min(cut.left.shape[0], cut.right.shape[1]) > 32)
        energy += float(ends[1][name].square().sum())
        lost += float((ends[0][name] - ends[1][name]).square().sum())
    assert lost / energy < 1e-4


def test_a_run_publishes_the_average_of_its_steps(base, parent, tmp_path):
    """Adapters after 1, 2, ... 6 steps come from runs cut at that step: same seed, same path."""
    keys: dict[str, Any] = {"lr_scheduler_type": "constant", "num_train_epochs": None}
    expected = products(parent)
    for steps in range(1, 7):
        run = write_run(
            tmp_path / f"cut{steps}", base, parent_adapter_dir=parent,
            trainer=keys | {"max_steps": steps},
        )  # fmt: skip
        assert launch(run) == 0
        now = products(run.output_dir / "adapter")
        expected = {name: DECAY * old + (1 - DECAY) * now[name] for name, old in expected.items()}
    run = write_run(
        tmp_path / "averaged", base, parent_adapter_dir=parent,
        trainer=keys | {"max_steps": 6}, candidate={"averaging": {"decay": DECAY}},
    )  # fmt: skip
    assert launch(run) == 0
    actual = products(run.output_dir / "adapter")
    lost = sum(float((actual[name] - expected[name]).square().sum()) for name in actual)
    energy = sum(float(each.square().sum()) for each in expected.values())
    metrics = json.loads((run.output_dir / "metrics.json").read_text())
    assert metrics[DISCARDED] == pytest.approx(lost / energy, rel=1e-2)
    assert 0 < metrics[DISCARDED] < 0.05
    # and what was watched is the published adapter, not the last step's
    last = json.loads((tmp_path / "cut6" / "out" / "metrics.json").read_text())
    assert 0 < metrics["logps/chosen_change"] < last["logps/chosen_change"]


def test_averages_come_back_from_disk_bit_by_bit(tmp_path):
    averages = {
        "a.b": ProductAverage(torch.randn(3, 2), torch.randn(2, 5), error=0.1 + 0.2),
        "c": ProductAverage(torch.randn(2, 4), torch.randn(4, 2)),
    }
    write_averages(tmp_path / "averaging.safetensors", averages)
    actual = read_averages(tmp_path / "averaging.safetensors", torch.device("cpu"))
    assert actual.keys() == averages.keys()
    for name, each in averages.items():
        assert torch.equal(actual[name].left, each.left)
        assert torch.equal(actual[name].right, each.right)
        assert actual[name].error == each.error


def test_a_checkpoint_without_its_average_is_refused(base, tmp_path):
    policy = load_policy(write_run(tmp_path, base))
    arguments = TrainingArguments(output_dir=str(tmp_path / "checkpoints"), use_cpu=True)
    state = TrainerState(global_step=4)
    with pytest.raises(TrainingError, match=r"checkpoint-4/averaging\.safetensors is missing"):
        AdapterAverage(AveragingSettings(decay=0.9)).on_train_begin(
            arguments, state, TrainerControl(), model=policy
        )


def test_sharded_parameters_are_refused(base, tmp_path, monkeypatch):
    monkeypatch.setattr(averaging, "is_deepspeed_zero3_enabled", lambda: True)
    policy = load_policy(write_run(tmp_path, base))
    with pytest.raises(TrainingError, match="ZeRO-3 shards; use zero2"):
        events(AdapterAverage(AveragingSettings(decay=0.9)), policy, steps=0)
