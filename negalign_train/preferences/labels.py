"""Graded events to unpaired labels (DESIGN 2.3, right column), before weights. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from negalign_train.approval import approved_text, known_severity, text_key, usable_edit
from negalign_train.fingerprint import fingerprint
from negalign_train.marks import priced_marks
from negalign_train.preferences.align import align
from negalign_train.preferences.edges import prompt_key
from negalign_train.preferences.weights import label_weights, spans_of_dataset
from negalign_train.recipe import PreferenceSettings
from negalign_train.records import Event, Prompt, UnpairedExample, WeightedSpan

Verdict = tuple[str, tuple[str, ...]]
"""A prompt's key and a text's key: what a reader approved or disapproved of."""


@dataclass(frozen=True)
class Label:
    """One judged text. ``severity`` is S of an undesirable text, None of a desirable one.

    ``edit_of`` is the event whose edit this text is a side of, None without an edit.
    """

    event: Event
    prompt: Prompt
    text: str
    severity: float | None
    edit_of: str | None

    @property
    def verdict(self) -> Verdict:
        return prompt_key(self.prompt), text_key(self.text)

    @property
    def identity(self) -> str:
        return fingerprint([self.event.case_id, self.prompt, self.text, self.severity is None])


def approvals(events: Sequence[Event], roots: Mapping[str, Prompt]) -> list[Label]:
    """Accepted completions and usable edits: the desirable texts."""
    found: list[Label] = []
    for event in events:
        text = approved_text(event)
        if text is not None:
            edit_of = None if event.grade == "accept" else event.event_id
            found.append(Label(event, roots[event.event_id], text, None, edit_of))
    return found


def disapprovals(events: Sequence[Event], roots: Mapping[str, Prompt]) -> list[Label]:
    """Completions graded partial or reject whose severity is known: the undesirable texts."""
    found: list[Label] = []
    for event in events:
        severity = known_severity(event)
        if event.grade != "accept" and severity is not None:
            edit_of = None if usable_edit(event) is None else event.event_id
            prompt = roots[event.event_id]
            found.append(Label(event, prompt, event.completion, severity, edit_of))
    return found


def contradicted(events: Sequence[Event], roots: Mapping[str, Prompt]) -> frozenset[Verdict]:
    """Texts that one event approves and another disapproves of, for one prompt.

    Grades count here and severities do not: a text with no known S is disapproved of all the same.
    """
    approved = {label.verdict for label in approvals(events, roots)}
    disapproved = {
        (prompt_key(roots[event.event_id]), text_key(event.completion))
        for event in events
        if event.grade != "accept"
    }
    return frozenset(approved & disapproved)


def rejected(events: Sequence[Event], roots: Mapping[str, Prompt]) -> frozenset[Verdict]:
    """Texts that a reader rejected: none of them is ever chosen."""
    return frozenset(
        (prompt_key(roots[event.event_id]), text_key(event.completion))
        for event in events
        if event.grade == "reject"
    )


def usable_labels(
    events: Sequence[Event],
    roots: Mapping[str, Prompt],
    min_margin: float,
    refused: Counter[str],
) -> list[Label]:
    """The labels that are used, sorted by identity; the others are counted in ``refused``."""
    bad = contradicted(events, roots)
    used: dict[str, Label] = {}
    for label in [*approvals(events, roots), *disapprovals(events, roots)]:
        if label.verdict in bad:
            refused["contradictory_label"] += 1
        elif label.severity is not None and not label.severity > min_margin:
            refused["margin_too_small_label"] += 1
        elif label.identity in used:
            refused["duplicate_label"] += 1
        else:
            used[label.identity] = label
    return [used[identity] for identity in sorted(used)]


def unpaired_examples(
    labels: Sequence[Label],
    groups: Mapping[str, str],
    settings: PreferenceSettings,
    cycle: int,
) -> tuple[UnpairedExample, ...]:
    """Labels with their weights: mean 1 over the dataset, changed words as in pairs."""
    trusts = [settings.reader_trust.get(label.event.reader.id, 1.0) for label in labels]
    weights = label_weights([label.severity for label in labels], trusts, settings)
    spans = _edit_spans(labels, settings)
    return tuple(
        UnpairedExample(
            example_id=label.identity,
            case_id=label.event.case_id,
            group=groups[label.event.case_id],
            origin_cycle=cycle,
            prompt=label.prompt,
            completion=label.text,
            label=label.severity is None,
            weight=weight,
            spans=() if label.edit_of is None else spans[label.edit_of][label.severity is not None],
        )
        for label, weight in zip(labels, weights, strict=True)
    )


def _edit_spans(
    labels: Sequence[Label], settings: PreferenceSettings
) -> dict[str, tuple[tuple[WeightedSpan, ...], tuple[WeightedSpan, ...]]]:
    """Event id to the spans of its (edited, original) text, over the edits among ``labels``."""
    edited = {label.edit_of: label.event for label in labels if label.edit_of is not None}
    edits = [
        (align(event.edited or "", event.completion), priced_marks(event))
        for event in edited.values()
    ]
    return dict(zip(edited, spans_of_dataset(edits, settings), strict=True))
