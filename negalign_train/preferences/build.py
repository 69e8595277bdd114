"""Graded events to the preference set of one cycle: the complete table of DESIGN 2.3.

Refusals by reason. Of events: ``empty_edit`` (no letter in it), ``placeholder_edit`` ("n/a"),
``unchanged_edit``, ``edit_on_accept``, ``no_severity``, ``no_accepted_completion`` (no usable edit,
and nobody accepted a report of the case),
``root_prompt_unknown`` (a later turn of a thread whose first turn is nowhere in the log). Of pairs:
``delta_S_too_small``, ``rejected_turn`` (a thread's later turn was rejected), ``contradictory``,
``duplicate``, ``cap_chosen``. Of unpaired labels: ``contradictory_label``,
``delta_S_too_small_label``, ``duplicate_label``. Of prompts: ``no_reference``. One event may be
counted under several.

Readers who contradict each other (one approves of a text, another disapproves of it, for one case;
or two pairs of opposite order) are not resolved by date: both sides are refused, since the later
reader is not the better one. A text that any reader rejected is never chosen.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from negalign_train.preferences.align import align
from negalign_train.preferences.edges import Edge, build_edges
from negalign_train.preferences.labels import (
    Label,
    approvals,
    standing_labels,
    unpaired_examples,
)
from negalign_train.preferences.loss_weights import pair_weights, spans_of_dataset
from negalign_train.preferences.view import LogView, Verdict, view_log
from negalign_train.recipe.cycle import PreferenceSettings
from negalign_train.vocabulary.approval import text_key
from negalign_train.vocabulary.errors import PreferenceError
from negalign_train.vocabulary.records import (
    Event,
    PreferencePair,
    PromptExample,
    Refusals,
    UnpairedExample,
)


@dataclass(frozen=True)
class Standing:
    """What the whole log supports today, in this cycle's examples and in earlier ones: ids of
    pairs and unpaired examples, and the reference of each case. An earlier example that is not
    among them was revised or contradicted since.
    """

    pairs: frozenset[str] = frozenset()
    unpaired: frozenset[str] = frozenset()
    references: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class PreferenceSet:
    """What one cycle trains on, and what was refused and why."""

    pairs: tuple[PreferencePair, ...]
    unpaired: tuple[UnpairedExample, ...]
    prompts: tuple[PromptExample, ...]
    refusals: Refusals
    standing: Standing = Standing()


def build_preferences(
    events: Iterable[Event],
    settings: PreferenceSettings,
    cycle: int,
    groups: Mapping[str, str],
    cycles: Mapping[str, int] | None = None,
    *,
    join_equal_prompts: bool = False,
) -> PreferenceSet:
    """Pairs, unpaired labels and prompts of one cycle, from the training events of the whole log.

    Neither the order of ``events`` nor repetition changes the result: the newest revision of every
    event counts once. Leave out the events of held-out groups: weights have mean 1 over
    ``events``.

    Args:
        groups: case id to split group, for every case of ``events`` (``case_groups.case_groups``).
        cycles: event id to the cycle that read it; without it, all are of ``cycle``. Events of
            earlier cycles say which thread and case a new one belongs to and give no examples of
            their own; an example of two events is the newer one's.
        join_equal_prompts: cases of one prompt are one case (``view.view_log``).

    Raises:
        PreferenceError: a case has no group, or one revision stands for two events.
    """
    view = view_log(events, cycle, cycles or {}, join_equal_prompts=join_equal_prompts)
    for event in view.events:
        if event.case_id not in groups:
            raise PreferenceError(
                f"event {event.event_id}: case {event.case_id} has no split group; "
                "build the groups with case_groups.case_groups over these events"
            )
    rootless = [event for event in view.events if event.event_id not in view.roots]
    refused = Counter({"root_prompt_unknown": sum(view.is_fresh(event) for event in rootless)})
    bad = view.contradicted()
    edges = _standing_edges(view, bad, settings, refused)
    fresh_edges = _capped(
        [edge for edge in edges if edge.fresh], settings.max_pairs_per_chosen, refused
    )
    labels = standing_labels(view, bad, settings.min_delta_S, refused)
    best = _best_approvals(view, bad)
    return PreferenceSet(
        pairs=_pairs(fresh_edges, groups, settings, cycle),
        unpaired=unpaired_examples(
            [label for label in labels if label.fresh], groups, settings, cycle
        ),
        prompts=_prompts(view, best, groups, refused),
        refusals=Refusals(dict(sorted((+refused).items()))),
        standing=Standing(
            pairs=frozenset(edge.identity for edge in edges),
            unpaired=frozenset(label.identity for label in labels),
            references={case_id: label.text for case_id, label in best.items()},
        ),
    )


def _standing_edges(
    view: LogView,
    bad: frozenset[Verdict],
    settings: PreferenceSettings,
    refused: Counter[str],
) -> list[Edge]:
    """The edges that hold, sorted by identity; fresh ones that fail are counted in ``refused``."""
    falling: list[Edge] = []
    for edge in build_edges(view, settings.reader_trust, refused):
        if edge.delta_S > settings.min_delta_S:
            falling.append(edge)
        else:
            refused["delta_S_too_small"] += edge.fresh
    never_chosen = bad | view.rejected()
    order = {_verdicts(edge, view) for edge in falling}
    standing: dict[str, Edge] = {}
    for edge in falling:
        chosen, rejected = _verdicts(edge, view)
        known = standing.get(edge.identity)
        if (rejected, chosen) in order or chosen in never_chosen or rejected in bad:
            refused["contradictory"] += edge.fresh
        elif known is not None and (known.fresh or not edge.fresh):
            refused["duplicate"] += edge.fresh
        else:
            standing[edge.identity] = edge
    return [standing[key] for key in sorted(standing)]


def _verdicts(edge: Edge, view: LogView) -> tuple[Verdict, Verdict]:
    return view.verdict(edge.case_id, edge.chosen), view.verdict(edge.case_id, edge.rejected)


def _capped(edges: Sequence[Edge], cap: int, refused: Counter[str]) -> list[Edge]:
    """At most ``cap`` pairs per distinct chosen text, those of the largest delta_S.

    Without it one template becomes the chosen of everything and the policy collapses onto it
    (a published IU X-ray run: one text was chosen 1,234 times of 2,924).
    """
    by_chosen: dict[tuple[str, ...], list[Edge]] = defaultdict(list)
    for edge in sorted(edges, key=lambda edge: -edge.delta_S):  # stable: ties stay by identity
        by_chosen[text_key(edge.chosen)].append(edge)
    kept = {edge.identity for group in by_chosen.values() for edge in group[:cap]}
    if len(kept) < len(edges):
        refused["cap_chosen"] += len(edges) - len(kept)
    return [edge for edge in edges if edge.identity in kept]


def _pairs(
    edges: Sequence[Edge], groups: Mapping[str, str], settings: PreferenceSettings, cycle: int
) -> tuple[PreferencePair, ...]:
    weights = pair_weights(
        [edge.delta_S for edge in edges], [edge.trust for edge in edges], settings
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
            delta_S=edge.delta_S,
            weight=weight,
            chosen_spans=chosen_spans,
            rejected_spans=rejected_spans,
        )
        for edge, weight, (chosen_spans, rejected_spans) in zip(
            edges, weights, spans_of_dataset(edits, settings), strict=True
        )
    )


def _best_approvals(view: LogView, bad: frozenset[Verdict]) -> dict[str, Label]:
    """Case id to the text approved of last, by cycle, turn and event id."""
    usable = [
        label
        for label in approvals(view)
        if view.verdict(label.event.case_id, label.text) not in bad
    ]
    ordered = sorted(usable, key=lambda la: (view.cycles[la.event.event_id], la.event.turn))
    return {label.event.case_id: label for label in ordered}


def _prompts(
    view: LogView, best: Mapping[str, Label], groups: Mapping[str, str], refused: Counter[str]
) -> tuple[PromptExample, ...]:
    """One prompt per case with a fresh event."""
    cases = {event.case_id for event in view.events if view.is_fresh(event)}
    refused["no_reference"] += len(cases - best.keys())
    return tuple(
        PromptExample(case_id, groups[case_id], view.cycle, label.prompt, label.text)
        for case_id, label in sorted(best.items())
        if case_id in cases
    )
