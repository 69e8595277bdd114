"""Sections, sentences and words of a report, each with its place in the text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

TextSection = Literal["findings", "impression", "aside"]
"""``aside``: indication, technique, comparison; what stands there is not read as a finding."""

_SECTION_OF: dict[str, TextSection] = {
    "findings": "findings",
    "finding": "findings",
    "impression": "impression",
    "impressions": "impression",
    "conclusion": "impression",
    "indication": "aside",
    "history": "aside",
    "clinical history": "aside",
    "clinical information": "aside",
    "technique": "aside",
    "comparison": "aside",
    "comparisons": "aside",
    "examination": "aside",
    "exam": "aside",
    "clinical indication": "aside",
    "reason for exam": "aside",
    "reason for examination": "aside",
    "reason for study": "aside",
    "procedure": "aside",
    "recommendation": "aside",
    "recommendations": "aside",
    "notification": "aside",
    "wet read": "findings",
}
_NAMES = "|".join(_SECTION_OF)
# A heading starts the text, follows a mark, or is capitalised in the middle of a line.
_HEADING = re.compile(
    rf"(?:(?:^|[.;:\n)])\s{{0,8}}|\b(?=[A-Z]))((?ai:{_NAMES}))[ \t]{{0,8}}:", re.MULTILINE
)
_LONGEST_HEADING = 1 + 8 + max(map(len, _SECTION_OF)) + 8 + 1
"""Characters, the mark before it and its colon included."""
# A stop ends a sentence before white space, a capital or the end; never inside a number.
# One class of characters first: re then skips what cannot match. A run of marks is tried at its
# first mark alone, so that time stays linear.
_STOP = re.compile(r"[.!?\n](?:(?<=\n)\n*|(?<=[.!?])(?<![.!?][.!?])[.!?]*+(?=\s|$|[A-Z]))")
_BLANK_LINE = re.compile(r"(?<=\S)[ \t]{0,8}\n[ \t]{0,8}\n")
_LONGEST_SENTENCE = 400
"""Characters; what runs on without a stop is read in pieces, so that time stays linear."""
_HAS_WORD = re.compile(r"[A-Za-z0-9]")
_WORD = re.compile(r"[a-z]+|\d+(?:\.\d+)?|[,;/]")


class SentenceAt(NamedTuple):
    """One sentence, stripped, with its [start, ...) in the report and its section."""

    text: str
    start: int
    section: TextSection


class Token(NamedTuple):
    """One lower-case word or mark with its [start, end) in the sentence."""

    text: str
    start: int
    end: int


def _headings(text: str) -> Iterator[re.Match[str]]:
    """All headings, searched from their colons: most of a report is no heading."""
    at, colon = 0, text.find(":")
    while colon >= 0:
        match = _HEADING.search(text, max(at, colon - _LONGEST_HEADING), colon + 1)
        if match is not None:
            yield match
            at = match.end()
        colon = text.find(":", colon + 1)


def text_sections(text: str) -> Iterator[tuple[TextSection, int, int]]:
    """(section, start, end) in order; text before the first heading counts as findings."""
    section: TextSection = "findings"
    start = 0
    for match in _headings(text):
        if match.start(1) > start:
            yield from _to_blank_line(text, section, start, match.start(1))
        section, start = _SECTION_OF[match[1].lower()], match.end()
    yield from _to_blank_line(text, section, start, len(text))


def _to_blank_line(
    text: str, section: TextSection, start: int, end: int
) -> Iterator[tuple[TextSection, int, int]]:
    """An aside ends at a blank line: many reports have no heading over their findings."""
    blank = _BLANK_LINE.search(text, start, end) if section == "aside" else None
    if blank is None:
        yield section, start, end
        return
    yield section, start, blank.start()
    yield "findings", blank.end(), end


def _pieces(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """[start, end) whole, or cut before a space where it is too long for a sentence."""
    while end - start > _LONGEST_SENTENCE:
        cut = text.rfind(" ", start + 1, start + _LONGEST_SENTENCE)
        cut = cut if cut > start else start + _LONGEST_SENTENCE
        yield start, cut
        start = cut
    yield start, end


def sentences(
    text: str, parts: Iterable[tuple[TextSection, int, int]] | None = None
) -> Iterator[SentenceAt]:
    """The non-empty sentences of a report; ``parts``: its ``text_sections``, if they are known."""
    for section, start, end in text_sections(text) if parts is None else parts:
        at = start
        stops = [match.end() for match in _STOP.finditer(text, start, end)]
        for stop in [*stops, end]:
            short = stop - at <= _LONGEST_SENTENCE
            for first, last in ((at, stop),) if short else _pieces(text, at, stop):
                piece = text[first:last]
                stripped = piece.strip()
                if _HAS_WORD.search(stripped):
                    yield SentenceAt(stripped, first + piece.index(stripped), section)
            at = stop


def words_and_marks(sentence: str) -> tuple[Token, ...]:
    """Words, numbers and the marks that matter; hyphens and other marks only separate."""
    return tuple(
        Token(match[0], match.start(), match.end()) for match in _WORD.finditer(sentence.lower())
    )
