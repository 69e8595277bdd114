"""Train one candidate adapter from a parent. It neither gates nor promotes.

accelerate launch --config_file recipes/accelerate/cpu.yaml \
    -m negalign_train.training.run --config CANDIDATE.yaml

Writes ``adapter/``, ``metrics.json``, ``log.jsonl`` and, last, ``COMPLETE.json`` into the run's
output_dir. Run again after a crash, it goes on from the newest whole checkpoint; run again after
success, it does nothing. A run that fails leaves ``failure.json`` beside its candidate file.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from accelerate import PartialState
from transformers import PrinterCallback, Trainer, TrainingArguments, set_seed

from negalign_train.recipe.candidate import CandidateRun
from negalign_train.recipe.cycle import load_yaml
from negalign_train.training.distributed.main_process import alone, from_main
from negalign_train.training.distributed.shards import forwards_on_shards
from negalign_train.training.policy.loading import adapter_kept, load_policy, load_tokenizer
from negalign_train.training.running.callbacks import run_callbacks
from negalign_train.training.running.checkpoints import newest_complete
from negalign_train.training.running.failure import record_failure
from negalign_train.training.running.outputs import (
    ADAPTER_DIR,
    is_finished,
    run_identity,
    save_adapter,
    write_results,
)
from negalign_train.training.running.progress_file import RunProgress, StepTicks
from negalign_train.training.running.session import Stopwatch, Task, build_session, run_metrics
from negalign_train.training.settings.arguments import trainer_config
from negalign_train.training.settings.combinations import (
    launched_zero_stage,
    refuse_clashes,
    refuse_several_adapters,
    setup_of,
)
from negalign_train.vocabulary.errors import NegalignError


def main(arguments: Sequence[str] | None = None) -> int:
    """Parses the command line, trains, and returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="negalign_train.training.run", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--config", type=Path, required=True, help="candidate file (YAML)")
    config_path: Path = parser.parse_args(arguments).config
    try:
        train_candidate(load_yaml(config_path, CandidateRun))
    except NegalignError as error:
        record_failure(config_path.parent, error)
        sys.stderr.write(f"error: {error}\n")
        return 1
    except Exception as error:
        record_failure(config_path.parent, error)
        raise
    return 0


def train_candidate(run: CandidateRun) -> None:
    """Trains the candidate, or goes on where an earlier attempt stopped.

    Raises:
        RecipeError: the trainer section is wrong, or settings do not go together.
        TrainingError: the inputs do not fit together, or a guard stopped the run.
    """
    config = trainer_config(run)
    refuse_clashes(run.candidate.name, setup_of(run, config, launched_zero_stage(config)))
    with alone(run.output_dir, _say):
        _train_alone(run, config)


def _train_alone(run: CandidateRun, config: TrainingArguments) -> None:
    identity = from_main(lambda: run_identity(run))
    label = f"{run.candidate.name} ({run.candidate.method})"
    if from_main(lambda: is_finished(run.output_dir, identity)):
        _say(f"{label}: already complete in {run.output_dir}")
        return
    stopwatch = Stopwatch()
    set_seed(run.seed)
    with stopwatch.phase("load"):
        tokenizer = load_tokenizer(run.model_dir)
        policy = load_policy(run)
        policy.to(config.device)
    progress = RunProgress(run.output_dir, _say)
    callbacks = [*run_callbacks(run, identity), StepTicks(progress.ticks("optimiser steps"))]
    refuse_several_adapters(policy)
    with forwards_on_shards(policy), adapter_kept(policy):
        reference_tick = progress.ticks("log-probabilities of the reference")
        session = build_session(
            Task(run, config, policy, tokenizer, callbacks, stopwatch, reference_tick)
        )
        before = session.watch()
    session.trainer.remove_callback(PrinterCallback)
    _say(f"{label}: {session.num_examples} examples, seed {run.seed}")
    if session.sharing.reason is not None:
        _say(f"{label}: completions are computed one by one, {session.sharing.reason}")
    with stopwatch.phase("train"):
        _train(session.trainer, run.output_dir / "checkpoints", identity)
    metrics = run_metrics(session, before)
    save_adapter(policy, run.output_dir / ADAPTER_DIR, run.base_name, run.base_revision)
    if PartialState().is_main_process:
        shutil.rmtree(run.output_dir / "checkpoints", ignore_errors=True)
        write_results(run.output_dir, metrics, identity)
    progress.close()
    PartialState().wait_for_everyone()
    _say(f"{label}: {_headline(metrics)}")


def _train(trainer: Trainer, checkpoints_dir: Path, identity: str) -> None:
    """Trains from the newest whole checkpoint."""
    folder = from_main(lambda: newest_complete(checkpoints_dir, identity))
    if folder is not None:
        _say(f"going on from {folder}")
    trainer.train(resume_from_checkpoint=None if folder is None else str(folder))


def _headline(metrics: Mapping[str, Any]) -> str:
    return (
        f"{metrics['num_steps']} steps, loss {metrics['loss_start']:.4f} -> "
        f"{metrics['loss_end']:.4f}, {sum(metrics['seconds'].values()):.1f} s"
    )


def _say(text: str) -> None:
    if PartialState().is_main_process:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()


def leave(code: int) -> None:
    """Ends a launched process. After success the processes let go of each other first: one that
    exits with the group's threads alive may abort (torch 2.13: "terminate called without an active
    exception"), and its launcher would call a finished training failed.
    """
    if code == 0:
        PartialState().destroy_process_group()
    sys.exit(code)


if __name__ == "__main__":
    leave(main())
