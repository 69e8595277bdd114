"""Errors of the text itself (R9): repetition, homophones, typing errors, a broken-off end."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator

from negalign_train.simulate.injection.tables import (
    Alteration,
    Replace,
    Report,
    like,
    sentence_at,
    tables,
)

_REPEATED, _CUT, _WORD = 0.25, 0.25, 0.1
_WORDS = re.compile(r"[A-Za-z]+")
_MIN_LETTERS = 7


def repetition(report: Report, rng: random.Random) -> Iterator[Alteration]:
    """ReXErr 7: a sentence twice in one section."""
    for sentence in report.sentences:
        if sentence.text.endswith(".") and len(sentence.text.split()) > 1:
            yield Alteration((sentence_at(sentence.end, sentence.text),), None, _REPEATED)


def homophone(report: Report, rng: random.Random) -> Iterator[Alteration]:
    """ReXErr 8: a word that sounds like the right one."""
    for sentence in report.sentences:
        for match in _WORDS.finditer(report.text, sentence.start, sentence.end):
            new = tables().homophones.get(match[0].lower())
            if new is not None:
                edit = Replace(match.start(), match.end(), like(match[0], new))
                yield Alteration((edit,), None, _WORD)


def _slipped(word: str, rng: random.Random) -> str:
    """Two letters swapped, one left out, or one doubled; the first and the last stay."""
    at = rng.randrange(1, len(word) - 2)
    kind = rng.choice(("swap", "cut", "double"))
    if kind == "swap" and word[at] != word[at + 1]:
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    if kind == "cut" and word[at] != word[at + 1] and word[at] != word[at - 1]:
        return word[:at] + word[at + 1 :]
    return word[: at + 1] + word[at:]


def typing_error(report: Report, rng: random.Random) -> Iterator[Alteration]:
    """ReXErr 9: a slip in one long word."""
    for sentence in report.sentences:
        for match in _WORDS.finditer(report.text, sentence.start, sentence.end):
            if len(match[0]) >= _MIN_LETTERS and not match[0].isupper():
                edit = Replace(match.start(), match.end(), _slipped(match[0], rng))
                yield Alteration((edit,), None, _WORD)


def truncation(report: Report, rng: random.Random) -> Iterator[Alteration]:
    """The text breaks off in the middle of its last sentence."""
    if len(report.sentences) < 2:
        return
    last = report.sentences[-1]
    words = list(_WORDS.finditer(report.text, last.start, last.end))
    for word in words[1:-1]:
        yield Alteration((Replace(word.end(), len(report.text), ""),), None, _CUT)
