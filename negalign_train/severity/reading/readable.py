"""Whether the scorer can read a report at all: English, and of the chest.

A German report shares "Pneumothorax" with an English one, a head CT shares "no fracture" with a
chest film. Read with the lexicon of chest reports, both would get a score that means nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from negalign_train.vocabulary.resources import data_path, read_table

_WORD = re.compile(r"[^\W\d_]+")
_FOREIGN_LETTER = re.compile(r"[\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f\u0370-\uffdc]")
"""Letters that English does not have; the micro sign and the degree are not among them."""
MOST_KNOWN = 0.75
"""A text of whose words the lexicon knows this share is English; of OpenI's it knows 96 %."""
FEW_KNOWN = 0.6
"""One foreign word is enough where the lexicon knows a smaller share of the words than this."""
HARDLY_KNOWN = 0.35
"""Without any English function word, a longer text of which less is known is not English."""
_LONGER = 6
_FILLER = "lorem ipsum"
_MARKS = ".,;:!?()/-"
_CLAUSE_END = re.compile(r"[.,;:!?\n]")
_TITLE_CHARACTERS = 80
_TITLE_HEADING = re.compile(r"(?:examination|exam|procedure|technique|study)[ \t]{0,8}:", re.I)
_TITLE_END = re.compile(r"[.\n]")


@dataclass(frozen=True)
class _Examinations:
    """``phrases`` of other examinations by their first words.

    ``unanchored`` are those that count only where no word of the chest stands beside them.
    """

    chest: frozenset[str]
    phrases: Mapping[str, tuple[str, ...]]
    unanchored: tuple[str, ...]
    title: re.Pattern[str]


def _table(name: str) -> dict[str, Any]:
    table: dict[str, Any] = read_table(data_path(name))
    return table


@cache
def _languages() -> tuple[frozenset[str], frozenset[str]]:
    """Function words of English, and those of all other languages."""
    table = _table("languages.yaml")
    return frozenset(table["english"]), frozenset(
        w for some in table["other"].values() for w in some
    )


@cache
def _decisive() -> tuple[frozenset[str], tuple[str, ...]]:
    """Words, and phrases, of which one makes a clause without English function words foreign."""
    table = _table("languages.yaml")
    words = frozenset(w for some in table["decisive"].values() for w in some)
    return words, tuple(table["decisive_phrases"])


@cache
def _examinations() -> _Examinations:
    table = _table("examinations.yaml")
    phrases: dict[str, tuple[str, ...]] = {}
    for phrase in (phrase for some in table["other"].values() for phrase in some):
        first = phrase.split()[0]
        phrases[first] = (*phrases.get(first, ()), phrase)
    modality, region = ("|".join(table[name]) for name in ("modalities", "regions"))
    between = r"(?:[ ,]+(?:scan|of|the|left|right|bilateral|both|examination)){0,4}[ ,]+"
    before = r"(?:(?:portable|limited|left|right|bilateral|the|non|contrast|enhanced)[ ,]+)*"
    title = rf"{before}(?:(?:{modality}){between}(?:{region})|(?:{region})[ ,]+(?:{modality}))\b"
    return _Examinations(
        frozenset(table["chest"]), phrases, tuple(table["unanchored"]), re.compile(title)
    )


def is_other_language(text: str, num_words: int, num_known: int) -> bool:
    """Whether a text is written in another language than English.

    One foreign clause is enough, however much English stands around it. Else, where the lexicon
    knows most words, it is not; and where it does not, its words are counted against two lists of
    function words, and with few of them the lexicon decides again, so that telegraphic English
    stays readable.
    """
    lower = text.lower()
    if _has_foreign_clause(lower):
        return True
    if text.isascii() and num_words and num_known >= MOST_KNOWN * num_words:
        return False
    words = _WORD.findall(lower)
    english, other = _languages()
    of_english = sum(word in english for word in words)
    of_other = sum(word in other or _FOREIGN_LETTER.search(word) is not None for word in words)
    if _FILLER in lower:
        return False  # a placeholder, in no language
    if of_other > of_english and (of_other > 1 or num_known < FEW_KNOWN * num_words):
        return True
    return not of_english and num_words >= _LONGER and num_known < HARDLY_KNOWN * num_words


def _has_foreign_clause(lower: str) -> bool:
    """Whether a clause has a foreign negation or side and no English function word."""
    decisive, phrases = _decisive()
    if any(phrase in lower and re.search(rf"\b{re.escape(phrase)}", lower) for phrase in phrases):
        return True
    spaced = lower
    for mark in _MARKS:  # faster than the regular expression, and most reports end here
        spaced = spaced.replace(mark, " ")
    if decisive.isdisjoint(spaced.split()):
        return False
    english, _ = _languages()
    return any(
        not decisive.isdisjoint(clause) and english.isdisjoint(clause)
        for clause in map(_WORD.findall, _CLAUSE_END.split(lower))
    )


def is_other_examination(text: str, sentences: Iterable[str]) -> bool:
    """Whether a report is of another examination than one of the chest.

    ``sentences`` are the lower-case words of what the report says, without its asides: neither an
    indication nor an advice to do a CT of the abdomen makes it one. Different words of other
    regions stand against different words of the chest, and a title against as many.
    """
    tables = _examinations()
    said = " ".join(sentences)
    words = set(said.split())
    if words.isdisjoint(tables.phrases) and not words.isdisjoint(tables.chest):
        return False  # most reports
    elsewhere = sum(
        f" {phrase} " in f" {said} "
        for first in words & tables.phrases.keys()
        for phrase in tables.phrases[first]
    )
    of_chest = len(words & tables.chest)
    if not of_chest and any(f" {phrase} " in f" {said} " for phrase in tables.unanchored):
        return True
    if elsewhere < of_chest:
        return False
    return elsewhere > 2 * of_chest or _has_other_title(text, tables)


def _has_other_title(text: str, tables: _Examinations) -> bool:
    """Whether the first words, or an examination section, name another region and not the chest."""
    starts = [0, *(match.end() for match in _TITLE_HEADING.finditer(text))]
    for start in starts:
        line = _TITLE_END.split(text[start : start + _TITLE_CHARACTERS].strip(), maxsplit=1)[0]
        title = re.sub(r"[^a-z,]+", " ", line.lower()).strip()
        if tables.title.match(title) and tables.chest.isdisjoint(title.replace(",", " ").split()):
            return True
    return False
