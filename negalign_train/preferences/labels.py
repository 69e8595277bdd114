"""Graded events to unpaired labels (DESIGN 2.3, right column), before weights. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from negalign_train.preferences.align import align
from negalign_train.preferences.loss_weights import label_weights, spans_of_dataset
from negalign_train.preferences.view import LogView, Verdict
from negalign_train.recipe.cycle import PreferenceSettings
from negalign_train.storage.fingerprint import fingerprint
from negalign_train.vocabulary.approval import approved_text, known_severity, usable_edit
from negalign_train.vocabulary.marks import priced_marks
from negalign_train.vocabulary.records import Event, Prompt, UnpairedExample, WeightedSpan


@dataclass(frozen=True)
class Label:
    """One graded text. ``severity`` is S of an undesirable text, None of a desirable one.

    ``edit_of`` is the event whose edit this text is a side of, None without an edit.
    """

    event: Event
    prompt: Prompt
    text: str
    severity: float | None
    edit_of: str | None
    fresh: bool
    """Whether this cycle makes the label; another one made it where it is not."""

    @property
    def identity(self) -> str:
        return fingerprint([self.event.case_id, self.prompt, self.text, self.severity is None])


def approvals(view: LogView) -> list[Label]:
    """Accepted completions and usable edits: the desirable texts, old and fresh."""
    labels: list[Label] = []
    for event in view.rooted():
        text = approved_text(event)
        if text is not None:
            edit_of = None if event.grade == "accept" else event.event_id
            labels.append(_label(event, text, None, edit_of, view))
    return labels


def disapprovals(view: LogView) -> list[Label]:
    """Completions graded partial or reject whose severity is known: the undesirable texts."""
    labels: list[Label] = []
    for event in view.rooted():
        severity = known_severity(event)
        if event.grade != "accept" and severity is not None:
            edit_of = None if usable_edit(event) is None else event.event_id
            labels.append(_label(event, event.completion, severity, edit_of, view))
    return labels


def _label(
    event: Event, text: str, severity: float | None, edit_of: str | None, view: LogView
) -> Label:
    prompt = view.roots[event.event_id]
    return Label(event, prompt, text, severity, edit_of, view.is_fresh(event))


def standing_labels(
    view: LogView, bad: frozenset[Verdict], min_delta_S: float, refused: Counter[str]
) -> list[Label]:
    """The labels that hold, sorted by identity; fresh ones that fail are counted in ``refused``.

    Args:
        bad: texts that readers contradict each other about.
    """
    standing: dict[str, Label] = {}
    for label in [*approvals(view), *disapprovals(view)]:
        known = standing.get(label.identity)
        if view.verdict(label.event.case_id, label.text) in bad:
            refused["contradictory_label"] += label.fresh
        elif label.severity is not None and not label.severity > min_delta_S:
            refused["delta_S_too_small_label"] += label.fresh
        elif known is not None and (known.fresh or not label.fresh):
            refused["duplicate_label"] += label.fresh
        else:
            standing[label.identity] = label
    return [standing[identity] for identity in sorted(standing)]


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
