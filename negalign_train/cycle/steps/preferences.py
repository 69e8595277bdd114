"""Step 2: snapshot to pairs, unpaired examples and prompts; held-out cases set aside."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from negalign_train.cycle.opening.generators import other_generators
from negalign_train.cycle.opening.plan import Context
from negalign_train.cycle.opening.requirements import check_candidates_have_data
from negalign_train.cycle.steps.feedback import UNKNOWN_SEVERITIES
from negalign_train.cycle.steps.split import (
    Split,
    events_by_cycle,
    make_split,
    without_cases_of_two_studies,
    without_control_tokens,
)
from negalign_train.feedback.stats import log_stats
from negalign_train.preferences.build import PreferenceSet, build_preferences
from negalign_train.preferences.files import write_pairs, write_prompts, write_unpaired
from negalign_train.preferences.replay import (
    COUNTS_FILE,
    PAIRS_FILE,
    PROMPTS_FILE,
    UNPAIRED_FILE,
    Draw,
    read_earlier,
    still_standing,
    with_replay,
)
from negalign_train.recipe.launch_file import read_launch_file
from negalign_train.storage.workspace import read_json, write_json
from negalign_train.vocabulary.approval import usable_edit
from negalign_train.vocabulary.case_ids import CASE_OF_TWO_STUDIES
from negalign_train.vocabulary.records import Event
from negalign_train.vocabulary.special_tokens import SPECIAL_TOKEN


def build(context: Context) -> dict[str, object]:
    """Writes the three training files and ``preferences.json``; returns its counts.

    Raises:
        CycleError: a candidate of the recipe has nothing to train on.
    """
    path = context.folder / COUNTS_FILE
    built = path.is_file()
    counts: dict[str, object] = read_json(path) if built else _build(context)
    # Candidates may change in an unfinished cycle, so what is built is looked at again.
    processes = read_launch_file(context.located.accelerate_config()).num_processes
    check_candidates_have_data(context.recipe, context.plan.cycle, counts, processes)
    if not built:
        write_json(path, counts)
    return counts


def _build(context: Context) -> dict[str, object]:
    folder, plan, settings = context.folder, context.plan, context.recipe.preferences
    events = events_by_cycle(context)
    split = make_split(context, events)
    one_study = without_cases_of_two_studies(events)
    clean = without_control_tokens(context, one_study)
    cycles = {event.event_id: cycle for cycle, some in clean.items() for event in some}
    fresh = build_preferences(
        [event for some in clean.values() for event in some if split.trains(event.case_id)],
        settings,
        plan.cycle,
        split.groups,
        cycles,
        join_equal_prompts=context.recipe.cases.joins_equal_prompts,
    )
    earlier = read_earlier((c, context.workspace.cycle_dir(c)) for c in range(1, plan.cycle))
    standing = still_standing(earlier, fresh.standing)
    draw = Draw(plan.seed, plan.cycle)
    mixed = with_replay(fresh, standing, settings.replay_fraction, split.kept_back, draw)
    write_pairs(folder / PAIRS_FILE, mixed.pairs)
    write_unpaired(folder / UNPAIRED_FILE, mixed.unpaired)
    write_prompts(folder / PROMPTS_FILE, mixed.prompts)
    own = clean[plan.cycle]
    refused = dict(mixed.refusals.counts) | {
        CASE_OF_TWO_STUDIES: len(events[plan.cycle]) - len(one_study[plan.cycle]),
        SPECIAL_TOKEN: len(one_study[plan.cycle]) - len(own),
    }
    return (
        {"events": len(events[plan.cycle])}
        | _event_counts(own, split)
        | {"events_of_other_generators": other_generators(context, own).total()}
        | _severity_counts(own, read_json(folder / UNKNOWN_SEVERITIES))
        | _example_counts(mixed, fresh)
        | {
            "replay_no_longer_valid": earlier.total - standing.total,
            "refused": {reason: count for reason, count in refused.items() if count},
            "readers": asdict(log_stats(own)),
        }
    )


def _event_counts(own: Sequence[Event], split: Split) -> dict[str, Any]:
    """Where the cycle's events went: trained on, or why not. Those with a control token in them,
    and those of a case id with two studies, are not among them; they are counted as refused.
    """
    fates = Counter(split.fate(event.case_id) for event in own)
    edited = Counter(split.fate(event.case_id) for event in own if usable_edit(event) is not None)
    groups = {split.groups[event.case_id] for event in own}
    return {
        "events_with_edit": edited.total(),
        "events_trained": fates["trained"],
        "events_trained_with_edit": edited["trained"],
        "events_held_out": fates["held_out"],
        "events_of_evaluation_cases": fates["evaluation"],
        "events_withdrawn": fates["withdrawn"],
        "groups": len(groups),
        "groups_held_out": len(groups & split.held_out - split.frozen),
    }


def _severity_counts(own: Sequence[Event], unknown: Mapping[str, str]) -> dict[str, Any]:
    """Who gave the severities of the cycle's events, and why some have none."""
    reasons = Counter(unknown[event.event_id] for event in own if event.severities is None)
    sources: Mapping[str | None, int] = Counter(event.severity_source for event in own)
    return {
        "severities_from_reader": sources["reader"],
        "severities_from_scorer": sources["scorer"],
        "severities_unknown": sum(event.severities is None for event in own),
        "severities_unknown_because": dict(sorted(reasons.items())),
    }


def _example_counts(mixed: PreferenceSet, fresh: PreferenceSet) -> dict[str, Any]:
    return {
        "pairs": len(mixed.pairs),
        "pairs_replayed": len(mixed.pairs) - len(fresh.pairs),
        "unpaired": len(mixed.unpaired),
        "unpaired_replayed": len(mixed.unpaired) - len(fresh.unpaired),
        "desirable": sum(example.label for example in mixed.unpaired),
        "label_groups": len({example.group for example in mixed.unpaired}),
        "prompts": len(mixed.prompts),
        "prompts_replayed": len(mixed.prompts) - len(fresh.prompts),
    }
