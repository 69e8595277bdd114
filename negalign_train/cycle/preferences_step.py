"""Step 2: snapshot to pairs, unpaired examples and prompts; held-out cases set aside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace

from negalign_train.cycle.generators import other_generators
from negalign_train.cycle.plan import Context
from negalign_train.cycle.split import events_by_cycle, make_split, without_control_tokens
from negalign_train.errors import CycleError
from negalign_train.feedback.stats import log_stats
from negalign_train.preferences.build import build_preferences
from negalign_train.preferences.files import write_pairs, write_prompts, write_unpaired
from negalign_train.preferences.replay import (
    COUNTS_FILE,
    PAIRS_FILE,
    PROMPTS_FILE,
    UNPAIRED_FILE,
    EarlierExamples,
    read_earlier,
    with_replay,
)
from negalign_train.records import Event
from negalign_train.special_tokens import SPECIAL_TOKEN
from negalign_train.workspace import read_json, write_json


def _earlier(context: Context, events: Mapping[int, Sequence[Event]]) -> EarlierExamples:
    """What earlier cycles made, less the cases whose events readers have revised since."""
    cycle = context.plan.cycle
    known = {event.event_id for c, some in events.items() if c < cycle for event in some}
    revised = {event.case_id for event in events[cycle] if event.event_id in known}
    found = read_earlier((c, context.workspace.cycle_dir(c)) for c in range(1, cycle))
    return replace(
        found,
        pairs=tuple(x for x in found.pairs if x.case_id not in revised),
        unpaired=tuple(x for x in found.unpaired if x.case_id not in revised),
        prompts=tuple(x for x in found.prompts if x.case_id not in revised),
    )


def build(context: Context) -> dict[str, object]:
    """Writes the three training files and ``preferences.json``; returns its counts.

    Raises:
        CycleError: nothing is left to train on.
    """
    folder, plan, settings = context.folder, context.plan, context.recipe.preferences
    if (folder / COUNTS_FILE).is_file():
        counts: dict[str, object] = read_json(folder / COUNTS_FILE)
        return counts
    events = events_by_cycle(context)
    split = make_split(context, events)
    own = without_control_tokens(context, events)[plan.cycle]
    train = [event for event in own if split.trains(event.case_id)]
    fresh = build_preferences(train, settings, plan.cycle, split.groups)
    kept_back = split.held_out | split.frozen
    mixed = with_replay(
        fresh, _earlier(context, events), settings.replay_fraction, kept_back, plan.seed
    )
    refused = dict(mixed.refusals.counts)
    if forged := len(events[plan.cycle]) - len(own):
        refused[SPECIAL_TOKEN] = forged
    if not mixed.pairs:
        raise CycleError(
            f"cycle {plan.cycle}: {len(train)} training events gave no pair and "
            f"{len(mixed.unpaired)} labels (refused: {refused}); a pair needs "
            "a corrected report: import feedback with edits and severities"
        )
    write_pairs(folder / PAIRS_FILE, mixed.pairs)
    write_unpaired(folder / UNPAIRED_FILE, mixed.unpaired)
    write_prompts(folder / PROMPTS_FILE, mixed.prompts)
    counts = {
        "events": len(events[plan.cycle]),
        "events_held_out": sum(split.groups[event.case_id] in split.held_out for event in own),
        "events_of_evaluation_cases": sum(
            split.groups[event.case_id] in split.frozen for event in own
        ),
        "events_of_other_generators": other_generators(context, own).total(),
        "severities_from_reader": sum(event.severity_source == "reader" for event in own),
        "severities_from_scorer": sum(event.severity_source == "scorer" for event in own),
        "severities_unknown": sum(event.severities is None for event in own),
        "pairs": len(mixed.pairs),
        "pairs_replayed": len(mixed.pairs) - len(fresh.pairs),
        "unpaired": len(mixed.unpaired),
        "desirable": sum(example.label for example in mixed.unpaired),
        "prompts": len(mixed.prompts),
        "refused": refused,
        "readers": asdict(log_stats(own)),
    }
    write_json(folder / COUNTS_FILE, counts)
    return counts
