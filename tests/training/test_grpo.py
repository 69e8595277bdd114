"""GRPO with the severity reward: its reference, and that it climbs the reward."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from negalign_train.recipe.candidate import CandidateRun
from negalign_train.severity.judges.base import ReportPair
from negalign_train.severity.judges.nli import NliJudge
from negalign_train.severity.judges.result import UNSCORED_REASONS
from negalign_train.severity.judges.rules import rules_version
from negalign_train.severity.pricing.calibration import CategoryScale, identity
from negalign_train.storage.workspace import write_json
from negalign_train.training.policy.loading import load_policy, load_tokenizer
from negalign_train.training.run import main
from negalign_train.training.running.outputs import run_facts
from negalign_train.training.settings.arguments import trainer_config
from negalign_train.training.trainers.grpo import prompt_dataset, severity_grpo_trainer
from negalign_train.vocabulary.errors import DataError, TrainingError
from negalign_train.vocabulary.records import PromptExample
from tests.tiny import write_parent, write_run
from tests.tiny_judges import write_nli

GRPO: dict[str, Any] = {
    "method": "grpo",
    "reward": {"length_weight": 0.5, "length_slack": 0.1, "unscorable": -9.0},
}
TRAINER = {
    "num_generations": 4,
    "per_device_train_batch_size": 8,
    "num_train_epochs": None,
    "max_steps": 3,
}
PROMPTS = [
    PromptExample("c0", "g0", 1, "Report: cough.", "The heart is normal."),
    PromptExample("c1", "g1", 1, ({"role": "user", "content": "Report."},), "No effusion."),
]


def make_run(folder: Path, base: Path, **overrides: Any) -> CandidateRun:
    candidate = GRPO | overrides.pop("candidate", {})
    trainer = TRAINER | overrides.pop("trainer", {})
    return write_run(folder, base, candidate=candidate, trainer=trainer, **overrides)


def make_trainer(run: CandidateRun) -> Any:
    return severity_grpo_trainer(
        run, load_policy(run), trainer_config(run), PROMPTS, load_tokenizer(run.model_dir)
    )


def adapter_state(model: Any, name: str) -> dict[str, torch.Tensor]:
    marker = f".{name}."
    return {
        key.replace("base_model.model.", "", 1).replace(marker, "."): value
        for key, value in model.named_parameters()
        if marker in key
    }


def saved_state(folder: Path) -> dict[str, torch.Tensor]:
    state = load_file(folder / "adapter_model.safetensors")
    return {key.replace("base_model.model.", "", 1): value for key, value in state.items()}


def assert_equal(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> None:
    assert left.keys() == right.keys()
    assert len(left) == 28
    assert all(left[name].equal(right[name]) for name in left)


def test_rows_hold_chat_prompts_and_the_reference_of_the_reward():
    rows = list(prompt_dataset(PROMPTS))
    assert rows[0] == {
        "prompt": [{"content": "Report: cough.", "role": "user"}],
        "reference": "The heart is normal.",
    }
    assert rows[1]["prompt"] == [{"content": "Report.", "role": "user"}]


def test_reference_previous_is_the_parent_even_for_a_fresh_start(base, parent, tmp_path):
    run = make_run(tmp_path, base, parent_adapter_dir=parent, candidate={"start": "fresh"})
    trainer = make_trainer(run)
    assert_equal(adapter_state(trainer.model, "ref"), saved_state(parent))
    assert all(not p.requires_grad for p in adapter_state(trainer.model, "ref").values())


def test_reference_approved_is_the_approved_adapter(base, parent, tmp_path):
    approved = write_parent(tmp_path / "approved", base, seed=9)
    run = make_run(
        tmp_path, base, parent_adapter_dir=parent, approved_adapter_dir=approved,
        candidate={"reference": "approved"},
    )  # fmt: skip
    trainer = make_trainer(run)
    assert_equal(adapter_state(trainer.model, "ref"), saved_state(approved))
    assert_equal(adapter_state(trainer.model, "default"), saved_state(parent))


def test_reference_base_keeps_no_copy_and_disables_adapters(base, parent, tmp_path):
    run = make_run(tmp_path, base, parent_adapter_dir=parent, candidate={"reference": "base"})
    assert list(make_trainer(run).model.peft_config) == ["default"]


def test_the_reward_stands_at_the_readers_scale_of_the_cycle(base, tmp_path):
    actual = identity("rules", rules_version(), "test")
    halved = dict(actual.categories) | {"wrong_location": CategoryScale(0.5, 1.0, "adopted")}
    path = tmp_path / "calibration.json"
    write_json(path, replace(actual, categories=halved).to_json())
    run = make_run(tmp_path / "run", base, calibration_path=path)
    (reward,) = make_trainer(run).reward_funcs
    arguments = {"completions": ["Right pneumothorax."], "reference": ["Left pneumothorax."]}
    assert reward(prompts=[""], **arguments) == [-0.25]
    other = replace(actual, judge_version="older").to_json()
    write_json(path, other)
    with pytest.raises(DataError, match="made for rules older"):
        make_trainer(run)


def test_the_reward_is_any_judges_on_the_trainers_device_and_part_of_the_identity(base, tmp_path):
    folder = write_nli(tmp_path / "nli")
    reward = GRPO["reward"] | {"judge": f"nli:{folder}"}
    run = make_run(tmp_path / "run", base, candidate={"reward": reward})
    (paying,) = make_trainer(run).reward_funcs
    pair = ReportPair("Left pneumothorax.", "Right pneumothorax.")
    (answer,) = NliJudge(folder, device="cpu").judge([pair])
    assert answer.score is not None
    arguments = {"completions": [pair.candidate], "reference": [pair.reference]}
    assert paying(prompts=[""], **arguments) == [pytest.approx(-answer.score.total)]
    facts = run_facts(run)
    assert facts["reward"] == {"judge": "nli", "version": answer.version, "calibration": None}
    # By content and not by path: a moved judge is the same one.
    moved = folder.rename(tmp_path / "moved")
    reward |= {"judge": f"nli:{moved}"}
    assert run_facts(make_run(tmp_path / "run", base, candidate={"reward": reward})) == facts
    other = make_run(tmp_path / "run", base)
    assert run_facts(other)["reward"]["judge"] == "rules"


def test_a_judge_that_cannot_answer_stops_a_run_before_its_first_step(base, tmp_path):
    folder = write_nli(tmp_path / "nli", positions=16)
    reward = GRPO["reward"] | {"judge": f"nli:{folder}"}
    run = make_run(tmp_path / "run", base, candidate={"reward": reward})
    with pytest.raises(DataError, match=r"reward\.judge: judge nli gives no score .*too_long"):
        make_trainer(run)


def test_completions_end_at_the_templates_end_of_turn_too(base, tmp_path):
    run = make_run(tmp_path, base)
    tokenizer = load_tokenizer(run.model_dir)
    # The base's own EOS is <|eos|>; this template ends a turn with <|user|>.
    tokenizer.chat_template = tokenizer.chat_template.replace("<|eos|>", "<|user|>")
    trainer = severity_grpo_trainer(run, load_policy(run), trainer_config(run), PROMPTS, tokenizer)
    expected = [tokenizer.convert_tokens_to_ids(token) for token in ("<|eos|>", "<|user|>")]
    assert sorted(trainer.eos_token_ids) == expected
    assert sorted(trainer.generation_config.eos_token_id) == expected


def test_a_reference_of_another_shape_is_refused(base, parent, tmp_path):
    lora = {"r": 8, "lora_alpha": 8}
    run = make_run(
        tmp_path, base, parent_adapter_dir=parent, candidate={"start": "fresh", "lora": lora}
    )
    with pytest.raises(TrainingError, match="has r=4, lora_alpha=8"):
        make_trainer(run)


def test_a_grpo_run_writes_its_adapter_and_no_text(base, parent, tmp_path, capfd):
    run = make_run(tmp_path, base, parent_adapter_dir=parent)
    config = tmp_path / "candidate.yaml"
    config.write_text(yaml.safe_dump(run.model_dump(mode="json", by_alias=True)))
    before = saved_state(parent)
    assert main(["--config", str(config)]) == 0
    after = saved_state(run.output_dir / "adapter")
    assert any(not before[name].equal(after[name]) for name in before)
    metrics = json.loads((run.output_dir / "metrics.json").read_text())
    assert metrics["num_steps"] == 3
    assert metrics["reward_start"] < 0
    assert metrics["reward_judge"] == f"rules {rules_version()}"
    assert metrics["reward_completions"] == 24
    assert set(metrics["reward_unscored"]) <= set(UNSCORED_REASONS)
    assert 0 < sum(metrics["reward_unscored"].values()) < 24
    assert sorted(path.name for path in run.output_dir.rglob("*") if path.is_file()) == [
        ".lock", "COMPLETE.json", "adapter_config.json", "adapter_model.safetensors", "log.jsonl",
        "metrics.json",
    ]  # fmt: skip
    captured = capfd.readouterr()
    assert "Effusion" not in captured.out + captured.err
    assert "cough" not in captured.out + captured.err


def test_weights_of_the_policy_move_towards_higher_reward(base, tmp_path, monkeypatch):
    """A reward that pays for a byte must make that byte more likely."""

    def paying(*_: Any) -> Any:
        def count_of_a(prompts: Any, completions: Any, **_: Any) -> list[float]:
            return [float(each[0]["content"].count("a")) for each in completions]

        return count_of_a

    monkeypatch.setattr("negalign_train.training.trainers.grpo.severity_reward", paying)
    keys = {"max_steps": 12, "num_generations": 16, "per_device_train_batch_size": 32}
    run = make_run(tmp_path, base, trainer=keys)
    trainer = make_trainer(run)
    trainer.train()
    rewards = [entry["reward"] for entry in trainer.state.log_history if "reward" in entry]
    assert sum(rewards[-3:]) > sum(rewards[:3])
