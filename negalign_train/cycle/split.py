"""Which cases are held out of training: decided once, when a case is first read, and kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from negalign_train.approval import approved_text
from negalign_train.cases.source import evaluation_cases, feedback_cases
from negalign_train.cycle.plan import SNAPSHOT, Context
from negalign_train.feedback.snapshot import read_snapshot
from negalign_train.preferences.splits import case_groups, held_out_groups
from negalign_train.preferences.view import prompt_key, root_prompts
from negalign_train.records import Case, Event
from negalign_train.severity.score import explain_unscorable
from negalign_train.special_tokens import without_special_tokens
from negalign_train.training.policy import load_tokenizer
from negalign_train.training.turns import special_strings
from negalign_train.workspace import read_json, write_json

SPLIT = "split.json"


@dataclass(frozen=True)
class Split:
    """Case id to group, and the groups no cycle trains on: held out of the log, or the gate's own.

    ``frozen`` are the groups that hold a frozen evaluation case.
    """

    groups: Mapping[str, str]
    held_out: frozenset[str]
    frozen: frozenset[str]

    def trains(self, case_id: str) -> bool:
        return self.groups[case_id] not in self.held_out | self.frozen


def events_by_cycle(context: Context) -> dict[int, list[Event]]:
    """The frozen events of this cycle and every earlier one."""
    return {
        cycle: [event for _, event in read_snapshot(context.workspace.cycle_dir(cycle) / SNAPSHOT)]
        for cycle in range(1, context.plan.cycle + 1)
    }


def without_control_tokens(
    context: Context, events: Mapping[int, Sequence[Event]]
) -> dict[int, list[Event]]:
    """The events less those in whose texts a control token of the base's tokenizer stands: none of
    them is trained on or judged on.
    """
    own = special_strings(load_tokenizer(context.model_dir))
    return {cycle: without_special_tokens(some, own) for cycle, some in events.items()}


def read_split(context: Context, cycle: int) -> Split:
    data = read_json(context.workspace.cycle_dir(cycle) / SPLIT)
    return Split(data["groups"], frozenset(data["held_out"]), frozenset(data["frozen"]))


def make_split(context: Context, events: Mapping[int, Sequence[Event]]) -> Split:
    """The split of this cycle, ``split.json``: earlier cases keep their group and their fate.

    A case is never trained on if a frozen evaluation case has its id, its group or its prompt.
    """
    path = context.folder / SPLIT
    if path.is_file():
        return read_split(context, context.plan.cycle)
    recipe, plan = context.recipe, context.plan
    earlier = None if plan.cycle == 1 else read_split(context, plan.cycle - 1)
    known = {} if earlier is None else dict(earlier.groups)
    if recipe.feedback.source == "simulated":
        cases = feedback_cases(recipe.cases, plan.cycle, plan.seed)
        known = {case.case_id: case.group for case in cases} | known
    everything = [event for some in events.values() for event in some]
    groups = case_groups(everything, known)
    settled = set() if earlier is None else set(earlier.groups.values())
    new = set(groups.values()) - settled
    held = held_out_groups(new, recipe.preferences.held_out_fraction, plan.seed)
    if earlier is not None:
        held |= earlier.held_out
    split = Split(groups, held, _frozen_groups(context, everything, groups))
    value = asdict(split) | {"held_out": sorted(held), "frozen": sorted(split.frozen)}
    write_json(path, value)
    return split


def _frozen_groups(
    context: Context, events: Sequence[Event], groups: Mapping[str, str]
) -> frozenset[str]:
    cases = evaluation_cases(context.recipe.cases, context.plan.seed)
    ids, prompts = {c.case_id for c in cases}, {prompt_key(c.prompt) for c in cases}
    return frozenset(case.group for case in cases) | frozenset(
        groups[event.case_id]
        for event in events
        if event.case_id in ids or prompt_key(event.prompt) in prompts
    )


@dataclass(frozen=True)
class HeldOutOfLog:
    """Held-out cases of the log by cycle; ``not_judged`` counts those without a usable text."""

    by_cycle: Mapping[int, tuple[Case, ...]]
    not_judged: int

    def distinct(self) -> list[Case]:
        cases = [case for some in self.by_cycle.values() for case in some]
        return list({case.case_id: case for case in cases}.values())


def held_out_of_log(context: Context) -> HeldOutOfLog:
    """One case per held-out case id: the prompt its negotiation began with, and as reference the
    last text a reader approved of. A case whose reference the scorer cannot read is not judged.
    """
    events = without_control_tokens(context, events_by_cycle(context))
    split = read_split(context, context.plan.cycle)
    by_cycle: dict[int, tuple[Case, ...]] = {}
    seen: set[str] = set()
    judged: set[str] = set()
    for cycle, some in events.items():
        roots = root_prompts(some)
        cases: dict[str, Case] = {}
        for event in sorted(some, key=lambda event: (event.case_id, event.turn, event.event_id)):
            if split.groups[event.case_id] not in split.held_out:
                continue
            seen.add(event.case_id)
            text = approved_text(event)
            if text is not None and explain_unscorable(text, text) is None:
                group, prompt = split.groups[event.case_id], roots[event.event_id]
                cases[event.case_id] = Case(event.case_id, group, prompt, text, source="log")
        by_cycle[cycle] = tuple(cases.values())
        judged |= cases.keys()
    return HeldOutOfLog(by_cycle, len(seen - judged))
