"""Which cases of the log are held out: whole case groups, decided by a hash of the group alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from negalign_train.cases.splits import group_fraction
from negalign_train.preferences.edges import newest_events, prompt_key
from negalign_train.records import Event


@dataclass(frozen=True)
class EventSplit:
    """Events to train on and events held out; no case and no group is on both sides."""

    train: tuple[Event, ...]
    held_out: tuple[Event, ...]
    held_out_groups: frozenset[str]


def case_groups(events: Iterable[Event], known: Mapping[str, str]) -> dict[str, str]:
    """Case id to split group, for every case of ``events``.

    A case of ``known`` keeps the group its case source gave it (study, patient, normalised text).
    The others are joined through equal prompts, white space and letter case aside: to the smallest
    known group that shares a prompt, else under their smallest prompt fingerprint, so that the name
    does not depend on which other cases were read. Completions do not join cases: templated normal
    reports would merge half the log into one group.

    Give every event of the log, earlier cycles' too, and a group keeps its name over cycles.
    """
    newest = newest_events(events)
    parents: dict[str, str] = {}
    for event in newest:
        root = _root(parents, f"case {event.case_id}")
        parents[root] = _root(parents, f"prompt {prompt_key(event.prompt)}")
    components: dict[str, list[Event]] = defaultdict(list)
    for event in newest:
        components[_root(parents, f"case {event.case_id}")].append(event)
    groups: dict[str, str] = {}
    for component in components.values():
        cases = {event.case_id for event in component}
        own = {case_id: known[case_id] for case_id in cases if case_id in known}
        by_prompt = min(f"prompt-{prompt_key(event.prompt)}" for event in component)
        name = min(own.values(), default=by_prompt)
        groups |= dict.fromkeys(cases, name) | own
    return dict(sorted(groups.items()))


def held_out_groups(groups: Iterable[str], fraction: float, seed: int) -> frozenset[str]:
    """The groups that are held out, about ``fraction`` of them: a group's fate never changes."""
    return frozenset(group for group in groups if group_fraction(group, seed) < fraction)


def split_events(
    events: Iterable[Event], groups: Mapping[str, str], fraction: float, seed: int
) -> EventSplit:
    """Splits events by their case's group. ``groups`` comes from ``case_groups``."""
    newest = newest_events(events)
    held = held_out_groups({groups[event.case_id] for event in newest}, fraction, seed)
    return EventSplit(
        train=tuple(event for event in newest if groups[event.case_id] not in held),
        held_out=tuple(event for event in newest if groups[event.case_id] in held),
        held_out_groups=held,
    )


def _root(parents: dict[str, str], node: str) -> str:
    """Union-find with path halving."""
    parents.setdefault(node, node)
    while parents[node] != node:
        parents[node] = parents[parents[node]]
        node = parents[node]
    return node
