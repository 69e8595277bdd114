"""The words and marks of one sentence."""

from __future__ import annotations

import re
from collections.abc import Container
from functools import cache
from typing import NamedTuple

from negalign_train.severity.text.tables import layout_tables

_WORD = re.compile(r"[a-z]+|\d+(?:\.\d+)?|[,;/]")
_SIGNED = re.compile(r"(?<![\w])([-+])\s?ve\b(\s+for\b)?")
_DENIED = ("is", "absent", ";")
_ASKED = re.compile(r"(?:^|(?<=[\s,(/]))\?\s?(?=[a-z])")
_PLUS = re.compile(r"(?:^|[,;])\s{0,4}\+\s?[a-z]")
_PLUS_OR_MINUS = re.compile(r"(?:^|(?<=[,;]))\s{0,4}([-+])\s?(?=[a-z])")
_HINT = re.compile(r"[:?=(+]| ,|-\s?ve\b")
"""What a sentence needs to hold one answer of a template, or a sign."""


class Token(NamedTuple):
    """One lower-case word or mark with its [start, end) in the sentence."""

    text: str
    start: int
    end: int


@cache
def _answers() -> re.Pattern[str]:
    tables = layout_tables()

    def longest_first(words: tuple[str, ...]) -> str:
        return "|".join(sorted(words, key=len, reverse=True))

    return re.compile(
        r"(?:[:?=]|(?<=\s),)\s{0,20}(?:(?P<denied>"
        + longest_first(tables.denying_answers)
        + ")|(?:"
        + longest_first(tables.affirming_answers)
        + r"))\s{0,20}(?=[,.;)]|$)"
        r"|\(\s?(?:(?P<minus>-)|\+)\s?(?:ve)?\s?\)"
    )


def _meant(affirmed: str) -> tuple[str, ...]:
    """A sign ends what it stands behind; attributes may follow a word ("present, on the right")."""
    return (";",) if affirmed.startswith("(") else ()


def _answered(sentence: str) -> list[tuple[int, int, tuple[str, ...]]]:
    """[start, end) of each answer of a template ("Pneumothorax: none") with the words it means.

    A dash denies where a plus affirms in the same sentence ("+ cardiomegaly, - effusion").
    """
    found = [
        (m.start(), m.end(), _DENIED if m["denied"] or m["minus"] else _meant(m[0]))
        for m in _answers().finditer(sentence)
    ]
    # "?pneumonia" behind a finding is a possible reading of it, at the begin it is a question.
    found += [
        (m.start(), m.end(), ("evaluate", "for") if not m.start() else ("possible",))
        for m in _ASKED.finditer(sentence)
    ]
    if _PLUS.search(sentence) is not None:
        found += [
            (m.start(), m.end(), (";", "no") if m[1] == "-" else (";",))
            for m in _PLUS_OR_MINUS.finditer(sentence)
        ]
    for match in _SIGNED.finditer(sentence):
        if any(start <= match.start() < end for start, end, _ in found):
            continue
        negative = ("negative",) if match[2] else _DENIED
        end = match.end() if match[2] is None else match.start(2)
        found.append((match.start(), end, negative if match[1] == "-" else ()))
    return sorted(found)


def _rejoined(
    tokens: tuple[Token, ...], sentence: str, joined_words: Container[str]
) -> tuple[Token, ...]:
    """Two words of which a hyphen makes one that the lexicon has: "pneumo-thorax", also where the
    line ends behind the hyphen."""
    result: list[Token] = []
    for token in tokens:
        before = result[-1] if result else None
        if before is not None and before.text.isalpha() and token.text.isalpha():
            gap = sentence[before.end : token.start]
            whole = before.text + token.text
            if gap[:1] == "-" and not gap[1:].strip() and whole in joined_words:
                result[-1] = Token(whole, before.start, token.end)
                continue
        result.append(token)
    return tuple(result)


def words_and_marks(sentence: str, joined_words: Container[str] = frozenset()) -> tuple[Token, ...]:
    """Words, numbers and the marks that matter; other marks only separate, and so do hyphens,
    unless the two words are one of ``joined_words``.
    """
    lower = sentence.lower()
    tokens = tuple(Token(m[0], m.start(), m.end()) for m in _WORD.finditer(lower))
    if "-" in lower:
        tokens = _rejoined(tokens, lower, joined_words)
    if _HINT.search(lower) is None:
        return tokens
    for start, end, meant in reversed(_answered(lower)):
        before = [token for token in tokens if token.end <= start]
        behind = [token for token in tokens if token.start >= end]
        tokens = (*before, *(Token(word, start, end) for word in meant), *behind)
    return tokens
