"""Step 1: this cycle's graded events, frozen in ``snapshot.parquet``."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import pyarrow as pa

from negalign_train.cases.source import feedback_cases
from negalign_train.cycle.opening.generators import refuse_other_generators
from negalign_train.cycle.opening.plan import SNAPSHOT, Context
from negalign_train.cycle.steps.judging import first_judge
from negalign_train.feedback.snapshot import read_snapshot, write_snapshot
from negalign_train.generation.reports import Sampling
from negalign_train.generation.writers import report_writer
from negalign_train.progress import Progress, silent, time_left
from negalign_train.severity.judges.uses.filling import fill_severities
from negalign_train.severity.pricing.calibration import Calibration
from negalign_train.simulate.panel import truth_for
from negalign_train.simulate.readers import Draft, PanelSession, read_drafts
from negalign_train.storage.workspace import read_parquet, write_json, write_parquet
from negalign_train.training.policy.loading import load_for_inference, load_tokenizer
from negalign_train.vocabulary.approval import own_edits
from negalign_train.vocabulary.errors import CycleError, DataError
from negalign_train.vocabulary.records import Event, Generator

DRAFTS = "drafts.parquet"
UNKNOWN_SEVERITIES = "unknown_severities.json"
"""Event id to the reason why neither reader nor judge gave a severity."""
Snapshot = Sequence[tuple[int, Event]]
"""Frozen events, each after its place in the log."""
_DRAFTS = pa.schema([("case_id", pa.string()), ("completion", pa.string())])


def _write_drafts(context: Context, progress: Progress) -> None:
    """The champion's reports on this cycle's cases, ``drafts.parquet``."""
    path = context.folder / DRAFTS
    if path.is_file():
        return
    recipe, plan = context.recipe, context.plan
    cases = feedback_cases(recipe.cases, plan.cycle, plan.seed)
    adapter_dir = context.adapter_dir(plan.parent)
    temperature = recipe.feedback.draft_temperature
    sampling = Sampling(temperature, plan.seed * 1000 + plan.cycle) if temperature > 0 else None
    with report_writer(
        recipe.evaluation,
        context.served_base,
        adapter_dir,
        load_tokenizer(context.model_dir),
        lambda: load_for_inference(context.model_dir, adapter_dir, recipe.model.dtype),
    ) as writer:
        prompts = [case.prompt for case in cases]
        tick = time_left(f"drafting {len(cases)} reports", progress)
        reports = writer.write(prompts, recipe.model.max_new_tokens, sampling, tick)
    rows = [
        {"case_id": case.case_id, "completion": report.text}
        for case, report in zip(cases, reports, strict=True)
    ]
    write_parquet(path, rows, _DRAFTS)


def draft_counts(context: Context) -> dict[str, int]:
    """How many reports were drafted, and how many of them were empty: the generator failed there,
    and no reader could grade it. Nothing where the log was imported.
    """
    path = context.folder / DRAFTS
    if not path.is_file():
        return {}
    drafts = [row["completion"] for row in read_parquet(path)]
    return {"drafts": len(drafts), "drafts_empty": sum(not text.strip() for text in drafts)}


def _read_by_panel(context: Context) -> None:
    """Simulated readers grade the drafts; their events go through the log like any other."""
    recipe, plan = context.recipe, context.plan
    cases = {c.case_id: c for c in feedback_cases(recipe.cases, plan.cycle, plan.seed)}
    generator = Generator(plan.base_name, plan.parent)
    drafts = [
        Draft(cases[row["case_id"]], row["completion"], generator)
        for row in read_parquet(context.folder / DRAFTS)
        if row["completion"].strip()
    ]
    if not drafts:
        (context.folder / DRAFTS).unlink()  # nothing depends on it yet
        raise CycleError(
            f"cycle {plan.cycle}: every draft of {recipe.model.model_name_or_path} is empty, and "
            "there is nothing to grade; check that the model writes reports, and its chat template"
        )
    start = datetime.fromisoformat(plan.created_at)
    session = PanelSession(
        panel=recipe.feedback.readers,
        truth=truth_for(recipe.cases.source),
        cycle=plan.cycle,
        seed=plan.seed,
        clock=lambda number: (start + timedelta(seconds=number)).isoformat(),
    )
    report = context.store.append(read_drafts(drafts, session), source="simulated readers")
    if report.quarantined:
        raise CycleError(
            f"{report.quarantined} simulated events were quarantined ({dict(report.reasons)}); "
            "this is a bug of simulate/, please report it"
        )


def freeze_events(
    context: Context, events: Snapshot, calibration: Calibration, progress: Progress = silent
) -> None:
    """Writes the snapshot, with the severities that readers left out judged against their own
    edits, and before it ``unknown_severities.json``: why some still have none.

    Raises:
        CycleError: the judge failed on most of them.
    """
    graded = [event for _, event in events]
    try:
        filled = fill_severities(
            graded,
            own_edits(graded),
            first_judge(context),
            calibration.label(),
            calibration.apply,
            progress,
        )
    except DataError as error:
        raise CycleError(f"cycle {context.plan.cycle}: {error}") from error
    write_json(context.folder / UNKNOWN_SEVERITIES, dict(filled.unknown))
    sequences = (sequence for sequence, _ in events)
    write_snapshot(context.folder / SNAPSHOT, list(zip(sequences, filled.events, strict=True)))


def take_snapshot(
    context: Context, calibration: Calibration, progress: Progress = silent
) -> Snapshot:
    """Freezes the events that are new since the last cycle, and returns them.

    Raises:
        CycleError: there are fewer than ``feedback.min_events``, or another model wrote the
            reports and the recipe refuses such events.
    """
    path = context.folder / SNAPSHOT
    if path.is_file():
        return read_snapshot(path)
    settings = context.recipe.feedback
    if settings.source == "simulated":
        _write_drafts(context, progress)
        _read_by_panel(context)
    events = context.store.events(after_sequence=context.plan.after_sequence)
    if len(events) < settings.min_events:
        raise CycleError(
            f"cycle {context.plan.cycle} has {len(events)} new events in the feedback log and "
            f"needs {settings.min_events} (feedback.min_events); import more with "
            "`negalign feedback import`, or lower it"
        )
    refuse_other_generators(context, [event for _, event in events])
    freeze_events(context, events, calibration, progress)
    return read_snapshot(path)
