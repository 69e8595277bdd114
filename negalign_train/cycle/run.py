"""One cycle from log to champion. Every step leaves a whole file, so any of them can die."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from sqlalchemy import Engine

from negalign_train.cycle.closing.page import write_page
from negalign_train.cycle.closing.seal import seal_cycle
from negalign_train.cycle.closing.summary import StepResults, cycle_data, summarise_cycle
from negalign_train.cycle.opening.checks import check_readers, check_recipe
from negalign_train.cycle.opening.generators import in_words, other_generators
from negalign_train.cycle.opening.plan import (
    SNAPSHOT,
    SUMMARY,
    Context,
    LocatedRecipe,
    check_same,
    completed_cycles,
    next_cycle,
    open_cycle,
    read_plan,
)
from negalign_train.cycle.opening.preflight import check_base, check_lengths
from negalign_train.cycle.steps.calibration import calibrate
from negalign_train.cycle.steps.evaluate import Evaluations, HeldOutCases, evaluate, held_out
from negalign_train.cycle.steps.feedback import UNKNOWN_SEVERITIES, Snapshot, take_snapshot
from negalign_train.cycle.steps.gate import (
    apply_decisions,
    decide_on_candidates,
    publish_candidates,
    sealed_records,
)
from negalign_train.cycle.steps.judging import check_judges
from negalign_train.cycle.steps.preferences import build
from negalign_train.cycle.steps.split import SPLIT
from negalign_train.cycle.steps.train import TrainedCandidate, train
from negalign_train.evaluation.gate_terms import GateRecord
from negalign_train.preferences.replay import COUNTS_FILE
from negalign_train.progress import Progress
from negalign_train.registry.lock import Lease, LockOwner, cycle_lock
from negalign_train.report.result import CycleData, CycleResult, read_result
from negalign_train.severity.pricing.calibration import Calibration
from negalign_train.storage.workspace import Workspace
from negalign_train.vocabulary.errors import CycleError


@dataclass
class _Clock:
    """Seconds by step; a step that was done before costs next to nothing."""

    progress: Progress
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def step(self, name: str, what: str) -> Iterator[None]:
        self.progress(what)
        start = time.monotonic()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - start


def run_cycle(context: Context, progress: Progress) -> CycleResult:
    """All steps of the open cycle; those already done are taken from disk."""
    clock = _Clock(progress)
    check_readers(context.recipe, context.store.reader_ids())
    check_base(context)
    check_judges(context)
    calibration = calibrate(context, clock.progress)
    snapshot = _gather_feedback(context, calibration, clock)
    data, cases = _build_preferences(context, snapshot, clock)
    ancestors = _evaluate_ancestors(context, cases, clock)
    trained = _train_candidates(context, calibration, clock)
    adapter_ids = _publish_candidates(context, trained, clock)
    evaluations = _evaluate_candidates(context, adapter_ids, ancestors, cases, clock)
    records = _decide(context, adapter_ids, evaluations, cases, clock)
    steps = StepResults(calibration, data, trained, evaluations, records, clock.seconds)
    result = summarise_cycle(context, steps)
    write_page(context, result, sealed_records(context))
    seal_cycle(context.workspace, context.engine, result)
    return result


def _gather_feedback(context: Context, calibration: Calibration, clock: _Clock) -> Snapshot:
    with clock.step("feedback", f"cycle {context.plan.cycle}: gathering graded feedback"):
        snapshot = take_snapshot(context, calibration, clock.progress)
    others = other_generators(context, (event for _, event in snapshot))
    if context.recipe.feedback.other_generators == "warn" and others:
        clock.progress(f"warning: events on another model's reports: {in_words(others)}")
    return snapshot


def _build_preferences(
    context: Context, snapshot: Snapshot, clock: _Clock
) -> tuple[CycleData, HeldOutCases]:
    with clock.step("preferences", f"building preferences from {len(snapshot)} events"):
        counts, cases = _training_files_and_cases(context)
        return cycle_data(context, snapshot, counts, cases), cases


def _training_files_and_cases(context: Context) -> tuple[Mapping[str, object], HeldOutCases]:
    """Writes the training files and picks the held-out cases. A log that is too thin is not frozen:
    import more, and the same command reads it again. What was built once stays, whatever candidates
    are added.
    """
    built = (context.folder / COUNTS_FILE).is_file()
    try:
        counts = build(context)
        check_lengths(context)
        return counts, held_out(context)
    except CycleError:
        if context.recipe.feedback.source == "log" and not built:
            for name in (SNAPSHOT, UNKNOWN_SEVERITIES, COUNTS_FILE, SPLIT):
                (context.folder / name).unlink(missing_ok=True)
        raise


def _evaluate_ancestors(context: Context, cases: HeldOutCases, clock: _Clock) -> Evaluations:
    """Before any training: held-out cases that cannot be evaluated show now, not hours later."""
    parent_id, origin_id = context.plan.parent, read_plan(context.workspace, 1).parent
    with clock.step("evaluate", f"evaluating the parent on {len(cases.gate)} held-out cases"):
        parent = evaluate(context, parent_id, cases, clock.progress)
    if origin_id == parent_id:
        return Evaluations(parent, parent, {})
    with clock.step("evaluate", "evaluating the model of the first cycle"):
        first = replace(cases, retention={})
        return Evaluations(parent, evaluate(context, origin_id, first, clock.progress), {})


def _train_candidates(
    context: Context, calibration: Calibration, clock: _Clock
) -> dict[str, TrainedCandidate]:
    trained = {}
    for candidate in context.recipe.candidates:
        with clock.step(f"train {candidate.name}", f"training candidate {candidate.name}"):
            trained[candidate.name] = train(context, candidate, calibration, clock.progress)
    return trained


def _publish_candidates(
    context: Context, trained: Mapping[str, TrainedCandidate], clock: _Clock
) -> dict[str, str]:
    with clock.step("publish", "publishing the candidates"):
        return publish_candidates(context, trained)


def _evaluate_candidates(
    context: Context,
    adapter_ids: Mapping[str, str],
    ancestors: Evaluations,
    cases: HeldOutCases,
    clock: _Clock,
) -> Evaluations:
    evaluations = {}
    for name, adapter_id in adapter_ids.items():
        with clock.step("evaluate", f"evaluating candidate {name}"):
            evaluations[name] = evaluate(context, adapter_id, cases, clock.progress)
    return replace(ancestors, candidates=evaluations)


def _decide(
    context: Context,
    adapter_ids: Mapping[str, str],
    evaluations: Evaluations,
    cases: HeldOutCases,
    clock: _Clock,
) -> tuple[GateRecord, ...]:
    with clock.step("gate", "deciding"):
        records = decide_on_candidates(context, adapter_ids, evaluations, cases)
        apply_decisions(context, records)
    return records


def run_cycles(
    workspace: Workspace,
    engine: Engine,
    recipe: LocatedRecipe,
    seed: int,
    progress: Progress,
    up_to: int | None = None,
    wait: bool = False,
) -> Iterator[CycleResult]:
    """Yields the result of each cycle as soon as it is finished.

    Args:
        up_to: bring the workspace to this many cycles, yielding the finished ones' results too;
            None finishes the unfinished cycle, or runs one new one.
        wait: wait for a cycle that another process runs in this workspace.

    Raises:
        LockedError: another process runs a cycle here, and ``wait`` is False.
        LostLockError: another process took the workspace over; this one stopped.
    """
    check_recipe(recipe, seed)
    finished = completed_cycles(workspace)
    if up_to is not None:
        for cycle in finished[:up_to]:
            _check_finished(workspace, cycle, recipe, seed)
            yield read_result(workspace.cycle_dir(cycle) / SUMMARY)
    last = next_cycle(workspace) if up_to is None else up_to
    while (cycle := next_cycle(workspace)) <= last:
        with cycle_lock(engine, cycle, wait=_waits(progress) if wait else None) as lease:
            if (free := next_cycle(workspace)) != cycle:
                # Another process finished it while this one waited.
                last = free if up_to is None else last
                continue
            now = datetime.now(UTC).isoformat(timespec="seconds")
            context = open_cycle(workspace, engine, recipe, seed, now)
            result = run_cycle(context, _checked(progress, lease))
        yield result


def _waits(progress: Progress) -> Callable[[LockOwner], None]:
    """Says once for whom it waits."""
    told: set[str] = set()

    def wait(owner: LockOwner) -> None:
        if owner.token not in told:
            told.add(owner.token)
            progress(f"waiting for {owner.describe()}")

    return wait


def _checked(progress: Progress, lease: Lease) -> Progress:
    """``progress``, after making sure that the workspace is still this process's."""

    def check(what: str) -> None:
        lease.check()
        progress(what)

    return check


def _check_finished(workspace: Workspace, cycle: int, located: LocatedRecipe, seed: int) -> None:
    """A finished cycle is reported only under the recipe and seed it was made with."""
    plan = read_plan(workspace, cycle)
    check_same(plan, located.recipe, seed, workspace.cycle_dir(cycle))
