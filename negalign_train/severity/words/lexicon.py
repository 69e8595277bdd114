"""The lexicon: the phrases of ``data/lexicon.yaml`` and ``data/terms.yaml``, and the tables beside
them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

from negalign_train.severity.words.phrases import (
    TrieNode,
    build_trie,
    merged,
    phrases_of,
    singular,
)
from negalign_train.vocabulary.errors import DataError
from negalign_train.vocabulary.resources import data_path, read_table
from negalign_train.vocabulary.taxonomy import finding_types

MIN_TYPO_LETTERS = 6
"""Shorter words have too many neighbours: a slip in one is not resolved."""


@dataclass(frozen=True)
class Frame:
    """An organ: what a predicate makes of it, and which findings its normality denies."""

    predicates: Mapping[str, str]
    normal: tuple[str, ...]


@dataclass(frozen=True)
class WholeExamination:
    """The words of a sentence that speaks of no organ: a denied head, or something normal, among
    ``qualifiers`` and ``plain`` words, is said of the examination."""

    denying: frozenset[str]
    heads: frozenset[str]
    qualifiers: frozenset[str]
    plain: frozenset[str]

    @cached_property
    def words(self) -> frozenset[str]:
        return self.denying | self.heads | self.qualifiers | self.plain


@dataclass(frozen=True)
class UnknownWords:
    """How an abnormal word looks that no phrase knows: ``endings`` of nouns ("-oma"), those of
    ``procedures`` ("-ectomy"), ``adjectives`` that make one of a ``heads`` word ("necrotic
    change"); ``never``: words of that form that are none ("diagnosis").
    """

    endings: re.Pattern[str]
    procedures: re.Pattern[str]
    adjectives: re.Pattern[str]
    heads: frozenset[str]
    never: frozenset[str]


@dataclass(frozen=True)
class Lexicon:
    """All tables. ``summaries``: what "no acute abnormality" denies, and ``marked_summaries`` what
    it denies only where it is marked or new. ``relations`` maps (said in the reference, said in
    the candidate) to ``leap`` or ``vague``; ``leaps`` holds pairs that
    are no stand-in: the sign is still missed; ``readings`` holds both; ``generals`` maps a finding
    to the signs it may be a reading of; ``covers``: what the denial of a finding denies too;
    ``described_findings``: where "increased" is a description and no comparison; ``content``: the
    words of all phrases; ``countable`` and ``numbered``: findings that have a number, or ribs and
    vertebrae by number; ``typo_index`` maps a word with one letter cut to the full words.
    """

    version: int
    trie: TrieNode
    frames: Mapping[str, Frame]
    summaries: Mapping[str, tuple[str, ...]]
    whole: WholeExamination
    marked_summaries: Mapping[str, tuple[str, ...]]
    relations: Mapping[tuple[str, str], str]
    leaps: frozenset[tuple[str, str]]
    generals: Mapping[str, frozenset[str]]
    covers: Mapping[str, tuple[str, ...]]
    described_findings: frozenset[str]
    countable: frozenset[str]
    numbered: frozenset[str]
    unknown: UnknownWords
    readings: frozenset[tuple[str, str]]
    mimics: Mapping[str, frozenset[str]]
    midline: frozenset[str]
    natural_places: frozenset[tuple[str, str]]
    benign_when_old: frozenset[str]
    variants: Mapping[str, str]
    misspellings: Mapping[str, str]
    placeholders: frozenset[str]
    wrong_words: frozenset[str]
    wrong_words_right: frozenset[tuple[str, str]]
    vocabulary: frozenset[str]
    content: frozenset[str]
    typo_index: Mapping[str, tuple[str, ...]]


def _typo_index(words: Iterable[str]) -> dict[str, tuple[str, ...]]:
    index: dict[str, tuple[str, ...]] = {}
    for word in sorted(words):
        for cut in one_letter_cut(word):
            index[cut] = (*index.get(cut, ()), word)
    return index


def one_letter_cut(word: str) -> set[str]:
    """The word, and the word without each of its letters in turn."""
    return {word} | {word[:i] + word[i + 1 :] for i in range(len(word))}


def _relations(pairs: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
    table: dict[tuple[str, str], str] = {}
    for general, specific in pairs:
        table[general, specific] = "leap"
        table[specific, general] = "vague"
    return table


def _generals(pairs: Iterable[tuple[str, str]]) -> dict[str, frozenset[str]]:
    table: dict[str, set[str]] = {}
    for general, specific in pairs:
        table.setdefault(specific, set()).add(general)
    return {name: frozenset(signs) for name, signs in table.items()}


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
        *data["described_findings"],
        *data["countable"],
        *data["numbered"],
        *data["subtypes"],
        *data["covers"],
    }
    named |= {name for covered in data["covers"].values() for name in covered}
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


def _tables() -> tuple[dict[str, Any], str]:
    """The tables of both files as one, and the path of the first."""
    path = data_path("lexicon.yaml")
    data, terms = read_table(path), read_table(data_path("terms.yaml"))["tables"]
    unknown = sorted(terms.keys() - data.keys())
    if unknown:
        raise DataError(f"terms.yaml: {unknown} are no tables of lexicon.yaml; correct the names")
    return data | {key: merged(data[key], more) for key, more in terms.items()}, str(path)


@cache
def lexicon() -> Lexicon:
    """The lexicon of this package, read once.

    Raises:
        DataError: the file is missing, or names findings that the catalogue does not have.
    """
    data, path = _tables()
    _check_names(data, path)
    phrases = list(phrases_of(data))
    content = {singular(word) for phrase, _ in phrases for word in phrase.split()}
    plain = ("common_words", "real_words", "english_words")
    other = {singular(word) for key in plain for word in data[key]}
    other |= {word for words in data["whole_examination"].values() for word in words}
    relations = _relations((a, b) for a, b in data["relations"])
    leaps = frozenset((a, b) for a, b in data["leaps"])
    return Lexicon(
        version=data["version"],
        trie=build_trie(phrases),
        frames={
            name: Frame(entry["predicates"], tuple(entry["normal"]))
            for name, entry in data["frames"].items()
        },
        whole=WholeExamination(
            **{kind: frozenset(words) for kind, words in data["whole_examination"].items()}
        ),
        summaries={name: tuple(entry["denies"]) for name, entry in data["summaries"].items()},
        marked_summaries={
            name: tuple(entry["denies_marked"]) for name, entry in data["summaries"].items()
        },
        relations=relations,
        leaps=leaps,
        generals=_generals(data["relations"]),
        covers={name: tuple(covered) for name, covered in data["covers"].items()},
        described_findings=frozenset(data["described_findings"]),
        countable=frozenset(data["countable"]),
        numbered=frozenset(data["numbered"]),
        unknown=UnknownWords(
            re.compile("|".join(data["unknown"]["endings"])),
            re.compile("|".join(data["unknown"]["procedures"])),
            re.compile("|".join(data["unknown"]["adjectives"])),
            frozenset(data["unknown"]["heads"]),
            frozenset(data["unknown"]["never"]),
        ),
        readings=leaps | relations.keys(),
        mimics={name: frozenset(mimicked) for name, mimicked in data["mimics"].items()},
        midline=frozenset(data["midline"]),
        natural_places=frozenset(
            (name, place) for name, places in data["natural_places"].items() for place in places
        ),
        benign_when_old=frozenset(data["benign_when_old"]),
        variants=data["variants"],
        misspellings=data["misspellings"],
        placeholders=frozenset(data["placeholders"]),
        wrong_words=frozenset(data["wrong_words"]),
        wrong_words_right=frozenset(
            (first, second) for first, second in map(str.split, data["wrong_words_right"])
        ),
        vocabulary=frozenset(content | other),
        content=frozenset(content),
        typo_index=_typo_index(word for word in content if len(word) >= MIN_TYPO_LETTERS),
    )
