"""Step 0: what the readers of earlier cycles teach the scorer, ``calibration.json``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from negalign_train.cycle.opening.plan import SNAPSHOT, Context
from negalign_train.cycle.steps.judging import first_judge, judgements
from negalign_train.cycle.steps.split import SPLIT, read_split
from negalign_train.feedback.snapshot import read_snapshot
from negalign_train.preferences.view import newest_events
from negalign_train.progress import Progress, silent
from negalign_train.registry.provenance import git_commit, library_versions
from negalign_train.report.result import Rescaling, ScorerUsed
from negalign_train.severity.judges.examples import GradedExample, graded_examples
from negalign_train.severity.judges.uses.asking import scores_of
from negalign_train.severity.pricing.calibration import Calibration, identity, read_calibration
from negalign_train.severity.trust.calibration_fit import FitSettings, fit_calibration
from negalign_train.storage.fingerprint import file_sha256, fingerprint
from negalign_train.storage.workspace import write_json
from negalign_train.vocabulary.errors import CycleError, DataError
from negalign_train.vocabulary.records import Event

CALIBRATION = "calibration.json"
_LIBRARIES = ("numpy",)


def _earlier_events(context: Context) -> list[Event]:
    """The newest revision of every event that an earlier cycle froze."""
    return newest_events(
        event
        for cycle in range(1, context.plan.cycle)
        for _, event in read_snapshot(context.workspace.cycle_dir(cycle) / SNAPSHOT)
    )


def _examples(context: Context) -> list[GradedExample]:
    """Reports of training groups with their readers' severities and edits.

    Held-out cases teach nothing here: the gate and the retention guardrails decide on them.
    """
    split = read_split(context, context.plan.cycle - 1)
    events = [event for event in _earlier_events(context) if split.trains(event.case_id)]
    examples, _ = graded_examples(events, split.groups, own_edit_only=True)
    return examples


def _fitted(context: Context, progress: Progress) -> Calibration:
    opened = first_judge(context)
    judge = (opened.name, opened.version)
    settings = context.recipe.severity
    if not settings.calibrate:
        return identity(*judge, "switched off (severity.calibrate)")
    if context.plan.cycle == 1:
        return identity(*judge, "the first cycle: no earlier cycle's readers to learn from")
    examples = _examples(context)
    pairs = [example.pair for example in examples]
    scores = scores_of(judgements(context, opened, pairs, progress))
    fitted = fit_calibration(
        judge,
        examples,
        [None if score is None else score.severities for score in scores],
        FitSettings(settings.min_events, settings.min_groups, settings.confidence),
    )
    return replace(
        fitted,
        cycles=tuple(range(1, context.plan.cycle)),
        versions=library_versions(_LIBRARIES)
        | {"git_commit": git_commit(Path(__file__).parent) or "unknown"},
    )


def _made_of(context: Context) -> str:
    """Fingerprint of what decides the calibration: settings, judge, and earlier cycles' events."""
    settings, plan = context.recipe.severity, context.plan
    judge = first_judge(context)
    files = {}
    if settings.calibrate and plan.cycle > 1:
        folders = [context.workspace.cycle_dir(cycle) for cycle in range(1, plan.cycle)]
        paths = [*(folder / SNAPSHOT for folder in folders), folders[-1] / SPLIT]
        files = {f"{path.parent.name}/{path.name}": file_sha256(path) for path in paths}
    return fingerprint(
        {
            "settings": settings.model_dump(mode="json", exclude={"judge", "server"}),
            "scorer": [judge.name, judge.version],
            "files": files,
        }
    )


def calibrate(context: Context, progress: Progress = silent) -> Calibration:
    """The calibration of this cycle, ``calibration.json``: fitted before its events are frozen,
    and fitted again if what it was made of has changed until then.

    Raises:
        CycleError: the events are frozen with severities of another scorer or calibration.
    """
    path = context.folder / CALIBRATION
    made_of, judge = _made_of(context), first_judge(context)
    problem = f"{path} was made by another scorer, or of other earlier cycles"
    if path.is_file():
        try:
            stored = read_calibration(path, judge.name, judge.version)
        except DataError as error:
            problem = str(error)
        else:
            if stored.made_of == made_of:
                return stored
        if (context.folder / SNAPSHOT).is_file():
            raise CycleError(
                f"{problem}. The events of cycle {context.plan.cycle} are frozen with its "
                f"severities: finish the cycle with the release that began it, or delete "
                f"{context.folder} to start the cycle anew; the log still holds every event"
            )
    write_json(path, replace(_fitted(context, progress), made_of=made_of).to_json())
    return read_calibration(path, judge.name, judge.version)


def scorer_used(calibration: Calibration, unscored: Mapping[str, int]) -> ScorerUsed:
    """Who gave the severities of this cycle, for its result.

    Args:
        unscored: of the candidate's held-out reports, those without a score by reason.
    """
    scales = {name: calibration.categories[name] for name in calibration.adopted}
    return ScorerUsed(
        judge=calibration.judge,
        version=calibration.judge_version,
        calibration=calibration.digest,
        rescaled={name: Rescaling(each.scale, each.exponent) for name, each in scales.items()},
        reason=calibration.reason,
        unscored=unscored,
    )
