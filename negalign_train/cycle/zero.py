"""Cycle zero: a base model that has seen reports before its first reader does.

Supervised training on the case file's own reports, through the same launch, rows and prefix trees
as a candidate. The LoRA is merged, so that the result is a base model like any other.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from negalign_train.cases.source import generator_cases
from negalign_train.cycle.opening.base_model import resolve_model
from negalign_train.cycle.opening.plan import LocatedRecipe
from negalign_train.cycle.steps.train import TrainedCandidate, run_candidate
from negalign_train.preferences.files import write_pairs
from negalign_train.preferences.replay import PAIRS_FILE, PROMPTS_FILE, UNPAIRED_FILE
from negalign_train.progress import Progress
from negalign_train.recipe.candidate import CandidateRun, CandidateSettings
from negalign_train.recipe.launch_file import read_launch_file
from negalign_train.storage.fingerprint import base_digest
from negalign_train.storage.workspace import publishing, write_json
from negalign_train.training.policy.loading import load_for_inference, load_tokenizer
from negalign_train.vocabulary.errors import CycleError, RecipeError
from negalign_train.vocabulary.records import Case, PreferencePair

PROVENANCE = "PROVENANCE.json"


@dataclass(frozen=True)
class WarmUp:
    """What to train: ``model`` on the generator's cases of ``located``'s recipe, into ``out``."""

    located: LocatedRecipe
    model: str
    out: Path
    candidate: CandidateSettings
    seed: int
    max_examples: int | None = None

    @property
    def work_dir(self) -> Path:
        """Where a training that was stopped waits for the same command."""
        return self.out.with_name(f"{self.out.name}.training")


@dataclass(frozen=True)
class WarmedUp:
    """The base model folder that was written."""

    folder: Path
    base_digest: str
    num_examples: int
    logps_before: float
    logps_after: float
    """Mean log-probability of the first training reports, in nats."""
    seconds: float


def warm_up(job: WarmUp, progress: Progress) -> WarmedUp:
    """Trains, merges and writes the base model folder.

    Raises:
        RecipeError: the folder is there, or the recipe's base is trained in 4 bits.
        CycleError: the training failed.
    """
    if job.out.exists():
        raise RecipeError(f"{job.out} exists; use it, remove it, or choose another --out")
    model = job.located.recipe.model
    if model.quantisation != "none":
        raise RecipeError(
            f"model.quantisation {model.quantisation}: an update trained on rounded weights does "
            "not belong to the whole ones it is merged into; set it to none"
        )
    base = resolve_model(model.model_copy(update={"model_name_or_path": job.model}))
    cases = generator_cases(job.located.recipe.cases, job.seed, job.max_examples)
    job.work_dir.mkdir(parents=True, exist_ok=True)
    write_pairs(job.work_dir / PAIRS_FILE, [_example(case) for case in cases])
    progress(f"training on {len(cases)} reports")
    launch = job.located.accelerate_config()
    trained = run_candidate(_run_of(job, base.folder, base.name, launch), launch, progress)
    progress(f"merging into {job.out}")
    digest = _merge(job, base.folder, trained, len(cases))
    shutil.rmtree(job.work_dir)
    metrics = trained.metrics
    return WarmedUp(
        job.out,
        digest,
        len(cases),
        metrics["logps/chosen_start"],
        metrics["logps/chosen_end"],
        sum(metrics["seconds"].values()),
    )


def _example(case: Case) -> PreferencePair:
    """A report that stands alone: it has no other side."""
    if not case.reference.strip():
        raise CycleError(f"case {case.case_id} has no report to learn; leave it out of the file")
    return PreferencePair(
        case.case_id, case.case_id, case.group, 0, case.prompt, case.reference, "", delta_S=0.0
    )


def _run_of(job: WarmUp, model_dir: Path, base_name: str, launch: Path) -> CandidateRun:
    model, folder = job.located.recipe.model, job.work_dir
    return CandidateRun(
        candidate=job.candidate,
        model_dir=model_dir,
        base_digest=base_digest(model_dir),
        base_name=base_name,
        dtype=model.dtype,
        max_new_tokens=model.max_new_tokens,
        parent_adapter_dir=None,
        pairs_path=folder / PAIRS_FILE,
        unpaired_path=folder / UNPAIRED_FILE,
        prompts_path=folder / PROMPTS_FILE,
        output_dir=folder / job.candidate.name,
        seed=job.seed,
        num_processes=read_launch_file(launch).num_processes,
    )


def _merge(job: WarmUp, model_dir: Path, trained: TrainedCandidate, num_examples: int) -> str:
    model: Any = load_for_inference(model_dir, trained.adapter_dir, job.located.recipe.model.dtype)
    merged = model.merge_and_unload(safe_merge=True)
    with publishing(job.out) as staging:
        merged.save_pretrained(staging)
        load_tokenizer(model_dir).save_pretrained(staging)
        digest = base_digest(staging)
        write_json(
            staging / PROVENANCE,
            {
                "schema": "negalign.provenance/1",
                "base_digest": digest,
                "trained_from": trained.made_of,
                "identity": trained.identity,
                "cases": job.located.recipe.cases.source,
                "num_examples": num_examples,
                "metrics": trained.metrics,
            },
        )
    return digest
