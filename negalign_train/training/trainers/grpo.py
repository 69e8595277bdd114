"""GRPO with the severity scorer as reward, a group's completions computed as one prefix tree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from accelerate.utils import gather_object
from datasets import Dataset
from peft import PeftModel, set_peft_model_state_dict
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from negalign_train.recipe.candidate import CandidateRun
from negalign_train.severity.judges.uses.asking import refuse_speechless
from negalign_train.severity.judges.uses.reward import RewardCounts, SeverityReward
from negalign_train.severity.pricing.calibration import read_calibration
from negalign_train.training.distributed.shards import loaded_whole
from negalign_train.training.forward.packing import model_inputs, pack
from negalign_train.training.forward.tree_choice import Sharing
from negalign_train.training.policy.judge_setup import open_reward_judge
from negalign_train.training.policy.loading import check_shape, refuse_other_base
from negalign_train.training.reference.logps import reference_dir
from negalign_train.training.rows.batches import TokenSequence
from negalign_train.training.rows.turns import end_tokens
from negalign_train.training.trainers.whole_step import drop_reference_adapter
from negalign_train.vocabulary.chat import prompt_messages
from negalign_train.vocabulary.errors import TrainingError
from negalign_train.vocabulary.records import PromptExample


def prompt_dataset(prompts: Sequence[PromptExample]) -> Dataset:
    """TRL's conversational prompts, and the ``reference`` column that the reward reads."""
    return Dataset.from_list(
        [
            {"prompt": prompt_messages(example.prompt), "reference": example.reference}
            for example in prompts
        ]
    )


