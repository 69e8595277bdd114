"""One judge of ``judge_ablation.py`` through `negalign cycle`, beside the ground truth."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from negalign_train.cases.source import evaluation_cases, feedback_cases
from negalign_train.evaluation.bootstrap import (
    BootstrapSettings,
    Interval,
    paired_bootstrap,
)
from negalign_train.feedback.schema import parse_event
from negalign_train.feedback.snapshot import read_snapshot
from negalign_train.recipe.cycle import CycleRecipe
from negalign_train.report.result import CycleResult
from negalign_train.simulate.panel import truth_for
from negalign_train.simulate.readers import true_score
from negalign_train.storage.workspace import Workspace
from negalign_train.vocabulary.records import Case, Event, ScoredReport

ROOT = Path(__file__).resolve().parents[2]
RECIPE = ROOT / "recipes" / "embedded" / "cycle.yaml"
READERS = "readers"
"""The arm whose log keeps the readers' severities; the rules decide in its gate."""


NO_PAIRS = "no pairs"


@dataclass(frozen=True)
class Size:
    """Cases drafted for each cycle, held-out cases, cycles of an arm."""

    num_feedback_cases: int
    num_evaluation_cases: int
    cycles: int


@dataclass(frozen=True)
class Label:
    """S of one report of the log: the judge's (None: it gave none), and the true one."""

    group: str
    judge: float | None
    truth: float


@dataclass(frozen=True)
class CycleOutcome:
    """One cycle of one judge and seed.

    ``judged`` is the change of mean S in the judge's own eyes, ``reports`` the held-out reports of
    parent and candidate with the true scores. ``labels`` are the log's. Where the judge's labels
    gave nothing to train on, ``decision`` is NO_PAIRS, and there are no reports.
    """

    judge: str
    seed: int
    cycle: int
    decision: str
    judged: Interval | None
    reports: tuple[tuple[ScoredReport, ...], tuple[ScoredReport, ...]]
    labels: tuple[Label, ...]
    seconds: float


def simulation_recipe(size: Size) -> CycleRecipe:
    """The embedded recipe at this size: where the log comes from. Every report that is not right
    comes back with an edit, against which a judge can label it; no threads.
    """
    data = yaml.safe_load(RECIPE.read_text(encoding="utf-8"))
    data["cases"] |= {
        "num_feedback_cases": size.num_feedback_cases,
        "num_evaluation_cases": size.num_evaluation_cases,
    }
    data["feedback"]["min_events"] = 1
    data["feedback"]["readers"] |= {"reject_edits": 1.0, "thread_rate": 0.0}
    data["gate"]["min_cases"] = min(data["gate"]["min_cases"], size.num_evaluation_cases)
    kl_cases = min(data["evaluation"]["num_kl_cases"], size.num_evaluation_cases)
    data["evaluation"] |= {"num_kl_cases": kl_cases}
    return CycleRecipe.model_validate(data)


def judge_recipe(size: Size, judge: str) -> dict[str, Any]:
    """The recipe of one arm: the judge gives severities and decides, and its labels weigh the
    pairs. The scale of cycle 1 stays: no judge may learn from readers whose severities it lacks.
    """
    data = simulation_recipe(size).model_dump(mode="json", by_alias=True)
    data["feedback"] = {"source": "log", "min_events": 1}
    data["cases"]["num_feedback_cases"] = 0
    data["severity"] |= {"judge": "rules" if judge == READERS else judge, "calibrate": False}
    data["preferences"] |= {"pair_weight": "delta_S", "span_severity": False}
    for candidate in data["candidates"]:
        if candidate["reward"] is not None:
            candidate["reward"]["judge"] = None
    return copy.deepcopy(data)


