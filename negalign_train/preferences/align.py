"""What a reader changed: word-level alignment of a chosen text with the rejected one. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from negalign_train.vocabulary.approval import WORD

Span = tuple[int, int]


@dataclass(frozen=True)
class WordChange:
    """One place where the texts differ, as character offsets [start, end) of each side.

    A side without words of its own (an insertion, a deletion) holds an empty span at the place.
    """

    chosen: Span
    rejected: Span


@dataclass(frozen=True)
class Alignment:
    """Changes in order of the text, and the runs of words left standing after the first change.

    ``kept`` holds character offsets [start, end) into the rejected text.
    """

    changes: tuple[WordChange, ...]
    kept: tuple[Span, ...]


def align(chosen: str, rejected: str) -> Alignment:
    """Aligns two texts by their words (``difflib``, autojunk off; letter case counts).

    White space between two changed words belongs to the change; white space at its edges to
    neither side, so that a token which starts with a space counts with its word.
    """
    spans_c = [match.span() for match in WORD.finditer(chosen)]
    spans_r = [match.span() for match in WORD.finditer(rejected)]
    words_c = [chosen[start:end] for start, end in spans_c]
    words_r = [rejected[start:end] for start, end in spans_r]
    changes: list[WordChange] = []
    kept: list[Span] = []
    matcher = SequenceMatcher(a=words_c, b=words_r, autojunk=False)
    for tag, c1, c2, r1, r2 in matcher.get_opcodes():
        if tag != "equal":
            changes.append(WordChange(_run(spans_c, c1, c2), _run(spans_r, r1, r2)))
        elif changes:
            kept.append(_run(spans_r, r1, r2))
    return Alignment(tuple(changes), tuple(kept))


def _run(spans: Sequence[Span], first: int, stop: int) -> Span:
    """Characters of the words [first, stop); for no word, the place after the word before."""
    if first == stop:
        place = spans[first - 1][1] if first else 0
        return place, place
    return spans[first][0], spans[stop - 1][1]
