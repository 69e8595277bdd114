"""Train one candidate adapter from a parent. It neither gates nor promotes.

accelerate launch --config_file recipes/accelerate/cpu.yaml \
    -m negalign_train.training.run --config CANDIDATE.yaml

Writes ``adapter/``, ``metrics.json``, ``log.jsonl`` and, last, ``COMPLETE.json`` into the run's
output_dir. Run again after a crash, it goes on from the newest whole checkpoint; run again after
success, it does nothing.
"""

from __future__ import annotations

import argparse
import fcntl
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from transformers import PrinterCallback, Trainer, TrainingArguments, set_seed

from negalign_train.errors import NegalignError
from negalign_train.recipe import CandidateRun, load_yaml
from negalign_train.training.arguments import trainer_config
from negalign_train.training.callbacks import run_callbacks
from negalign_train.training.checkpoints import newest_complete
from negalign_train.training.outputs import (
    ADAPTER_DIR,
    is_finished,
    run_identity,
    save_adapter,
    write_results,
)
from negalign_train.training.policy import load_policy, load_tokenizer
from negalign_train.training.session import Stopwatch, Task, build_session, summarise


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
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


def train_candidate(run: CandidateRun) -> None:
    """Trains the candidate, or goes on where an earlier attempt stopped.

    Raises:
        RecipeError: the trainer section is wrong.
        TrainingError: the inputs do not fit together, or a guard stopped the run.
    """
    config = trainer_config(run)
    with _alone(run.output_dir):
        _train_alone(run, config)


def _train_alone(run: CandidateRun, config: TrainingArguments) -> None:
    identity = run_identity(run)
    label = f"{run.candidate.name} ({run.candidate.method})"
    if is_finished(run.output_dir, identity):
        _say(f"{label}: already complete in {run.output_dir}")
        return
    stopwatch = Stopwatch()
    set_seed(run.seed)
    with stopwatch.phase("load"):
        tokenizer = load_tokenizer(run.model_dir)
        policy = load_policy(run)
        policy.to(config.device)
    callbacks = run_callbacks(run, identity)
    session = build_session(Task(run, config, policy, tokenizer, callbacks, stopwatch))
    session.trainer.remove_callback(PrinterCallback)
    _say(f"{label}: {session.num_examples} examples, seed {run.seed}")
    if session.sharing.reason is not None:
        _say(f"{label}: completions are computed one by one, {session.sharing.reason}")
    before = session.watch()
    with stopwatch.phase("train"):
        _train(session.trainer, run.output_dir / "checkpoints", identity)
    metrics = summarise(session, before)
    if PartialState().is_main_process:
        save_adapter(policy, run.output_dir / ADAPTER_DIR, run.base_name)
        shutil.rmtree(run.output_dir / "checkpoints", ignore_errors=True)
        write_results(run.output_dir, metrics, identity)
    PartialState().wait_for_everyone()
    _say(f"{label}: {_headline(metrics)}")


@contextmanager
def _alone(output_dir: Path) -> Iterator[None]:
    """Waits until no other run writes into ``output_dir``.

    A cycle that was killed can leave its training behind: the same command then waits for it and
    takes its result. The lock goes with the process, however that ends.
    """
    if not PartialState().is_main_process:
        PartialState().wait_for_everyone()
        yield
        return
    output_dir.mkdir(parents=True, exist_ok=True)
    with (output_dir / ".lock").open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say(f"another run is training into {output_dir}; waiting for it")
            fcntl.flock(stream, fcntl.LOCK_EX)
        PartialState().wait_for_everyone()
        yield


def _train(trainer: Trainer, checkpoints_dir: Path, identity: str) -> None:
    """Trains from the newest whole checkpoint; one process looks, all hear."""
    found: list[str | None] = [None]
    if PartialState().is_main_process:
        folder = newest_complete(checkpoints_dir, identity)
        found = [None if folder is None else str(folder)]
    broadcast_object_list(found, from_process=0)
    if found[0] is not None:
        _say(f"going on from {found[0]}")
    trainer.train(resume_from_checkpoint=found[0])


def _headline(metrics: Mapping[str, Any]) -> str:
    return (
        f"{metrics['num_steps']} steps, loss {metrics['loss_start']:.4f} -> "
        f"{metrics['loss_end']:.4f}, {sum(metrics['seconds'].values()):.1f} s"
    )


def _say(text: str) -> None:
    if PartialState().is_main_process:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