def read_log(path: Path) -> list[Event]:
    """The events of a log that this program wrote."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [parse_event(json.loads(line)) for line in lines]


class CommandError(Exception):
    """A command failed; its last words."""


def _negalign(arguments: Sequence[str], threads: int) -> str:
    command = [sys.executable, "-m", "negalign_train.commands.cli", *arguments]
    env = os.environ | {"OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=ROOT, check=False)
    if done.returncode != 0:
        raise CommandError(f"negalign {arguments[0]} failed:\n{done.stderr[-3000:]}")
    return done.stdout


def run_cycle_of(
    folder: Path, judge: str, spec: str, size: Size, seed: int, cycle: int, threads: int
) -> CycleResult | None:
    """Imports the log of one cycle and runs it; what was done before is taken from the workspace.
    None: the judge's labels gave no pair to train on.

    Args:
        folder: of the seed, with its logs.
        judge: the arm's name, ``spec`` what its recipe says.
    """
    arm = folder / "arms" / judge.replace(":", "-").replace("/", "-")
    arm.mkdir(parents=True, exist_ok=True)
    recipe, workspace = arm / "cycle.yaml", arm / "workspace"
    recipe.write_text(yaml.safe_dump(judge_recipe(size, spec), sort_keys=False), encoding="utf-8")
    kind = "graded" if judge == READERS else "hidden"
    log = folder / f"{kind}-{cycle}.jsonl"
    _negalign(["feedback", "import", str(log), "--workspace", str(workspace)], threads)
    try:
        output = _negalign(
            ["cycle", "--config", str(recipe), "--workspace", str(workspace), "--seed", str(seed),
             "--cycles", str(cycle), "--json"],
            threads,
        )  # fmt: skip
    except CommandError as error:
        if "there is no pair" in str(error):
            return None
        raise
    return CycleResult.from_json(json.loads(output.splitlines()[-1]), judge)


def without_pairs(folder: Path, judge: str, seed: int, cycle: int) -> CycleOutcome:
    """A cycle that the judge's labels could not train."""
    events = read_log(folder / f"hidden-{cycle}.jsonl")
    labels = tuple(Label("", None, 0.0) for event in events if event.grade != "accept")
    return CycleOutcome(judge, seed, cycle, NO_PAIRS, None, ((), ()), labels, 0.0)


def outcome_of(
    folder: Path, judge: str, size: Size, seed: int, result: CycleResult
) -> CycleOutcome:
    """What the cycle decided, beside the ground truth on the same reports and on the log's."""
    from negalign_train.cycle.steps.evaluate import evaluation_path, read_evaluation

    arm = folder / "arms" / judge.replace(":", "-").replace("/", "-")
    place = Workspace(arm / "workspace")
    recipe = simulation_recipe(size)
    cases = {case.case_id: case for case in evaluation_cases(recipe.cases, seed)}
    parent, candidate = (
        _truly_scored(read_evaluation(evaluation_path(place, result.cycle, adapter)).reports, cases)
        for adapter in (result.parent, result.chosen_candidate.adapter)
    )
    known = None not in (result.mean_S_candidate, result.mean_S_before, result.ci_low)
    judged = None
    if known:
        change = (result.mean_S_candidate or 0.0) - (result.mean_S_before or 0.0)
        judged = Interval(change, result.ci_low or 0.0, result.ci_high or 0.0)
    log_cases = {c.case_id: c for c in feedback_cases(recipe.cases, result.cycle, seed)}
    snapshot = read_snapshot(place.cycle_dir(result.cycle) / "snapshot.parquet")
    truth = truth_for("synthetic")
    labels = tuple(
        Label(
            log_cases[event.case_id].group,
            event.total_severity,
            true_score(truth, log_cases[event.case_id], event.completion).total,
        )
        for _, event in snapshot
        if event.grade != "accept"
    )
    return CycleOutcome(
        judge, seed, result.cycle, result.decision, judged, (parent, candidate), labels,
        result.seconds,
    )  # fmt: skip


def _truly_scored(
    reports: Sequence[ScoredReport], cases: Mapping[str, Case]
) -> tuple[ScoredReport, ...]:
    truth = truth_for("synthetic")
    return tuple(
        replace(report, score=true_score(truth, cases[report.case_id], report.completion))
        for report in reports
    )


def true_change(outcomes: Sequence[CycleOutcome]) -> Interval | None:
    """The true change of mean S from parent to candidate, the cases of all seeds pooled; None where
    none trained.
    """
    sides: tuple[list[ScoredReport], list[ScoredReport]] = ([], [])
    for outcome in outcomes:
        for side, reports in zip(sides, outcome.reports, strict=True):
            side += [
                replace(r, case_id=f"{outcome.seed} {r.case_id}", group=f"{outcome.seed} {r.group}")
                for r in reports
            ]
    settings = BootstrapSettings(level=0.025, num_bootstrap=4000, severe_threshold=0.8, seed=0)
    comparison = paired_bootstrap(*sides, settings)
    return None if comparison is None else comparison.total
