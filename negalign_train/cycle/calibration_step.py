"""Step 0: what the readers of earlier cycles teach the scorer, ``calibration.json``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from negalign_train.cycle.plan import Context
from negalign_train.cycle.split import read_split
from negalign_train.errors import CycleError, DataError
from negalign_train.feedback.snapshot import read_snapshot
from negalign_train.preferences.edges import newest_events
from negalign_train.records import Event
from negalign_train.registry.provenance import git_commit, library_versions
from negalign_train.severity.calibration import Calibration, identity, read_calibration
from negalign_train.severity.calibration_fit import FitSettings, fit_calibration
from negalign_train.severity.examples import JudgedExample, judged_examples
from negalign_train.severity.judges.rules import RulesJudge
from negalign_train.severity.score import score_report
from negalign_train.workspace import write_json

CALIBRATION = "calibration.json"
_LIBRARIES = ("numpy",)


def _earlier_events(context: Context) -> list[Event]:
    """The newest revision of every event that an earlier cycle froze."""
    return newest_events(
        event
        for cycle in range(1, context.plan.cycle)
        for _, event in read_snapshot(context.workspace.cycle_dir(cycle) / "snapshot.parquet")
    )


def _examples(context: Context) -> list[JudgedExample]:
    """Reports of training groups with their readers' severities and edits.

    Held-out cases teach nothing here: the gate and the retention checks judge on them.
    """
    split = read_split(context, context.plan.cycle - 1)
    events = [event for event in _earlier_events(context) if split.trains(event.case_id)]
    examples, _ = judged_examples(events, split.groups, own_edit_only=True)
    return examples


def _fitted(context: Context) -> Calibration:
    judge = (RulesJudge.name, RulesJudge().version)
    settings = context.recipe.severity
    if not settings.calibrate:
        return identity(*judge, "switched off (severity.calibrate)")
    if context.plan.cycle == 1:
        return identity(*judge, "the first cycle: no earlier cycle's readers to learn from")
    examples = _examples(context)
    scores = [score_report(example.reference, example.candidate) for example in examples]
    found = fit_calibration(
        judge,
        examples,
        [None if score is None else score.severities for score in scores],
        FitSettings(settings.min_events, settings.min_groups, settings.confidence),
    )
    return replace(
        found,
        cycles=tuple(range(1, context.plan.cycle)),
        versions=library_versions(_LIBRARIES)
        | {"git_commit": git_commit(Path(__file__).parent) or "unknown"},
    )


def calibrate(context: Context) -> Calibration:
    """The calibration of this cycle: fitted once, before its events are frozen, and then read.

    Raises:
        CycleError: the file was made by another version of the scorer, or changed by hand.
    """
    path = context.folder / CALIBRATION
    if not path.is_file():
        write_json(path, _fitted(context).to_json())
    try:
        return read_calibration(path, RulesJudge.name, RulesJudge().version)
    except DataError as error:
        raise CycleError(
            f"{error}. To go on with this release, delete {path}: it is then made anew from the "
            "earlier cycles"
        ) from error


def scorer_record(context: Context) -> dict[str, Any]:
    """Who gave the severities of this cycle, for its summary."""
    found = calibrate(context)
    return {
        "judge": found.judge,
        "version": found.judge_version,
        "calibration": found.digest,
        "rescaled": {
            name: {
                "scale": found.categories[name].scale,
                "exponent": found.categories[name].exponent,
            }
            for name in found.adopted
        },
        "reason": found.reason,
    }
