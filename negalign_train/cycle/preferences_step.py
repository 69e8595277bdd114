"""Step 2: snapshot to pairs, unpaired examples and prompts; held-out cases set aside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from negalign_train.cases.source import evaluation_cases, feedback_cases
from negalign_train.cycle.plan import Context
from negalign_train.errors import CycleError
from negalign_train.feedback.snapshot import read_snapshot
from negalign_train.feedback.stats import log_stats
from negalign_train.preferences.build import build_preferences
from negalign_train.preferences.files import write_pairs, write_prompts, write_unpaired
from negalign_train.preferences.replay import (
    PAIRS_FILE,
    PROMPTS_FILE,
    UNPAIRED_FILE,
    read_earlier,
    with_replay,
)
from negalign_train.preferences.splits import case_groups, split_events
from negalign_train.records import Case, Event
from negalign_train.workspace import read_json, write_json

_COUNTS = "preferences.json"


@dataclass(frozen=True)
class HeldOut:
    """Held-out cases of the log, by the cycle whose readers graded them."""

    by_cycle: dict[int, list[Case]]

    def all_cases(self) -> list[Case]:
        return [case for cases in self.by_cycle.values() for case in cases]


def _snapshots(context: Context) -> dict[int, list[Event]]:
    cycles = range(1, context.plan.cycle + 1)
    return {
        cycle: [
            event
            for _, event in read_snapshot(context.workspace.cycle_dir(cycle) / "snapshot.parquet")
        ]
        for cycle in cycles
    }


def _known_groups(context: Context) -> dict[str, str]:
    """Split groups that the case source knows; a plain log has none."""
    recipe, plan = context.recipe, context.plan
    if recipe.feedback.source != "simulated":
        return {}
    return {
        case.case_id: case.group
        for cycle in range(1, plan.cycle + 1)
        for case in feedback_cases(recipe.cases, cycle, plan.seed)
    }


def _case_of(event: Event, group: str) -> Case | None:
    """A held-out case from an event: its reference is what the reader approved; None without."""
    reference = event.completion if event.grade == "accept" else event.edited
    if reference is None or not isinstance(event.prompt, str):
        return None
    return Case(event.case_id, group, event.prompt, reference, source="log")


def held_out_cases(context: Context) -> HeldOut:
    """The held-out cases of every cycle so far, one per case, in a fixed order."""
    snapshots = _snapshots(context)
    groups = case_groups(
        [event for events in snapshots.values() for event in events], _known_groups(context)
    )
    fraction = context.recipe.preferences.held_out_fraction
    by_cycle: dict[int, list[Case]] = {}
    for cycle, events in snapshots.items():
        split = split_events(events, groups, fraction, context.plan.seed)
        cases: dict[str, Case] = {}
        for event in sorted(split.held_out, key=lambda event: (event.case_id, event.turn)):
            case = _case_of(event, groups[event.case_id])
            if case is not None:
                cases[case.case_id] = case
        by_cycle[cycle] = list(cases.values())
    return HeldOut(by_cycle)


def build(context: Context) -> dict[str, object]:
    """Writes the three training files and ``preferences.json``; returns its counts.

    Raises:
        CycleError: nothing is left to train on.
    """
    folder, plan, settings = context.folder, context.plan, context.recipe.preferences
    if (folder / _COUNTS).is_file():
        counts: dict[str, object] = read_json(folder / _COUNTS)
        return counts
    snapshots = _snapshots(context)
    events = snapshots[plan.cycle]
    groups = case_groups([e for es in snapshots.values() for e in es], _known_groups(context))
    frozen = {case.group for case in evaluation_cases(context.recipe.cases, plan.seed)}
    split = split_events(events, groups, settings.held_out_fraction, plan.seed)
    train = [event for event in split.train if groups[event.case_id] not in frozen]
    fresh = build_preferences(train, settings, plan.cycle, groups)
    earlier = read_earlier((c, context.workspace.cycle_dir(c)) for c in range(1, plan.cycle))
    held_out = split.held_out_groups | frozen
    mixed = with_replay(fresh, earlier, settings.replay_fraction, held_out, plan.seed)
    if not mixed.unpaired:
        raise CycleError(
            f"cycle {plan.cycle}: none of {len(train)} training events gave a pair or a label "
            f"(refused: {dict(mixed.refusals.counts)}); import more feedback, or give edits and "
            "severities with it"
        )
    write_pairs(folder / PAIRS_FILE, mixed.pairs)
    write_unpaired(folder / UNPAIRED_FILE, mixed.unpaired)
    write_prompts(folder / PROMPTS_FILE, mixed.prompts)
    counts = {
        "events": len(events),
        "events_held_out": len(split.held_out),
        "events_of_evaluation_cases": len(split.train) - len(train),
        "severities_from_scorer": _scored(events),
        "pairs": len(mixed.pairs),
        "pairs_replayed": len(mixed.pairs) - len(fresh.pairs),
        "unpaired": len(mixed.unpaired),
        "desirable": sum(example.label for example in mixed.unpaired),
        "prompts": len(mixed.prompts),
        "refused": dict(mixed.refusals.counts),
        "readers": asdict(log_stats(events)),
    }
    write_json(folder / _COUNTS, counts)
    return counts


def _scored(events: Sequence[Event]) -> int:
    return sum(event.severity_source == "scorer" for event in events)
