"""Abnormal words that no phrase knows: an unknown noun in "-oma" is a finding of some weight."""

from __future__ import annotations

from functools import lru_cache

from negalign_train.severity.words.lexicon import lexicon
from negalign_train.severity.words.phrases import Reading, Readings

UNKNOWN = "other_abnormality"
PROCEDURE = "postoperative_change"
_CACHED_WORDS = 1 << 14


@lru_cache(maxsize=_CACHED_WORDS)
def unknown_noun(word: str) -> Readings | None:
    """The reading of an unknown word that its ending makes a disease ("hamartoma") or a procedure
    ("sympathectomy"), else None."""
    rules = lexicon().unknown
    if word in rules.never:
        return None
    if rules.procedures.search(word):
        return _abnormality(PROCEDURE, word)
    return _abnormality(UNKNOWN, word) if rules.endings.search(word) else None


@lru_cache(maxsize=_CACHED_WORDS)
def unknown_phrase(word: str, head: str) -> Readings | None:
    """The reading of an unknown adjective before a general noun ("necrotic change"), else None."""
    rules = lexicon().unknown
    if head not in rules.heads or word in rules.never or not rules.adjectives.search(word):
        return None
    return _abnormality(UNKNOWN, word)


def _abnormality(finding: str, word: str) -> Readings:
    readings = (Reading("finding", finding), Reading("subtype", f"{finding}.{word}"))
    return Readings(readings, {reading.kind: reading.value for reading in readings})
