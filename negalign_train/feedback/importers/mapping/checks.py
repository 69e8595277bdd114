"""What one event cannot show and a whole file does: severities on another scale, and spans that
count words. Both would otherwise be taken for what they are not.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from negalign_train.vocabulary.errors import FeedbackError

_MANY = 0.2
"""Share of severities above 1 from which a file is of another scale, not a typing error."""
_EDGE = re.compile(r"\b")


@dataclass
class MarkSurvey:
    """Counts over the error marks of a file."""

    severities: int = 0
    above_one: int = 0
    fractions: int = 0
    largest: float = 0.0
    spans: int = 0
    spans_on_words: int = 0
    spans_as_words: int = 0

    def add_severity(self, value: float) -> None:
        self.severities += 1
        self.above_one += value > 1
        self.fractions += not float(value).is_integer()
        self.largest = max(self.largest, value)

    def add(self, event: Mapping[str, Any]) -> None:
        """Counts the marks of one event, as JSON."""
        for mark in _marks_of(event):
            severity = mark.get("severity")
            if isinstance(severity, int | float) and not isinstance(severity, bool):
                self.add_severity(severity)
        self.add_spans(event)

    def add_spans(self, event: Mapping[str, Any]) -> None:
        """Counts only what the spans of one event show."""
        completion = event.get("completion")
        for mark in _marks_of(event):
            if isinstance(completion, str):
                self._add_span(mark.get("span"), completion)

    def _add_span(self, span: Any, completion: str) -> None:
        """Counts whether a span fits the words of the text as characters, and as word indices."""
        if not (isinstance(span, list) and [type(n) for n in span] == [int, int]):
            return
        start, end = span
        if start >= end:
            return
        edges = {match.start() for match in _EDGE.finditer(completion)}
        self.spans += 1
        self.spans_as_words += end <= len(completion.split())
        self.spans_on_words += start in edges and end in edges

    def refuse_other_scale(self, name: str) -> None:
        """Raises FeedbackError where the severities of the file are not in [0, 1]."""
        many = self.above_one > _MANY * self.severities or not self.fractions
        if self.above_one and many:
            raise FeedbackError(
                f"{name}: {self.above_one} of {self.severities} severities are above 1 (largest "
                f"{self.largest:g}), so that this looks like another scale than 0 to 1. Say which: "
                f"--set severity_scale=0-{self.largest:g} if {self.largest:g} is the worst, or "
                "severity_scale or severities in a mapping (--map). Nothing was imported"
            )

    def refuse_word_spans(self, name: str) -> None:
        """Raises FeedbackError where the spans of the file fit as word indices only."""
        if self.spans and self.spans_as_words == self.spans > 2 * self.spans_on_words:
            raise FeedbackError(
                f"{name}: most of its {self.spans} spans begin or end inside a word if they "
                "count characters, and all fit if they count words. Say which: --set "
                "spans=words or --set spans=characters. Nothing was imported"
            )


def _marks_of(event: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    errors = event.get("errors")
    return [m for m in errors if isinstance(m, Mapping)] if isinstance(errors, list) else []
