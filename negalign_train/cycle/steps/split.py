"""Which cases are held out of training: decided once, when a case is first read, and kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Literal

from negalign_train.cases.source import evaluation_cases, feedback_cases, file_cases
from negalign_train.cycle.opening.plan import SNAPSHOT, Context
from negalign_train.feedback.snapshot import read_snapshot
from negalign_train.preferences.case_groups import (
    case_groups,
    groups_on_both_sides,
    held_out_groups,
)
from negalign_train.preferences.view import newest_events, prompt_key, view_log
from negalign_train.severity.pricing.score import explain_unscorable
from negalign_train.storage.workspace import read_json, write_json
from negalign_train.training.policy.loading import load_tokenizer
from negalign_train.training.rows.turns import special_strings
from negalign_train.vocabulary.approval import approved_text
from negalign_train.vocabulary.case_ids import cases_of_two_studies
from negalign_train.vocabulary.errors import CycleError
from negalign_train.vocabulary.records import Case, Event
from negalign_train.vocabulary.special_tokens import without_special_tokens

SPLIT = "split.json"
Fate = Literal["trained", "held_out", "evaluation", "withdrawn"]


@dataclass(frozen=True)
class Split:
    """Case id to group, and the groups no cycle trains on.

    ``frozen`` are the groups that hold a frozen evaluation case, ``held_out`` those held out of the
    log, and ``withdrawn`` those that were trained on until an event showed that they share a study
    or a patient with one of the others: they are not evaluated on either.
    """

    groups: Mapping[str, str]
    held_out: frozenset[str]
    frozen: frozenset[str]
    withdrawn: frozenset[str]

    @property
    def kept_back(self) -> frozenset[str]:
        """All groups that are not trained on."""
        return self.held_out | self.frozen | self.withdrawn

    def trains(self, case_id: str) -> bool:
        return self.groups[case_id] not in self.kept_back

    def fate(self, case_id: str) -> Fate:
        """What happens to the events of a case."""
        group = self.groups[case_id]
        if group in self.frozen:
            return "evaluation"
        if group in self.withdrawn:
            return "withdrawn"
        return "held_out" if group in self.held_out else "trained"


def events_by_cycle(context: Context) -> dict[int, list[Event]]:
    """The frozen events of this cycle and every earlier one. An event that was revised since is the
    revision's cycle's: what it said before no longer counts.
    """
    frozen = {
        cycle: [event for _, event in read_snapshot(context.workspace.cycle_dir(cycle) / SNAPSHOT)]
        for cycle in range(1, context.plan.cycle + 1)
    }
    newest = {event.event_id: cycle for cycle, some in frozen.items() for event in some}
    return {
        cycle: [event for event in some if newest[event.event_id] == cycle]
        for cycle, some in frozen.items()
    }


def without_control_tokens(
    context: Context, events: Mapping[int, Sequence[Event]]
) -> dict[int, list[Event]]:
    """The events less those in whose texts a control token of the base's tokenizer stands: none of
    them is trained or evaluated on.
    """
    own = special_strings(load_tokenizer(context.model_dir))
    return {cycle: without_special_tokens(some, own) for cycle, some in events.items()}


def without_cases_of_two_studies(
    events: Mapping[int, Sequence[Event]],
) -> dict[int, list[Event]]:
    """The events less those whose case id carries two studies or two patients anywhere in the log:
    none of them is trained or evaluated on.
    """
    mixed = cases_of_two_studies(newest_events(e for some in events.values() for e in some))
    return {
        cycle: [event for event in some if event.case_id not in mixed]
        for cycle, some in events.items()
    }


def read_split(context: Context, cycle: int) -> Split:
    """The split that cycle ``cycle`` made.

    Raises:
        CycleError: another release made it.
    """
    path = context.workspace.cycle_dir(cycle) / SPLIT
    data = read_json(path)
    missing = [field.name for field in fields(Split) if field.name not in data]
    if missing:
        raise CycleError(
            f"{path} lacks {', '.join(missing)}: another release wrote it. Go on with that one, or "
            "take the log into a new workspace (`negalign feedback export`)"
        )
    kept_back = (frozenset(data[name]) for name in ("held_out", "frozen", "withdrawn"))
    return Split(data["groups"], *kept_back)


def make_split(context: Context, events: Mapping[int, Sequence[Event]]) -> Split:
    """The split of this cycle, ``split.json``: earlier cases keep their group and their fate.

    A case is never trained on if a frozen evaluation case has its id or its group, or its prompt
    where equal prompts are one case.
    """
    path = context.folder / SPLIT
    if path.is_file():
        return read_split(context, context.plan.cycle)
    recipe, plan = context.recipe, context.plan
    join_equal_prompts = recipe.cases.joins_equal_prompts
    earlier = Split({}, frozenset(), frozenset(), frozenset())
    if plan.cycle > 1:
        earlier = read_split(context, plan.cycle - 1)
    frozen_cases = evaluation_cases(recipe.cases, plan.seed)
    known = _source_groups(context, frozen_cases) | dict(earlier.groups)
    kept_back = earlier.kept_back | {case.group for case in frozen_cases}
    everything = [event for some in events.values() for event in some]
    groups = case_groups(
        everything, known, kept_back=kept_back, join_equal_prompts=join_equal_prompts
    )
    new = set(groups.values()) - set(earlier.groups.values())
    held = held_out_groups(new, recipe.preferences.held_out_fraction, plan.seed) | earlier.held_out
    frozen = {case.group for case in frozen_cases}
    if join_equal_prompts:
        prompts = {prompt_key(case.prompt) for case in frozen_cases}
        frozen |= {groups[e.case_id] for e in everything if prompt_key(e.prompt) in prompts}
    withdrawn = groups_on_both_sides(everything, dict(earlier.groups), held | frozen)
    split = Split(groups, held, frozenset(frozen), earlier.withdrawn | withdrawn)
    value = {name: sorted(names) for name, names in asdict(split).items() if name != "groups"}
    write_json(path, {"groups": split.groups} | value)
    return split


def _source_groups(context: Context, frozen_cases: Sequence[Case]) -> dict[str, str]:
    """Case id to group, as the case source says."""
    settings, plan = context.recipe.cases, context.plan
    cases = list(frozen_cases)
    if settings.path is not None:
        cases += file_cases(settings)
    elif context.recipe.feedback.source == "simulated":
        cases += feedback_cases(settings, plan.cycle, plan.seed)
    return {case.case_id: case.group for case in cases}


@dataclass(frozen=True)
class HeldOutOfLog:
    """Held-out cases of the log by cycle; ``without_reference`` have no usable text."""

    by_cycle: Mapping[int, tuple[Case, ...]]
    without_reference: int

    def distinct(self) -> list[Case]:
        return [case for some in self.by_cycle.values() for case in some]


def held_out_of_log(context: Context) -> HeldOutOfLog:
    """One case per held-out case id, under the cycle that read an approved text of it first.

    It holds the prompt that its negotiation began with, whichever cycle that came in, and as
    reference the last text that a reader approved of and none disapproved of. A case whose
    reference the scorer cannot read is not evaluated on.
    """
    one_study = without_cases_of_two_studies(events_by_cycle(context))
    events = without_control_tokens(context, one_study)
    split = read_split(context, context.plan.cycle)
    cycles = {event.event_id: cycle for cycle, some in events.items() for event in some}
    everything = newest_events(event for some in events.values() for event in some)
    held = [event for event in everything if split.fate(event.case_id) == "held_out"]
    view = view_log(held, context.plan.cycle, cycles, join_equal_prompts=False)
    contradicted = view.contradicted()
    first: dict[str, int] = {}
    cases: dict[str, Case] = {}
    ordered = sorted(view.rooted(), key=lambda e: (view.cycles[e.event_id], e.turn, e.event_id))
    for event in ordered:
        text = approved_text(event)
        if text is None or view.verdict(event.case_id, text) in contradicted:
            continue
        if explain_unscorable(text, text) is None:
            name, group = event.case_id, split.groups[event.case_id]
            first.setdefault(name, view.cycles[event.event_id])
            cases[name] = Case(name, group, view.roots[event.event_id], text, source="log")
    by_cycle = {
        cycle: tuple(case for name, case in sorted(cases.items()) if first[name] == cycle)
        for cycle in events
    }
    return HeldOutOfLog(by_cycle, len({event.case_id for event in held} - cases.keys()))
