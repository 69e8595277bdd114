"""The lexicon, ``data/lexicon.yaml``: phrases as one token trie, and the tables beside it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, NamedTuple

import yaml

from negalign_train.vocabulary.errors import DataError
from negalign_train.vocabulary.resources import data_path
from negalign_train.vocabulary.taxonomy import finding_types

TrieNode = dict[str, Any]
"""A word to the node below it; the key ``""`` holds the readings of the phrase that ends here."""
_JOINTS = {
    "comma": (",",),
    "and": ("and",),
    "or": (
        "or",
        "/",
        "versus",
        "vs",
        "and / or",
        "more likely than",
        "favored over",
        "is favored over",
        "are favored over",
    ),
    "break": (";",),
}
_AUXILIARIES = frozenset(["has", "have", "is", "are", "persist", "persists", "continue"])
"""A change that begins with one of these is a verb of its own: "has increased"."""
_MIN_TYPO_LETTERS = 6
_CACHED_WORDS = 1 << 16


class Reading(NamedTuple):
    """One meaning of a phrase: what kind of thing it is, and its value."""

    kind: str
    value: str


@dataclass(frozen=True, slots=True)
class Readings:
    """All meanings of one phrase; ``first`` maps a kind to the value of its first reading."""

    all: tuple[Reading, ...]
    first: Mapping[str, str]


@dataclass(frozen=True)
class Frame:
    """An organ: what a predicate makes of it, and which findings its normality denies."""

    predicates: Mapping[str, str]
    normal: tuple[str, ...]


@dataclass(frozen=True)
class Lexicon:
    """All tables. ``summaries``: what "no acute abnormality" denies, and ``marked_summaries`` what
    it denies only where it is marked or new. ``relations`` maps (said in the reference, said in
    the candidate) to ``leap`` or ``vague``; ``leaps`` holds such pairs that
    are no stand-in: the sign is still missed; ``readings`` holds both; ``typo_index`` maps a word
    with one letter cut to the full words.
    """

    version: int
    trie: TrieNode
    frames: Mapping[str, Frame]
    summaries: Mapping[str, tuple[str, ...]]
    marked_summaries: Mapping[str, tuple[str, ...]]
    relations: Mapping[tuple[str, str], str]
    leaps: frozenset[tuple[str, str]]
    readings: frozenset[tuple[str, str]]
    mimics: Mapping[str, frozenset[str]]
    midline: frozenset[str]
    natural_places: frozenset[tuple[str, str]]
    benign_when_old: frozenset[str]
    variants: Mapping[str, str]
    misspellings: Mapping[str, str]
    placeholders: frozenset[str]
    wrong_words: frozenset[str]
    vocabulary: frozenset[str]
    typo_index: Mapping[str, tuple[str, ...]]


def singular(word: str) -> str:
    """A word without its plural ending; the lexicon's phrases and a report's words meet here."""
    if len(word) < 4 or not word.endswith("s") or word.endswith(("ss", "us", "is")):
        return word
    return word[:-3] + "y" if word.endswith("ies") and len(word) > 4 else word[:-1]


def _phrases(data: Mapping[str, Any]) -> Iterator[tuple[str, Reading]]:
    """Every phrase of the file with its reading."""
    grouped = {
        "finding": data["findings"],
        "subject": {name: frame["subjects"] for name, frame in data["frames"].items()},
        "predicate": data["predicates"],
        "summary": {name: entry["forms"] for name, entry in data["summaries"].items()},
        "side": data["sides"],
        "location": data["locations"],
        "degree": data["degrees"],
        "change": data["changes"],
        "position": data["positions"],
        "negation": data["negation"],
        "uncertainty": data["uncertainty"],
        "denial": data["denials"],
    }
    plain = {
        "normal": "normal",
        "normal_partial": "partial",
        "normal_examinations": "normal_examination",
        "hypothetical": "hypothetical",
        "clause_breaks": "break",
        "joined_phrases": "joined",
        "side_exceptions": "joined",
        "verbs": "verb",
        "seen": "seen",
        "prepositions": "preposition",
        "qualifiers": "qualifier",
        "studies": "study",
        "anaphora": "anaphor",
        "chronic": "chronic",
        "adjacent": "adjacent",
        "change_nouns": "change_noun",
        "degree_adverbs": "adverb",
        "relatives": "relative",
        "resumes": "resume",
        "unassessed": "unassessed",
    }
    for kind, values in grouped.items():
        for value, forms in values.items():
            yield from ((form, Reading(kind, value)) for form in forms)
    for form in (form for forms in data["changes"].values() for form in forms):
        if form.split()[0] in _AUXILIARIES:
            yield form, Reading("verbal", "verbal")
    for key, kind in plain.items():
        yield from ((form, Reading(kind, kind)) for form in data[key])
    for phrase, (side, zone) in data["sided_locations"].items():
        yield phrase, Reading("side", side)
        yield phrase, Reading("location", zone)
    for kind, forms in _JOINTS.items():
        yield from ((form, Reading(kind, kind)) for form in forms)


def _trie(phrases: Iterable[tuple[str, Reading]]) -> TrieNode:
    root: TrieNode = {}
    for phrase, reading in phrases:
        node = root
        for word in phrase.split():
            node = node.setdefault(singular(word), {})
        readings: tuple[Reading, ...] = node.get("", ())
        if reading not in readings:
            node[""] = (*readings, reading)
    _close(root)
    return root


def _close(node: TrieNode) -> None:
    """Turns every tuple of readings below ``node`` into ``Readings``."""
    for word, below in node.items():
        if word:
            _close(below)
        else:
            node[""] = Readings(below, {r.kind: r.value for r in reversed(below)})


def _typo_index(words: Iterable[str]) -> dict[str, tuple[str, ...]]:
    index: dict[str, tuple[str, ...]] = {}
    for word in sorted(words):
        for cut in _one_letter_cut(word):
            index[cut] = (*index.get(cut, ()), word)
    return index


def _one_letter_cut(word: str) -> set[str]:
    return {word} | {word[:i] + word[i + 1 :] for i in range(len(word))}


def _relations(pairs: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
    table: dict[tuple[str, str], str] = {}
    for general, specific in pairs:
        table[general, specific] = "leap"
        table[specific, general] = "vague"
    return table


def _check_names(data: Mapping[str, Any], path: str) -> None:
    """Every finding named in a table is one of the catalogue, every one of it has phrases, and so
    has every place of its devices.
    """
    known = set(finding_types())
    named: set[str] = {
        *data["midline"],
        *data["natural_places"],
        *data["benign_when_old"],
        *data["denials"],
    }
    named |= {name for pair in (*data["relations"], *data["leaps"]) for name in pair}
    for frame in data["frames"].values():
        named |= set(frame["normal"]) | set(frame["predicates"].values())
    for entry in data["summaries"].values():
        named |= set(entry["denies"]) | set(entry["denies_marked"])
    for artefact, mimicked in data["mimics"].items():
        named |= {artefact, *mimicked}
    places = {place for entry in finding_types().values() for place in entry.tip}
    wrong = sorted(
        (named - known) | (set(data["findings"]) ^ known) | (places - set(data["positions"]))
    )
    if wrong:
        raise DataError(
            f"{path}: {', '.join(wrong)} not in both lexicon and data/findings.yaml; add the "
            "phrases or correct the name"
        )


@cache
def lexicon() -> Lexicon:
    """The lexicon of this package, read once.

    Raises:
        DataError: the file is missing, or names findings that the catalogue does not have.
    """
    path = data_path("lexicon.yaml")
    data = yaml.safe_load(path.read_text(encoding="utf-8"))
    _check_names(data, str(path))
    phrases = list(_phrases(data))
    content = {singular(word) for phrase, _ in phrases for word in phrase.split()}
    plain = ("common_words", "real_words", "english_words")
    other = {singular(word) for key in plain for word in data[key]}
    relations = _relations((a, b) for a, b in data["relations"])
    leaps = frozenset((a, b) for a, b in data["leaps"])
    return Lexicon(
        version=data["version"],
        trie=_trie(phrases),
        frames={
            name: Frame(entry["predicates"], tuple(entry["normal"]))
            for name, entry in data["frames"].items()
        },
        summaries={name: tuple(entry["denies"]) for name, entry in data["summaries"].items()},
        marked_summaries={
            name: tuple(entry["denies_marked"]) for name, entry in data["summaries"].items()
        },
        relations=relations,
        leaps=leaps,
        readings=leaps | relations.keys(),
        mimics={name: frozenset(found) for name, found in data["mimics"].items()},
        midline=frozenset(data["midline"]),
        natural_places=frozenset(
            (name, place) for name, places in data["natural_places"].items() for place in places
        ),
        benign_when_old=frozenset(data["benign_when_old"]),
        variants=data["variants"],
        misspellings=data["misspellings"],
        placeholders=frozenset(data["placeholders"]),
        wrong_words=frozenset(data["wrong_words"]),
        vocabulary=frozenset(content | other),
        typo_index=_typo_index(word for word in content if len(word) >= _MIN_TYPO_LETTERS),
    )


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


@lru_cache(maxsize=_CACHED_WORDS)
def read_word(raw: str) -> Word:
    """A lower-case word to its lexicon form, with accepted spellings and slips resolved."""
    tables = lexicon()
    if raw in tables.misspellings:
        return Word(singular(tables.misspellings[raw]), True, True)
    if raw in tables.wrong_words:
        return Word(raw, True, False)
    form = singular(tables.variants.get(raw, raw))
    if form in tables.vocabulary or raw in tables.vocabulary:
        return Word(form, False, True)
    if len(form) >= _MIN_TYPO_LETTERS and form.isalpha() and len(form) < 40:
        for cut in sorted(_one_letter_cut(form)):
            for meant in tables.typo_index.get(cut, ()):
                if _is_one_slip(form, meant):
                    return Word(meant, True, True)
    return Word(form, False, not form.isalpha())