class TreeGRPOTrainer(GRPOTrainer):  # type: ignore[misc]  # TRL ships no types
    """TRL's GRPO (trl 1.16.0), with the log-probabilities of a batch's completions computed as
    prefix trees in all three passes: the policy's, its old one and the reference's.

    Completions of one prompt share it where they come in one batch of TRL's, and what they begin
    with alike too. Everything else, the loss included, is TRL's own.
    """

    sharing: Sharing = Sharing()

    def _get_per_token_logps_and_entropies(
        self,
        model: nn.Module,
        input_ids: Tensor,
        attention_mask: Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,
        compute_entropy: bool = False,
        compute_aux_loss: bool = False,
        **multimodal: Any,
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """As TRL's method (trainer/grpo_trainer.py:1419): log-probabilities and entropies, (batch,
        ``logits_to_keep``), 0 off the completions.

        TRL's own runs for what trees do not carry: an entropy bonus, whose gradient goes through
        the entropies, the auxiliary loss of a mixture of experts, and images.
        """
        differentiable_entropy = self._entropy_bonus_enabled and torch.is_grad_enabled()
        images = any(value is not None for value in multimodal.values())
        if not self.sharing.trees or differentiable_entropy or compute_aux_loss or images:
            plain: tuple[Tensor, Tensor | None, Tensor | None] = (
                super()._get_per_token_logps_and_entropies(
                    model, input_ids, attention_mask, logits_to_keep, batch_size, compute_entropy,
                    compute_aux_loss, **multimodal,
                )
            )  # fmt: skip
            return plain
        size = batch_size or len(input_ids)
        sequences = _sequences(input_ids, attention_mask, logits_to_keep)
        parts = [
            self._tree_logps(model, sequences[start : start + size], logits_to_keep, input_ids)
            for start in range(0, len(sequences), size)
        ]
        logps, entropies = (torch.cat(each) for each in zip(*parts, strict=True))
        return logps, entropies if compute_entropy else None, None

    def _tree_logps(
        self, model: nn.Module, sequences: Sequence[TokenSequence], width: int, like: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Log-probabilities and entropies, (sequences, width), in one forward."""
        packed = pack(sequences, self._tokenizer.pad_token_id, shared=True)
        batch = {name: value.to(like.device) for name, value in packed.items()}
        with self.accelerator.autocast():
            target_logps, entropies = model(
                **model_inputs(batch), temperature=self.temperature, entropies=True
            )
        scored = batch["token_weights"] != 0
        padding = (0, width - scored.shape[1])
        gathered = (values[batch["target_index"]] * scored for values in (target_logps, entropies))
        logps, entropies = (nn.functional.pad(each, padding) for each in gathered)
        return logps, entropies


def _sequences(
    input_ids: Tensor, attention_mask: Tensor, logits_to_keep: int
) -> list[TokenSequence]:
    """TRL's padded rows as prompts and completions: prompts padded on the left, completions on the
    right, both masked.
    """
    starts = input_ids.shape[1] - logits_to_keep
    sequences = []
    for ids, kept in zip(input_ids.tolist(), attention_mask.tolist(), strict=True):
        prompt = [token for token, seen in zip(ids[:starts], kept[:starts], strict=True) if seen]
        length = sum(kept[starts:])
        completion = ids[starts : starts + length]
        sequences.append(TokenSequence(prompt, completion, [1.0] * length))
    return sequences


def severity_grpo_trainer(
    run: CandidateRun,
    policy: PeftModel,
    config: GRPOConfig,
    prompts: Sequence[PromptExample],
    tokenizer: PreTrainedTokenizerBase,
    callbacks: Sequence[TrainerCallback] = (),
) -> TreeGRPOTrainer:
    """GRPO with our reward, and the run's reference in TRL's ``ref`` adapter.

    TRL ends completions at the EOS tokens of the model's generation config and of the tokenizer
    (trainer/grpo_trainer.py:409-416); the chat template's end of turn is added to them.

    Completions are new in every step, so the reference cannot be scored beforehand: it stays as a
    frozen adapter on the one base model. TRL fills it from the policy's own start
    (trainer/grpo_trainer.py:478-505), which is right only for ``previous`` with ``start: parent``.

    Raises:
        TrainingError: the reference adapter has another shape than the policy's.
    """
    base = policy.get_base_model()
    base.generation_config.eos_token_id = sorted(end_tokens(tokenizer, base.generation_config))
    trainer = TreeGRPOTrainer(
        model=policy,
        reward_funcs=severity_reward(run, config.device),
        args=config,
        train_dataset=prompt_dataset(prompts),
        processing_class=tokenizer,
        callbacks=list(callbacks),
    )
    if config.beta != 0:
        _set_reference(policy, run)
    return trainer


def severity_reward(run: CandidateRun, device: torch.device) -> SeverityReward:
    """The run's reward, at the readers' scale where the cycle has one. Each process has its own
    judge, on its own device, and every weight of it, whatever DeepSpeed does to the policy.
    """
    assert run.candidate.reward is not None
    with loaded_whole(), torch.random.fork_rng(devices=[]):
        judge = open_reward_judge(run, str(device))
        refuse_speechless(judge, f"candidate {run.candidate.name}: reward.judge")
    if run.calibration_path is None:
        return SeverityReward(run.candidate.reward, judge)
    calibration = read_calibration(run.calibration_path, judge.name, judge.version)
    return SeverityReward(run.candidate.reward, judge, calibration.apply)


def reward_counts(trainer: TreeGRPOTrainer) -> dict[str, Any]:
    """For ``metrics.json``: the reward's judge, how many completions it was given by all processes
    since the run was last started, and how many it could not score, by reason.
    """
    (reward,) = trainer.reward_funcs
    assert isinstance(reward, SeverityReward)
    every: list[RewardCounts] = gather_object([reward.counts()])
    unscored: Counter[str] = Counter()
    for counts in every:
        unscored.update(counts.unscored)
    return {
        "reward_judge": reward.judge_label,
        "reward_completions": sum(counts.completions for counts in every),
        "reward_unscored": dict(sorted(unscored.items())),
    }


def _set_reference(policy: PeftModel, run: CandidateRun) -> None:
    """Loads the run's reference into the ``ref`` adapter; without one TRL disables all adapters,
    which is the bare base.
    """
    adapter_dir = reference_dir(run)
    if adapter_dir is None:
        drop_reference_adapter(policy)
        return
    refuse_other_base(adapter_dir, run.base_digest)
    check_shape(adapter_dir, run.candidate.lora)
    weights = load_file(adapter_dir / "adapter_model.safetensors")
    result = set_peft_model_state_dict(policy, weights, adapter_name="ref")
    if result.unexpected_keys:
        raise TrainingError(
            f"reference adapter {adapter_dir} holds {len(result.unexpected_keys)} tensors that the "
            "base has no place for; choose a reference of this base"
        )
