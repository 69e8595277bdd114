"""Step 3: one ``accelerate launch`` per candidate, each resumable by itself."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from negalign_train.cycle.opening.plan import Context
from negalign_train.cycle.steps.calibration import CALIBRATION
from negalign_train.cycle.steps.judging import reward_judge, reward_judge_spec
from negalign_train.preferences.replay import PAIRS_FILE, PROMPTS_FILE, UNPAIRED_FILE
from negalign_train.progress import Progress, Tick, silent, time_left
from negalign_train.recipe.candidate import CandidateRun, CandidateSettings
from negalign_train.recipe.launch_file import read_launch_file
from negalign_train.severity.pricing.calibration import Calibration
from negalign_train.storage.fingerprint import fingerprint
from negalign_train.storage.workspace import read_json, replacing, write_json
from negalign_train.training.running.failure import forget_failure, read_failure
from negalign_train.training.running.outputs import ADAPTER_DIR, METRICS, is_finished, run_facts
from negalign_train.training.running.progress_file import read_place
from negalign_train.vocabulary.errors import CycleError

IDENTITY = "identity.json"
_LOOK_SECONDS = 1.0
"""Between two looks at how far a training is."""


@dataclass(frozen=True)
class TrainedCandidate:
    """A finished training: ``made_of`` is all that decided it, ``identity`` its fingerprint, both
    as the run itself left them.
    """

    candidate: CandidateSettings
    identity: str
    made_of: Mapping[str, Any]
    adapter_dir: Path
    metrics: Mapping[str, Any]


def _run_of(
    context: Context, candidate: CandidateSettings, calibration: Calibration
) -> CandidateRun:
    """Everything that the launched process reads."""
    plan, folder = context.plan, context.folder
    earlier = candidate.continues
    earlier_dir = None if earlier is None else context.candidate_dir(earlier) / ADAPTER_DIR
    if candidate.reference == "approved" and plan.approved is None:
        # Until an adapter is approved, what is approved is the base model.
        candidate = candidate.model_copy(update={"reference": "base"})
    if (judge := reward_judge_spec(context, candidate)) is not None:
        assert candidate.reward is not None
        reward = candidate.reward.model_copy(update={"judge": judge})
        candidate = candidate.model_copy(update={"reward": reward})
    return CandidateRun(
        candidate=candidate,
        model_dir=context.model_dir,
        base_digest=plan.base_digest,
        base_name=plan.base_name,
        base_revision=plan.base_revision,
        dtype=context.recipe.model.dtype,
        quantisation=context.recipe.model.quantisation,
        max_new_tokens=context.recipe.model.max_new_tokens,
        parent_adapter_dir=context.adapter_dir(plan.parent),
        earlier_adapter_dir=earlier_dir,
        approved_adapter_dir=context.adapter_dir(plan.approved),
        reference_cache_dir=folder / "reference_logps",
        calibration_path=_reward_calibration(context, candidate, calibration),
        judge_server=context.recipe.severity.server,
        pairs_path=folder / PAIRS_FILE,
        unpaired_path=folder / UNPAIRED_FILE,
        prompts_path=folder / PROMPTS_FILE,
        output_dir=context.candidate_dir(candidate.name),
        seed=plan.seed * 1000 + plan.cycle,
        num_processes=read_launch_file(context.located.accelerate_config()).num_processes,
    )


def _reward_calibration(
    context: Context, candidate: CandidateSettings, calibration: Calibration
) -> Path | None:
    """The calibration file for GRPO, where it changes anything and fits the reward's judge."""
    judge = reward_judge(context, candidate)
    if judge is None or not calibration.adopted:
        return None
    if (judge.name, judge.version) != (calibration.judge, calibration.judge_version):
        return None
    return context.folder / CALIBRATION


def _write_run(run: CandidateRun) -> Path:
    """``candidate.yaml``, what the launched process reads."""
    path = run.output_dir / "candidate.yaml"
    with replacing(path) as temporary:
        text = yaml.safe_dump(run.model_dump(mode="json", by_alias=True), sort_keys=False)
        temporary.write_text(text, encoding="utf-8")
    return path


