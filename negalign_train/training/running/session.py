"""From a run's examples to a trainer ready to train, and from a trained one to its metrics."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from peft import PeftModel
from transformers import PreTrainedTokenizerBase, Trainer, TrainerCallback, TrainingArguments
from trl import DPOConfig, GRPOConfig, KTOConfig

from negalign_train.preferences.files import read_pairs, read_prompts, read_unpaired
from negalign_train.progress import Tick, no_tick
from negalign_train.recipe.candidate import CandidateRun
from negalign_train.recipe.context_length import context_length
from negalign_train.training.forward.tree_choice import Sharing, find_sharing, plain
from negalign_train.training.objective.step_metrics import CHOSEN_DRIFT
from negalign_train.training.reference.logps import (
    add_pair_reference,
    add_unpaired_reference,
    sequence_logps,
)
from negalign_train.training.rows.batches import (
    TokenSequence,
    chosen_sequence,
    rejected_sequence,
    unpaired_sequence,
    unweighted,
)
from negalign_train.training.rows.kto_rows import add_mismatched, arrange
from negalign_train.training.rows.tokenise import (
    refuse_longer_than,
    refuse_special_tokens,
    render_prompt,
    tokenise_pairs,
    tokenise_unpaired,
)
from negalign_train.training.running.averaging import DISCARDED
from negalign_train.training.running.outputs import examples_path
from negalign_train.training.trainers.dpo import WeightedDPOTrainer
from negalign_train.training.trainers.grpo import (
    TreeGRPOTrainer,
    reward_counts,
    severity_grpo_trainer,
)
from negalign_train.training.trainers.kto import WeightedKTOTrainer
from negalign_train.vocabulary.errors import TrainingError
from negalign_train.vocabulary.special_tokens import prompt_texts

_MAX_PROBED = 32
"""Completions of each side whose log-probability is taken before and after training."""

_LAST_LOGGED = (
    "rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/accuracies", "kl",
    CHOSEN_DRIFT, DISCARDED,
)  # fmt: skip
"""Step metrics whose last logged value goes into ``metrics.json``."""


class Stopwatch:
    """Seconds spent in named phases."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


@dataclass(frozen=True)
class Task:
    """Everything a trainer needs except its examples."""

    run: CandidateRun
    config: TrainingArguments
    policy: PeftModel
    tokenizer: PreTrainedTokenizerBase
    callbacks: Sequence[TrainerCallback]
    stopwatch: Stopwatch
    reference_tick: Tick = no_tick

    @property
    def pad_token_id(self) -> int:
        assert isinstance(self.tokenizer.pad_token_id, int)
        return self.tokenizer.pad_token_id

    @property
    def scoring_batch_size(self) -> int:
        """Rows of a batch without gradients: two per pair trained, unless the recipe says."""
        configured: int | None = getattr(self.config, "precompute_ref_batch_size", None)
        return configured or 2 * self.config.per_device_train_batch_size

    @property
    def examples_per_step(self) -> int:
        """Of an optimiser step, over all processes and turns of accumulation."""
        per_process = self.config.train_batch_size * self.config.gradient_accumulation_steps
        return int(per_process * self.config.world_size)

    def sharing(self, longest: int) -> Sharing:
        """How completions of one prompt are computed; ``longest`` example in tokens."""
        if not self.run.candidate.batching.share_prefixes:
            return plain("batching.share_prefixes is false")
        return find_sharing(self.policy, longest, self.pad_token_id)


@dataclass(frozen=True)
class Session:
    """A trainer and the completions watched over the run (name to completions)."""

    task: Task
    trainer: Trainer
    num_examples: int
    sharing: Sharing
    watched: Mapping[str, Sequence[TokenSequence]] = field(default_factory=dict)

    def watch(self) -> dict[str, float]:
        """Mean log-probability of each watched set, in nats, tokens all weighing 1."""
        sequences = [unweighted(each) for group in self.watched.values() for each in group]
        if not sequences:
            return {}
        task = self.task
        logps = sequence_logps(
            task.policy, sequences, task.scoring_batch_size, task.pad_token_id, self.sharing
        )
        remaining = iter(logps)
        return {
            name: sum(next(remaining) for _ in group) / len(group)
            for name, group in self.watched.items()
        }


def build_session(task: Task) -> Session:
    """Reads, tokenises and checks the run's examples, scores the reference, makes the trainer.

    Raises:
        TrainingError: there are no examples, or some cannot be used.
    """
    if task.run.candidate.method == "kto":
        return _unpaired_session(task)
    if task.run.candidate.method == "grpo":
        return _prompt_session(task)
    return _pair_session(task)


def _refuse_empty(task: Task, examples: Sequence[object]) -> None:
    if not examples:
        raise TrainingError(
            f"{examples_path(task.run)} holds no examples for {task.run.candidate.method}; collect "
            "feedback first, or leave this candidate out of the recipe"
        )


def _max_tokens(task: Task) -> int:
    """The longest sequence allowed: trainer.max_length, and never more than the base can see."""
    assert isinstance(task.config, DPOConfig | KTOConfig)
    limits = (task.config.max_length, context_length(task.policy.config))
    return min((limit for limit in limits if limit is not None), default=sys.maxsize)


