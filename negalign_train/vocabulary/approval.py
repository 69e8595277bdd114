"""What a reader approved of, and when two texts are the same: the one place that says so. Pure.

A grade is about the completion. An edit is the reader's own text, and so approved whatever the
grade. An unchanged draft is no edit: exports often return it in the edit box.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from negalign_train.vocabulary.records import Event

WORD = re.compile(r"\w+|[^\w\s]")
"""A word or a single punctuation mark."""


def words(text: str) -> list[str]:
    """Words and single punctuation marks; texts with equal words differ in white space only."""
    return WORD.findall(text)


def text_key(text: str) -> tuple[str, ...]:
    """Equal for texts that differ in white space only."""
    return tuple(words(text))


def edit_refusal(event: Event) -> str | None:
    """Why the event's edit cannot be used, as a reason code; None where it can or there is none."""
    if event.edited is None:
        return None
    unchanged = text_key(event.edited) == text_key(event.completion)
    if event.grade == "accept":
        return None if unchanged else "edit_on_accept"
    if not words(event.edited):
        return "empty_edit"
    return "unchanged_edit" if unchanged else None


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
