"""The phrases of ``data/lexicon.yaml`` and ``data/terms.yaml`` with what they mean, as one trie of
words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any, NamedTuple

TrieNode = dict[str, Any]
"""A word to the node below it; the key ``""`` holds the readings of the phrase that ends here."""
_JOINTS = {
    "comma": (",",),
    "and": ("and",),
    "or": (
        "or",
        "versus",
        "vs",
        "and / or",
        "more likely than",
        "favored over",
        "is favored over",
        "are favored over",
    ),
    "slash": ("/",),
    "break": (";",),
}
ARTICLES = frozenset(["a", "an", "the", "its"])
"""Words that neither the phrases nor what is read with them keep: "blunting of (the) angle"."""
_CHOICE = re.compile(r"\(([^()]*)\)")
_AUXILIARIES = frozenset(["has", "have", "is", "are", "persist", "persists", "continue"])
"""A change that begins with one of these is a verb of its own: "has increased"."""
_PROBABLE = frozenset(
    ["likely", "probable", "probably", "presumably", "presumed", "favor", "favored", "favoring"]
)
"""A doubt in one of these words leans to yes."""
_SIDED = frozenset(["finding", "subject", "location", "denial"])
_SIDES = {"left": "left", "right": "right", "both": "bilateral", "bilateral": "bilateral"}
_OLD = frozenset(["old", "healed", "remote"])
_OF_THE_HEART = frozenset(
    ["heart", "ventricle", "ventricular", "atrium", "atrial", "main", "mainstem", "bronchus",
     "bronchi", "sided", "subclavian", "svc", "superior", "aortic", "or", "and", "pulmonary",
     "common", "carotid", "coronary", "brachiocephalic", "innominate", "internal", "interlobar"]
)  # fmt: skip
"""After these words "left" and "right" are part of a name."""
_PLAIN = {
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
    "parts": "part",
    "past": "past",
    "past_behind": "past_behind",
    "today": "today",
    "comparing": "comparing",
    "comparatives": "comparative",
    "described": "described",
    "origins": "origin",
    "goals": "goal",
}
"""Keys of the tables that hold one list of phrases, and the kind these are."""


class Reading(NamedTuple):
    """One meaning of a phrase: what kind of thing it is, and its value."""

    kind: str
    value: str


@dataclass(frozen=True, slots=True)
class Readings:
    """All meanings of one phrase; ``first`` maps a kind to the value of its first reading."""

    all: tuple[Reading, ...]
    first: Mapping[str, str]


def singular(word: str) -> str:
    """A word without its plural ending; the lexicon's phrases and a report's words meet here."""
    if len(word) < 4 or not word.endswith("s") or word.endswith(("ss", "us", "is")):
        return word
    return word[:-3] + "y" if word.endswith("ies") and len(word) > 4 else word[:-1]


def expanded(form: str) -> Iterator[str]:
    """Every phrase that "(is|are) likely (due to|)" stands for."""
    parts = _CHOICE.split(form)  # plain text and choices in turn
    choices = [part.split("|") if at % 2 else [part] for at, part in enumerate(parts)]
    return (" ".join("".join(chosen).split()) for chosen in product(*choices))


def merged(base: Any, more: Any) -> Any:
    """Two tables of phrases as one: mappings by key, lists one after the other."""
    if isinstance(base, Mapping):
        return {
            key: merged(base[key], more[key]) if key in base and key in more else (base | more)[key]
            for key in base | more
        }
    return [*base, *more]


def phrases_of(data: Mapping[str, Any]) -> Iterator[tuple[str, Reading]]:
    """Every phrase of the tables with its reading, choices expanded."""
    qualities = {form: name for name, forms in data["predicates"].items() for form in forms}
    for form, reading in _forms(data):
        for phrase in expanded(form):
            yield phrase, reading
            words = phrase.split()
            if reading.kind == "finding" and len(words) > 1 and words[0] in qualities:
                yield phrase, Reading("leading", qualities[words[0]])
            if reading.kind == "finding" and len(words) > 1 and words[-1] in qualities:
                yield phrase, Reading("trailing", qualities[words[-1]])
            if reading.kind == "finding" and len(words) > 1 and not _OLD.isdisjoint(words):
                yield phrase, Reading("chronic", "chronic")
            if reading.kind in _SIDED:
                yield from ((phrase, side) for side in _sides_in(words))
            if reading.kind == "change" and words[0] in _AUXILIARIES:
                yield phrase, Reading("verbal", "verbal")
            leans = not _PROBABLE.isdisjoint(words) and "less" not in words
            if reading.kind == "uncertainty" and leans:
                yield phrase, Reading("probable", "probable")


def _sides_in(words: list[str]) -> Iterator[Reading]:
    """The sides that a longer phrase names: "right upper lobe", but not "right heart border"."""
    for at, word in enumerate(words[:-1]):
        if word in _SIDES and words[at + 1] not in _OF_THE_HEART:
            yield Reading("side", _SIDES[word])


def _forms(data: Mapping[str, Any]) -> Iterator[tuple[str, Reading]]:
    """Every form of the tables, its choices as they stand."""
    grouped = {
        "finding": data["findings"],
        "subject": {name: frame["subjects"] for name, frame in data["frames"].items()},
        "predicate": data["predicates"],
        "substance": data["substances"],
        "summary": {name: entry["forms"] for name, entry in data["summaries"].items()},
        "side": data["sides"],
        "location": data["locations"],
        "degree": data["degrees"],
        "change": data["changes"],
        "position": data["positions"],
        "negation": data["negation"],
        "uncertainty": data["uncertainty"],
        "denial": data["denials"],
        "count": data["counts"],
        "subtype": {
            f"{finding}.{name}": forms
            for finding, group in data["subtypes"].items()
            for name, forms in group.items()
        },
    }
    for kind, values in grouped.items():
        for value, forms in values.items():
            yield from ((form, Reading(kind, str(value))) for form in forms)
    for key, kind in _PLAIN.items():
        yield from ((form, Reading(kind, kind)) for form in data[key])
    for phrase, (side, zone) in data["sided_locations"].items():
        yield phrase, Reading("side", side)
        yield phrase, Reading("location", zone)
    for kind, forms in _JOINTS.items():
        yield from ((form, Reading(kind, kind)) for form in forms)


def content_words(words: Iterable[str]) -> list[str]:
    """The words without articles."""
    return [word for word in words if word not in ARTICLES]


def build_trie(phrases: Iterable[tuple[str, Reading]]) -> TrieNode:
    root: TrieNode = {}
    for phrase, reading in phrases:
        node = root
        for word in content_words(phrase.split()):
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
