"""Step 3: one ``accelerate launch`` per candidate, each resumable by itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import yaml

from negalign_train.cycle.calibration_step import CALIBRATION, calibrate
from negalign_train.cycle.plan import Context
from negalign_train.errors import CycleError
from negalign_train.launch import read_launch_file
from negalign_train.preferences.replay import PAIRS_FILE, PROMPTS_FILE, UNPAIRED_FILE
from negalign_train.recipe_candidate import CandidateRun, CandidateSettings
from negalign_train.training.arguments import trainer_config
from negalign_train.training.combinations import refuse_clashes, setup_of
from negalign_train.workspace import read_json, replacing

_TAIL_LINES = 15


def _run_of(context: Context, candidate: CandidateSettings) -> CandidateRun:
    """All that the launched process is told."""
    plan, folder = context.plan, context.folder
    earlier = candidate.continues
    if candidate.reference == "approved" and plan.approved is None:
        # Until an adapter is approved, what is approved is the base model.
        candidate = candidate.model_copy(update={"reference": "base"})
    return CandidateRun(
        candidate=candidate,
        model_dir=context.model_dir,
        base_digest=plan.base_digest,
        base_name=plan.base_name,
        dtype=context.recipe.model.dtype,
        quantisation=context.recipe.model.quantisation,
        max_new_tokens=context.recipe.model.max_new_tokens,
        parent_adapter_dir=context.adapter_dir(plan.parent),
        earlier_adapter_dir=None if earlier is None else context.candidate_dir(earlier) / "adapter",
        approved_adapter_dir=context.adapter_dir(plan.approved),
        reference_cache_dir=folder / "reference_logps",
        calibration_path=_reward_calibration(context, candidate),
        pairs_path=folder / PAIRS_FILE,
        unpaired_path=folder / UNPAIRED_FILE,
        prompts_path=folder / PROMPTS_FILE,
        output_dir=context.candidate_dir(candidate.name),
        seed=plan.seed * 1000 + plan.cycle,
    )


def _reward_calibration(context: Context, candidate: CandidateSettings) -> Path | None:
    """The calibration file for GRPO, where it changes anything."""
    if candidate.method != "grpo" or not calibrate(context).adopted:
        return None
    return context.folder / CALIBRATION


def check_candidates(context: Context) -> None:
    """Refuses a wrong ``trainer`` section, and settings that do not go together, before readers'
    work or training time is spent on them.

    Raises:
        RecipeError: naming the candidate and the key.
    """
    launch = read_launch_file(context.located.accelerate_config())
    for candidate in context.recipe.candidates:
        run = _run_of(context, candidate)
        setup = setup_of(run, trainer_config(run), launch.zero_stage)
        refuse_clashes(candidate.name, setup)


def _write_run(context: Context, candidate: CandidateSettings) -> Path:
    """``candidate.yaml``, what the launched process reads."""
    run = _run_of(context, candidate)
    path = run.output_dir / "candidate.yaml"
    with replacing(path) as temporary:
        text = yaml.safe_dump(run.model_dump(mode="json", by_alias=True), sort_keys=False)
        temporary.write_text(text, encoding="utf-8")
    return path


def _launch(accelerate_config: Path, config: Path, log: Path) -> int:
    """Runs the training process with its output in ``log``; returns its exit code."""
    command = [
        sys.executable, "-m", "accelerate.commands.launch",
        *read_launch_file(accelerate_config).arguments(),
        "-m", "negalign_train.training.run", "--config", str(config),
    ]  # fmt: skip
    with log.open("ab") as stream:
        process = subprocess.Popen(
            command, stdout=stream, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
            env=os.environ | {"TOKENIZERS_PARALLELISM": "false"}, start_new_session=True,
        )  # fmt: skip
        try:
            return process.wait()
        except BaseException:
            # Its own session: end the launcher and its workers together, then pass on why.
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()
            raise


def train(context: Context, candidate: CandidateSettings) -> dict[str, object]:
    """Trains one candidate (or finds it trained) and returns its ``metrics.json``.

    Raises:
        CycleError: the launched process failed; the message ends with its last lines.
    """
    output_dir = context.candidate_dir(candidate.name)
    done = output_dir / "COMPLETE.json"
    if not done.is_file():
        config = _write_run(context, candidate)
        log = output_dir / "train.log"
        code = _launch(context.located.accelerate_config(), config, log)
        if code != 0 or not done.is_file():
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-_TAIL_LINES:])
            raise CycleError(
                f"training of candidate {candidate.name} ended with exit code {code}; the whole "
                f"output is in {log}; mend what it says, or take the candidate out of the recipe, "
                f"and run the same command again. Its end is:\n{tail}"
            )
    metrics: dict[str, object] = read_json(output_dir / "metrics.json")
    return metrics
