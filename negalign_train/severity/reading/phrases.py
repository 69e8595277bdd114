"""The phrases of ``data/lexicon.yaml`` with what they mean, as one trie of words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

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


def phrases_of(data: Mapping[str, Any]) -> Iterator[tuple[str, Reading]]:
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


def build_trie(phrases: Iterable[tuple[str, Reading]]) -> TrieNode:
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
