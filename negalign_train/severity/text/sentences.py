"""The sentences of a report, each with its place and its section."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from negalign_train.severity.text.layout import LaidOut, lay_out
from negalign_train.severity.text.sections import SectionAt, TextSection, stops, text_sections

_LONGEST_SENTENCE = 400
"""Characters; what runs on without a stop is read in pieces, so that time stays linear."""
_HAS_WORD = re.compile(r"[A-Za-z0-9]")


class SentenceAt(NamedTuple):
    """One sentence as read, stripped, with its section and its [start, end).

    Of ``sentences`` the places are those in the report, of ``split`` those in the laid-out text.
    """

    text: str
    start: int
    end: int
    section: TextSection


def _pieces(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """[start, end) whole, or cut before a space where it is too long for a sentence."""
    while end - start > _LONGEST_SENTENCE:
        cut = text.rfind(" ", start + 1, start + _LONGEST_SENTENCE)
        cut = cut if cut > start else start + _LONGEST_SENTENCE
        yield start, cut
        start = cut
    yield start, end


def split(text: str, sections: Sequence[SectionAt]) -> Iterator[SentenceAt]:
    """The sentences of a laid-out text that hold a word, in order."""
    for section, start, end in sections:
        at = start
        for stop in stops(text, start, end):
            short = stop - at <= _LONGEST_SENTENCE
            for first, last in ((at, stop),) if short else _pieces(text, at, stop):
                piece = text[first:last]
                stripped = piece.strip()
                if _HAS_WORD.search(stripped):
                    begin = first + piece.index(stripped)
                    yield SentenceAt(stripped, begin, begin + len(stripped), section)
            at = stop


def sentences(report: str) -> list[SentenceAt]:
    """The sentences of a report, with their places in it."""
    laid_out: LaidOut = lay_out(report)
    return [
        SentenceAt(text, *laid_out.span(start, end), section)
        for text, start, end, section in split(laid_out.text, text_sections(laid_out.text))
    ]
