"""GRPO with the severity scorer as reward."""

from __future__ import annotations

from collections.abc import Sequence

from datasets import Dataset
from peft import PeftModel, set_peft_model_state_dict
from safetensors.torch import load_file
from transformers import PreTrainedTokenizerBase, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from negalign_train.errors import TrainingError
from negalign_train.recipe import CandidateRun
from negalign_train.records import PromptExample
from negalign_train.severity.calibration import read_calibration
from negalign_train.severity.judges.rules import RulesJudge, rules_version
from negalign_train.severity.reward import RewardFunction, severity_reward
from negalign_train.training.dpo import drop_reference_adapter
from negalign_train.training.policy import check_adapter, check_shape
from negalign_train.training.reference import reference_dir
from negalign_train.training.tokenise import prompt_messages


def prompt_dataset(prompts: Sequence[PromptExample]) -> Dataset:
    """TRL's conversational prompts, and the ``reference`` column that the reward reads."""
    return Dataset.from_list(
        [
            {"prompt": prompt_messages(example.prompt), "reference": example.reference}
            for example in prompts
        ]
    )


def severity_grpo_trainer(
    run: CandidateRun,
    policy: PeftModel,
    config: GRPOConfig,
    prompts: Sequence[PromptExample],
    tokenizer: PreTrainedTokenizerBase,
    callbacks: Sequence[TrainerCallback] = (),
) -> GRPOTrainer:
    """Stock GRPO (trl 1.16.0) with our reward, and the run's reference in TRL's ``ref`` adapter.

    Completions are new in every step, so the reference cannot be scored beforehand: it stays as a
    frozen adapter on the one base model. TRL fills it from the policy's own start
    (trainer/grpo_trainer.py:478-505), which is right only for ``previous`` with ``start: parent``.

    Raises:
        TrainingError: the reference adapter has another shape than the policy's.
    """
    trainer = GRPOTrainer(
        model=policy,
        reward_funcs=_reward(run),
        args=config,
        train_dataset=prompt_dataset(prompts),
        processing_class=tokenizer,
        callbacks=list(callbacks),
    )
    if config.beta != 0:
        _set_reference(policy, run)
    return trainer


def _reward(run: CandidateRun) -> RewardFunction:
    """The run's reward, at the readers' scale where the cycle has one."""
    assert run.candidate.reward is not None
    if run.calibration_path is None:
        return severity_reward(run.candidate.reward)
    calibration = read_calibration(run.calibration_path, RulesJudge.name, rules_version())
    return severity_reward(run.candidate.reward, calibration.apply)


def _set_reference(policy: PeftModel, run: CandidateRun) -> None:
    """Puts the run's reference into the ``ref`` adapter; without one TRL disables all adapters,
    which is the bare base.
    """
    adapter_dir = reference_dir(run)
    if adapter_dir is None:
        drop_reference_adapter(policy)
        return
    check_adapter(adapter_dir, run.base_digest)
    check_shape(adapter_dir, run.candidate.lora)
    weights = load_file(adapter_dir / "adapter_model.safetensors")
    result = set_peft_model_state_dict(policy, weights, adapter_name="ref")
    if result.unexpected_keys:
        raise TrainingError(
            f"reference adapter {adapter_dir} holds {len(result.unexpected_keys)} tensors that the "
            "base has no place for; choose a reference of this base"
        )
