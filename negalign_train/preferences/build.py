"""Graded events to the preference set of one cycle: the complete table of DESIGN 2.3.

Refusals by reason. Of events: ``empty_edit``, ``unchanged_edit``, ``edit_on_accept``,
``no_severity``, ``no_accepted_completion`` (no edit, and nobody accepted a report for the prompt).
Of pairs: ``margin_too_small``, ``rejected_turn`` (a thread's later turn was rejected),
``contradictory``, ``duplicate``, ``cap_chosen``. Of unpaired labels: ``contradictory_label``,
``margin_too_small_label``, ``duplicate_label``. Of prompts: ``no_reference``. One event may be
counted under several.

Readers who contradict each other (one approves of a text, another disapproves of it, for one
prompt; or two pairs of opposite order) are not resolved by date: both sides are refused, since the
later reader is not the better one. A text that any reader rejected is never chosen.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from negalign_train.approval import text_key
from negalign_train.errors import PreferenceError
from negalign_train.preferences.align import align
from negalign_train.preferences.edges import (
    Edge,
    build_edges,
    newest_events,
    prompt_key,
    root_prompts,
)
from negalign_train.preferences.labels import (
    Verdict,
    approvals,
    contradicted,
    rejected,
    unpaired_examples,
    usable_labels,
)
from negalign_train.preferences.weights import pair_weights, spans_of_dataset
from negalign_train.recipe import PreferenceSettings
from negalign_train.records import (
    Event,
    PreferencePair,
    Prompt,
    PromptExample,
    Refusals,
    UnpairedExample,
)


@dataclass(frozen=True)
class PreferenceSet:
    """What one cycle trains on, and what was refused and why."""

    pairs: tuple[PreferencePair, ...]
    unpaired: tuple[UnpairedExample, ...]
    prompts: tuple[PromptExample, ...]
    refusals: Refusals


def build_preferences(
    events: Iterable[Event],
    settings: PreferenceSettings,
    cycle: int,
    groups: Mapping[str, str],
) -> PreferenceSet:
    """Pairs, unpaired labels and prompts of the training events of one cycle.

    Neither the order of ``events`` nor repetition changes the result: the newest revision of every
    event counts once. Leave held-out events away first (``splits.split_events``): weights have
    mean 1 over what is given.

    Args:
        groups: case id to split group, for every case of ``events`` (``splits.case_groups``).

    Raises:
        PreferenceError: a case has no group, or one revision stands for two events.
    """
    newest = newest_events(events)
    for event in newest:
        if event.case_id not in groups:
            raise PreferenceError(
                f"event {event.event_id}: case {event.case_id} has no split group; "
                "build the groups with splits.case_groups over these events"
            )
    refused: Counter[str] = Counter()
    roots = root_prompts(newest)
    bad = contradicted(newest, roots)
    edges = build_edges(newest, settings.reader_trust, refused)
    edges = _usable_edges(edges, bad, bad | rejected(newest, roots), settings, refused)
    labels = usable_labels(newest, roots, settings.min_margin, refused)
    return PreferenceSet(
        pairs=_pairs(edges, groups, settings, cycle),
        unpaired=unpaired_examples(labels, groups, settings, cycle),
        prompts=_prompts(newest, roots, bad, groups, cycle, refused),
        refusals=Refusals(dict(sorted(refused.items()))),
    )


def _usable_edges(
    edges: Sequence[Edge],
    bad: frozenset[Verdict],
    never_chosen: frozenset[Verdict],
    settings: PreferenceSettings,
    refused: Counter[str],
) -> list[Edge]:
    """Edges that become pairs, sorted by identity; the others are counted."""
    falling: list[Edge] = []
    for edge in edges:
        if edge.margin > settings.min_margin:
            falling.append(edge)
        else:
            refused["margin_too_small"] += 1
    order = {_order(edge) for edge in falling}
    used: dict[str, Edge] = {}
    for edge in falling:
        key, better, worse = _order(edge)
        opposed = (key, worse, better) in order
        if opposed or (key, better) in never_chosen or (key, worse) in bad:
            refused["contradictory"] += 1
        elif edge.identity in used:
            refused["duplicate"] += 1
        else:
            used[edge.identity] = edge
    return _capped([used[key] for key in sorted(used)], settings.max_pairs_per_chosen, refused)


def _order(edge: Edge) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    return prompt_key(edge.prompt), text_key(edge.chosen), text_key(edge.rejected)


def _capped(edges: Sequence[Edge], cap: int, refused: Counter[str]) -> list[Edge]:
    """At most ``cap`` pairs per distinct chosen text, those of the largest margins.

    Without it one template becomes the chosen of everything and the policy collapses onto it
    (a published IU X-ray run: one text was chosen 1,234 times of 2,924).
    """
    by_chosen: dict[tuple[str, ...], list[Edge]] = defaultdict(list)
    for edge in sorted(edges, key=lambda edge: -edge.margin):  # stable: ties stay by identity
        by_chosen[text_key(edge.chosen)].append(edge)
    kept = {edge.identity for group in by_chosen.values() for edge in group[:cap]}
    if len(kept) < len(edges):
        refused["cap_chosen"] += len(edges) - len(kept)
    return [edge for edge in edges if edge.identity in kept]


def _pairs(
    edges: Sequence[Edge], groups: Mapping[str, str], settings: PreferenceSettings, cycle: int
) -> tuple[PreferencePair, ...]:
    weights = pair_weights(
        [edge.margin for edge in edges], [edge.trust for edge in edges], settings
    )
    edits = [(align(edge.chosen, edge.rejected), edge.errors) for edge in edges]
    return tuple(
        PreferencePair(
            pair_id=edge.identity,
            case_id=edge.case_id,
            group=groups[edge.case_id],
            origin_cycle=cycle,
            prompt=edge.prompt,
            chosen=edge.chosen,
            rejected=edge.rejected,
            margin=edge.margin,
            weight=weight,
            chosen_spans=chosen_spans,
            rejected_spans=rejected_spans,
        )
        for edge, weight, (chosen_spans, rejected_spans) in zip(
            edges, weights, spans_of_dataset(edits, settings), strict=True
        )
    )


def _prompts(
    events: Sequence[Event],
    roots: Mapping[str, Prompt],
    bad: frozenset[Verdict],
    groups: Mapping[str, str],
    cycle: int,
    refused: Counter[str],
) -> tuple[PromptExample, ...]:
    """One prompt per case; its reference is the approved text of the latest turn, by event id."""
    best = {
        label.event.case_id: label
        for label in sorted(approvals(events, roots), key=lambda la: la.event.turn)
        if label.verdict not in bad
    }
    without = {event.case_id for event in events} - best.keys()
    if without:
        refused["no_reference"] += len(without)
    return tuple(
        PromptExample(case_id, groups[case_id], cycle, best[case_id].prompt, best[case_id].text)
        for case_id in sorted(best)
    )
