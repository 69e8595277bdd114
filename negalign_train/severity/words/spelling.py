"""A word of a report as the lexicon spells it: other spellings, plurals and slips resolved."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from negalign_train.severity.words.lexicon import MIN_TYPO_LETTERS, lexicon, one_letter_cut
from negalign_train.severity.words.phrases import singular

_CACHED_WORDS = 1 << 16


class Word(NamedTuple):
    """One word as the lexicon spells it; ``misspelt`` when the report spelt it wrongly."""

    form: str
    misspelt: bool
    known: bool


def _is_one_slip(word: str, meant: str) -> bool:
    """Damerau-Levenshtein distance 1, with the first letter right."""
    if word[0] != meant[0] or abs(len(word) - len(meant)) > 1:
        return False
    if len(word) != len(meant):
        shorter, longer = sorted((word, meant), key=len)
        return any(longer[:i] + longer[i + 1 :] == shorter for i in range(len(longer)))
    wrong = [i for i, (a, b) in enumerate(zip(word, meant, strict=True)) if a != b]
    if len(wrong) == 1:
        return True
    swapped = len(wrong) == 2 and wrong[1] == wrong[0] + 1
    return swapped and word[wrong[0]] == meant[wrong[1]] and word[wrong[1]] == meant[wrong[0]]


_BRITISH = (
    ("ae", "e"), ("oe", "e"), ("our", "or"), ("is", "iz"), ("ys", "yz"), ("re", "er"),
    ("lled", "led"), ("lling", "ling"), ("ller", "ler"), ("ogue", "og"),
)  # fmt: skip
"""British spellings and the American ones, as in "oedema", "tumour", "localised", "centre"."""


def _american(word: str, vocabulary: frozenset[str]) -> str:
    """A British word as the lexicon spells it; the word itself where that is none of its words."""
    for british, american in _BRITISH:
        at = word.find(british)
        while at >= 0:
            other = word[:at] + american + word[at + len(british) :]
            if other in vocabulary:
                return other
            at = word.find(british, at + 1)
    return word


@lru_cache(maxsize=_CACHED_WORDS)
def read_word(raw: str) -> Word:
    """A lower-case word to its lexicon form, with accepted spellings and slips resolved."""
    tables = lexicon()
    if raw in tables.misspellings:
        return Word(singular(tables.misspellings[raw]), True, True)
    if raw in tables.wrong_words:
        return Word(raw, True, False)
    form = singular(tables.variants.get(raw, raw))
    if form not in tables.content and raw not in tables.content:
        form = _american(form, tables.content)
    if form in tables.vocabulary or raw in tables.vocabulary:
        return Word(form, False, True)
    if len(form) >= MIN_TYPO_LETTERS and form.isalpha() and len(form) < 40:
        for cut in sorted(one_letter_cut(form)):
            for meant in tables.typo_index.get(cut, ()):
                if _is_one_slip(form, meant):
                    return Word(meant, True, True)
    return Word(form, False, not form.isalpha())
