"""Where `negalign judge` takes its reports from: a log or a workspace, and which of them count."""

from __future__ import annotations

from pathlib import Path

from negalign_train.cases.splits import group_fraction
from negalign_train.commands.support.common import open_engine
from negalign_train.feedback.importers.native import native_entries
from negalign_train.feedback.source import open_input
from negalign_train.feedback.store import FeedbackStore
from negalign_train.preferences.case_groups import case_groups
from negalign_train.preferences.view import newest_events
from negalign_train.severity.judges.examples import GradedExample, graded_examples
from negalign_train.severity.trust.expert.graded import graded_reports
from negalign_train.severity.trust.expert.set_files import read_expert_set
from negalign_train.storage.database import open_for_reading
from negalign_train.storage.workspace import Workspace, read_json
from negalign_train.vocabulary.errors import DataError, FeedbackError, UsageError
from negalign_train.vocabulary.records import Event, Refusals


def log_events(
    log: list[Path] | None, workspace: Path | None, database_url: str | None, held_out: bool
) -> tuple[list[Event], frozenset[str] | None]:
    """The newest events, and the case ids that count (None: all).

    Raises:
        UsageError: neither or both of a log and a workspace are given.
    """
    if (log is None) == (workspace is None):
        raise UsageError("give either --log FILE or --workspace FOLDER")
    if log is not None:
        if held_out:
            raise UsageError("--held-out needs --workspace: a log knows no split")
        return newest_events(_read_log(log)), None
    assert workspace is not None
    store = FeedbackStore(open_engine(workspace, database_url, opened=open_for_reading))
    events = newest_events(event for _, event in store.events())
    return events, _held_out_cases(workspace) if held_out else None


def _read_log(files: list[Path]) -> list[Event]:
    """Every event of the files; a log with a line that is none is refused, as nothing is lost."""
    events = []
    for file in files:
        for number, entry in enumerate(native_entries(open_input(file)), 1):
            if entry.event is None:
                line = number if entry.place is None else entry.place.number
                raise FeedbackError(
                    f"{file}, line {line}: {entry.problem or 'breaks off'}; import the log into a "
                    "workspace, which sets such lines aside, or mend it"
                ) from entry.problem
            events.append(entry.event)
    return events


def _held_out_cases(workspace: Path) -> frozenset[str]:
    """Case ids whose group no cycle of the workspace trains on, as its last cycle's split says."""
    from negalign_train.cycle.opening.plan import completed_cycles
    from negalign_train.cycle.steps.split import SPLIT

    place = Workspace(workspace)
    cycles = completed_cycles(place)
    if not cycles:
        raise DataError(f"{workspace}: no cycle is complete, so that nothing is held out yet")
    split = read_json(place.cycle_dir(cycles[-1]) / SPLIT)
    kept = set(split["held_out"]) | set(split["frozen"])
    return frozenset(case for case, group in split["groups"].items() if group in kept)


def examples_of(events: list[Event]) -> tuple[list[GradedExample], Refusals]:
    return graded_examples(events, case_groups(events, {}))


def training_examples(
    log: list[Path] | None, workspace: Path | None, database_url: str | None, rated: Path | None
) -> tuple[list[GradedExample], Refusals]:
    """The examples of a log or workspace, of a file of rated reports, or of both.

    Raises:
        UsageError: there is neither, or both a log and a workspace.
    """
    if rated is None:
        return examples_of(log_events(log, workspace, database_url, held_out=False)[0])
    examples, refused = graded_reports(read_expert_set(rated))
    if log is None and workspace is None:
        return examples, refused
    of_log, left_out = examples_of(log_events(log, workspace, database_url, held_out=False)[0])
    return [*of_log, *examples], Refusals({**left_out.counts, **refused.counts})


def unseen_by(examples: list[GradedExample], specs: list[str]) -> list[GradedExample]:
    """The examples that none of the finetuned judges was trained on."""
    folders = [Path(spec.partition(":")[2]) for spec in specs if spec.startswith("finetuned:")]
    if not folders:
        return examples
    from negalign_train.severity.judges.finetuned import trained_on

    rules = [trained_on(folder) for folder in folders]
    return [
        e
        for e in examples
        if all(group_fraction(e.group, r.seed) < r.held_out_fraction for r in rules)
    ]