def _pair_session(task: Task) -> Session:
    assert isinstance(task.config, DPOConfig)
    pairs = read_pairs(task.run.pairs_path)
    _refuse_empty(task, pairs)
    with task.stopwatch.phase("tokenise"):
        rows = tokenise_pairs(task.tokenizer, pairs)
    chosen = [chosen_sequence(row) for row in rows]
    rejected = [rejected_sequence(row) for row in rows]
    names = [row["example_id"] for row in rows]
    refuse_longer_than(_max_tokens(task), list(zip(names * 2, chosen + rejected, strict=True)))
    sharing = task.sharing(max(map(len, chosen + rejected)))
    if task.run.candidate.method == "dpo":
        with task.stopwatch.phase("reference"):
            add_pair_reference(
                task.policy, rows, task.run, task.scoring_batch_size, task.pad_token_id, sharing,
                task.reference_tick,
            )  # fmt: skip
    trainer = WeightedDPOTrainer(
        task.policy, task.config, rows, task.tokenizer, task.callbacks, sharing
    )
    trainer.max_micro_batch_tokens = task.run.candidate.batching.max_tokens
    watched = {"chosen": chosen[:_MAX_PROBED]}
    if any(pair.rejected for pair in pairs):  # approved reports alone have no other side
        watched["rejected"] = rejected[:_MAX_PROBED]
    return Session(task, trainer, len(rows), sharing, watched)


def _unpaired_session(task: Task) -> Session:
    assert isinstance(task.config, KTOConfig)
    examples = read_unpaired(task.run.unpaired_path)
    _refuse_empty(task, examples)
    with task.stopwatch.phase("tokenise"):
        tokenised = tokenise_unpaired(task.tokenizer, examples)
        rows = arrange(tokenised, task.run.seed, task.examples_per_step)
        if task.config.loss_type == "kto":
            add_mismatched(rows, task.examples_per_step)
    sequences = [(row["example_id"], unpaired_sequence(row)) for row in rows]
    refuse_longer_than(_max_tokens(task), sequences)
    sharing = task.sharing(max(len(sequence) for _, sequence in sequences))
    with task.stopwatch.phase("reference"):
        add_unpaired_reference(
            task.policy, rows, task.run, task.scoring_batch_size, task.pad_token_id, sharing,
            task.reference_tick,
        )  # fmt: skip
    trainer = WeightedKTOTrainer(
        task.policy, task.config, rows, task.tokenizer, task.callbacks, sharing
    )
    trainer.max_micro_batch_tokens = task.run.candidate.batching.max_tokens
    watched = {
        name: [unpaired_sequence(row) for row in rows if row["label"] is label][:_MAX_PROBED]
        for name, label in (("chosen", True), ("rejected", False))
    }
    return Session(task, trainer, len(rows), sharing, {k: v for k, v in watched.items() if v})


def _prompt_session(task: Task) -> Session:
    assert isinstance(task.config, GRPOConfig)
    prompts = read_prompts(task.run.prompts_path)
    _refuse_empty(task, prompts)
    texts = [(each.case_id, text) for each in prompts for text in prompt_texts(each.prompt)]
    refuse_special_tokens(task.tokenizer, texts)
    trainer = severity_grpo_trainer(
        task.run, task.policy, task.config, prompts, task.tokenizer, task.callbacks
    )
    longest = max(len(render_prompt(task.tokenizer, each.prompt)) for each in prompts)
    trainer.sharing = task.sharing(longest + task.run.max_new_tokens)
    return Session(task, trainer, len(prompts), trainer.sharing)


def run_metrics(session: Session, before: Mapping[str, float]) -> dict[str, Any]:
    """``metrics.json``: what the run did, and how far the watched completions moved.

    A falling ``logps/chosen_change`` is likelihood displacement (arXiv 2410.08847).
    """
    history = session.trainer.state.log_history
    losses = [entry["loss"] for entry in history if "loss" in entry]
    after = session.watch()
    run = session.task.run
    metrics: dict[str, Any] = {
        "candidate": run.candidate.name,
        "method": run.candidate.method,
        "reference": run.candidate.reference,
        "seed": run.seed,
        "num_examples": session.num_examples,
        "num_steps": session.trainer.state.global_step,
        "sharing": session.sharing.mode,
        "sharing_reason": session.sharing.reason,
        "loss_start": losses[0],
        "loss_end": losses[-1],
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "seconds": {
            name: round(value, 3) for name, value in session.task.stopwatch.seconds.items()
        },
    }
    for name, value in before.items():
        metrics[f"logps/{name}_start"] = value
        metrics[f"logps/{name}_end"] = after[name]
        metrics[f"logps/{name}_change"] = after[name] - value
    for name in _LAST_LOGGED:
        if logged := [entry[name] for entry in history if name in entry]:
            metrics[name] = logged[-1]
    if isinstance(session.trainer, TreeGRPOTrainer):
        metrics |= reward_counts(session.trainer)
    if rewards := [entry["reward"] for entry in history if "reward" in entry]:
        metrics |= {"reward_start": rewards[0], "reward_end": rewards[-1]}
    return metrics
