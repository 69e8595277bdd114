"""What a reader approved of, and when two texts are the same: the one place that says so. Pure.

A grade is about the completion. An edit is the reader's own text, and so approved whatever the
grade. An unchanged draft is no edit: exports often return it in the edit box. Nor is a text that
states nothing: bare punctuation, or a placeholder. Length decides nothing: "Normal chest." is a
report.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from negalign_train.vocabulary.records import Event

WORD = re.compile(r"\w+|[^\w\s]")
"""A word or a single punctuation mark."""

PLACEHOLDERS = frozenset(
    {
        "agree", "agreed", "as above", "as dictated", "done", "n a", "na", "nil", "no change",
        "no changes", "none", "ok", "okay", "same", "same as above", "see above", "tbd", "test",
        "todo", "x", "xx", "xxx", "yes",
    }
)  # fmt: skip
"""Edits that are no report, in lower case and without punctuation."""


def words(text: str) -> list[str]:
    """Words and single punctuation marks; texts with equal words differ in white space only."""
    return WORD.findall(text)


def text_key(text: str) -> tuple[str, ...]:
    """Equal for texts that differ in white space only."""
    return tuple(words(text))


def changes_completion(edited: str | None, completion: str) -> bool:
    """Whether an edit box holds another text; white space is no change, and a blank box no edit."""
    return bool(edited and words(edited)) and text_key(edited or "") != text_key(completion)


def edit_refusal(event: Event) -> str | None:
    """Why the event's edit cannot be used, as a reason code; None where it can or there is none.

    ``empty_edit`` has no letter in it, ``placeholder_edit`` is one of ``PLACEHOLDERS``.
    """
    if event.edited is None:
        return None
    changed = changes_completion(event.edited, event.completion)
    if event.grade == "accept":
        return "edit_on_accept" if changed else None
    if not any(character.isalpha() for character in event.edited):
        return "empty_edit"
    if not changed:
        return "unchanged_edit"
    said = " ".join(re.findall(r"[^\W_]+", event.edited.lower()))
    return "placeholder_edit" if said in PLACEHOLDERS else None


def usable_edit(event: Event) -> str | None:
    """The reader's own text: an edit that differs from the completion, of a report that was not
    accepted as it was.
    """
    usable = event.grade != "accept" and edit_refusal(event) is None
    return event.edited if usable else None


def approved_text(event: Event) -> str | None:
    """The accepted completion, or the usable edit of one that was not; None where the reader
    approved of nothing.
    """
    return event.completion if event.grade == "accept" else usable_edit(event)


def own_edits(events: Iterable[Event]) -> dict[str, str]:
    """Event id to the usable edit, where there is one: what a completion can be scored against."""
    edits = {event.event_id: usable_edit(event) for event in events}
    return {name: edit for name, edit in edits.items() if edit is not None}


def known_severity(event: Event) -> float | None:
    """S of the completion as far as it is known.

    An accepted report without marks has S = 0. S = 0 of any other report is unknown: its reader saw
    an error that the scorer missed.
    """
    total = event.total_severity
    if event.grade == "accept":
        return 0.0 if total is None else total
    return None if total == 0 else total