def _launch(accelerate_config: Path, config: Path, log: Path, progress: Progress = silent) -> int:
    """Runs the training process with its output in ``log``; returns its exit code. Says how far
    the process is by what it writes beside its candidate file.

    In safe-path mode (Python 3.11 and later), the workers too: a ``yaml.py`` in the folder where
    somebody stands is not run.
    """
    command = [
        sys.executable, "-m", "accelerate.commands.launch",
        *read_launch_file(accelerate_config).arguments(),
        "-m", "negalign_train.training.run", "--config", str(config),
    ]  # fmt: skip
    with log.open("ab") as stream:
        process = subprocess.Popen(
            command, stdout=stream, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
            env=os.environ | {"TOKENIZERS_PARALLELISM": "false", "PYTHONSAFEPATH": "1"},
            start_new_session=True,
        )  # fmt: skip
        try:
            return _watched(process, config.parent, progress)
        except BaseException:
            # Its own session: end the launcher and its workers together, then pass on why.
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()
            raise


def _watched(process: subprocess.Popen[bytes], folder: Path, progress: Progress) -> int:
    """The exit code; meanwhile ticks for each part of the run."""
    ticks: dict[str, Tick] = {}
    while True:
        try:
            return process.wait(timeout=_LOOK_SECONDS)
        except subprocess.TimeoutExpired:
            place = read_place(folder)
        if place is not None:
            what = f"candidate {folder.name}, {place.what}"
            tick = ticks.setdefault(place.what, time_left(what, progress))
            tick(place.done, place.total)


def train(
    context: Context,
    candidate: CandidateSettings,
    calibration: Calibration,
    progress: Progress = silent,
) -> TrainedCandidate:
    """Trains one candidate, or finds this very training done.

    Raises:
        CycleError: the launched process failed; the message says why, and holds none of its output.
    """
    run = _run_of(context, candidate, calibration)
    return run_candidate(run, context.located.accelerate_config(), progress)


def run_candidate(
    run: CandidateRun, accelerate_config: Path, progress: Progress = silent
) -> TrainedCandidate:
    """One launch, or the finished training of this very run.

    Raises:
        CycleError: the launched process failed.
    """
    candidate = run.candidate
    output_dir, made_of = run.output_dir, run_facts(run)
    identity = fingerprint(made_of)
    make_room(output_dir, identity, made_of)
    if not is_finished(output_dir, identity):
        config = _write_run(run)
        log = output_dir / "train.log"
        forget_failure(output_dir)
        code = _launch(accelerate_config, config, log, progress)
        if code != 0 or not is_finished(output_dir, identity):
            reason, who = read_failure(output_dir), f"candidate {candidate.name}"
            cause = reason if reason.startswith(who) else f"{who}: {reason}"
            raise CycleError(
                f"{cause}. Its training ended with "
                f"exit code {code}, and its whole output is in {log}; correct the cause, or take "
                "the candidate out of the recipe, and run the same command again"
            )
    return TrainedCandidate(
        candidate, identity, made_of, output_dir / ADAPTER_DIR, read_json(output_dir / METRICS)
    )


def make_room(folder: Path, identity: str, made_of: Mapping[str, Any]) -> None:
    """Leaves in ``folder`` what belongs to the training of this identity, or nothing.

    What another training left there is moved to ``<name>.<its identity>``, out of the way of
    publication, and comes back if the recipe does.
    """
    stored = _stored_identity(folder)
    if stored == identity:
        return
    if stored is not None:
        folder.rename(_aside(folder, stored))
    elif folder.exists():
        shutil.rmtree(folder)  # it died before it said what it was going to train
    if (before := _aside(folder, identity)).exists():
        before.rename(folder)
    write_json(folder / IDENTITY, {"identity": identity, "made_of": made_of})


def _stored_identity(folder: Path) -> str | None:
    path = folder / IDENTITY
    return str(read_json(path)["identity"]) if path.is_file() else None


def _aside(folder: Path, identity: str) -> Path:
    # No candidate's name holds a dot.
    return folder.with_name(f"{folder.name}.{identity[:12]}")
