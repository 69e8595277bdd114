"""Flags of the wording itself: loops, chatter of a language model, sentences that nobody reads."""

from __future__ import annotations

import re
from collections.abc import Iterator

from negalign_train.severity.alone.flags import Flag
from negalign_train.severity.alone.tables import flat, plausibility
from negalign_train.severity.pricing.compare import SLIP_WEIGHTS
from negalign_train.severity.reading.statements import read_sentence
from negalign_train.severity.text.sentences import sentences

_WORD = re.compile(r"[a-z0-9]+")
_LOOP_WORDS = 4
"""A phrase of up to so many words that comes three times in a row is a loop."""
_MIN_REPEATS = 3
_UNREAD_WORDS = 4
_UNREAD_KNOWN = 0.5
"""A sentence of so many words, of which the lexicon knows a smaller share, was not read."""


def flags_of_wording(report: str) -> Iterator[Flag]:
    lower = flat(report)
    for start, end in _loops(lower):
        weight = SLIP_WEIGHTS["repeated_sentence"]
        yield Flag("integrity", "report_integrity", weight, None, "words in a loop", (start, end))
    for match in plausibility().chatter.finditer(lower):
        weight = SLIP_WEIGHTS["placeholder"]
        detail = "words about the task, not about the study"
        yield Flag("chatter", "report_integrity", weight, None, detail, match.span())
    for sentence in sentences(report):
        facts = read_sentence(sentence.text)
        known_enough = facts.num_known >= _UNREAD_KNOWN * facts.num_words
        if sentence.section == "aside" or facts.num_words < _UNREAD_WORDS or known_enough:
            continue
        if not facts.statements:
            span = (sentence.start, sentence.end)
            detail = "nothing recognised in it, and most of its words are unknown"
            yield Flag("unread", "report_integrity", None, None, detail, span)


def _loops(lower: str) -> Iterator[tuple[int, int]]:
    """Where a phrase comes three times in a row or more, each run once; linear in the text."""
    words = [(match[0], match.start(), match.end()) for match in _WORD.finditer(lower)]
    at = 0
    while at < len(words):
        run = max((_run(words, at, size) for size in range(1, _LOOP_WORDS + 1)), default=0)
        if run:
            yield words[at][1], words[at + run - 1][2]
        at += max(1, run)


def _run(words: list[tuple[str, int, int]], at: int, size: int) -> int:
    """Words of the run of the phrase of ``size`` words at ``at``; 0 where it is none."""
    end = at + size
    while end < len(words) and words[end][0] == words[end - size][0]:
        end += 1
    return end - at if end - at >= _MIN_REPEATS * size else 0
