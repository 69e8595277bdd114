"""A report as exported, to the text that a person reads in it."""

from __future__ import annotations

from dataclasses import dataclass

from negalign_train.severity.text.lines import join_lines
from negalign_train.severity.text.marks import Places, read_marks


@dataclass(frozen=True, slots=True)
class LaidOut:
    """The text as read: marks of exports resolved, wrapped lines joined. ``places``: the way back
    to the characters of the report, None where each stands at its own place.
    """

    text: str
    places: Places | None

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Where in the report the characters [start, end) of the text stand."""
        return (start, end) if self.places is None else self.places.span(start, end)


def lay_out(report: str) -> LaidOut:
    """The report as a person reads it; time is linear in its length."""
    text, places = read_marks(report)
    return LaidOut(join_lines(text) if "\n" in text else text, places)
