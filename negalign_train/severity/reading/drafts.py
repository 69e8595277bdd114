"""One sentence to items, the longest phrases of the trie, in numbered clauses.

An item is a phrase with its readings; a draft is a statement before negation and attributes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from negalign_train.severity.words.phrases import Readings, TrieNode
from negalign_train.severity.words.spelling import Word
from negalign_train.severity.words.unknown import unknown_noun, unknown_phrase

_MARKS = frozenset(["comma", "and", "or", "slash", "break"])
_JOINTS = frozenset(["comma", "and"])
_COMPLETING = frozenset(["verb", "negation", "predicate", "normal"])


@dataclass(slots=True)
class Item:
    """Phrase number ``index`` of a sentence, at its words [start, end), in clause ``clause``."""

    readings: Readings
    index: int
    start: int
    end: int
    clause: int = 0

    def value(self, kind: str) -> str | None:
        """The value of its reading of this kind, None where it has none."""
        return self.readings.first.get(kind)

    def has(self, kinds: frozenset[str]) -> bool:
        """Whether it has a reading of one of these kinds."""
        return not kinds.isdisjoint(self.readings.first)

    def values(self, kind: str) -> tuple[str, ...]:
        """The values of all its readings of this kind."""
        if kind not in self.readings.first:
            return ()
        return tuple(reading.value for reading in self.readings.all if reading.kind == kind)


@dataclass(slots=True)
class StatementDraft:
    """A statement in the making, of ``items``; they span the words [start, end);
    ``first`` is the index of the first of them.

    ``dropped``: it becomes no statement; ``unsaid``: because the text only speaks of it ("to
    exclude a mass"). ``sweeping``: a bare "fracture", of no bone that is named."""

    finding: str
    items: tuple[Item, ...]
    present: bool = True
    certain: bool = True
    implied: bool = False
    partial: bool = False
    only_marked: bool = False
    chronic: bool = False
    dropped: bool = False
    unsaid: bool = False
    probable: bool = False
    sweeping: bool = False
    how_many: int | None = None
    subtypes: list[str] = field(default_factory=list)
    numbers: list[str] = field(default_factory=list)
    sides: list[str] = field(default_factory=list)
    locations: list[str] = field(default_factory=list)
    degrees: list[str] = field(default_factory=list)
    changes: list[str] = field(default_factory=list)
    size_mm: float | None = None
    start: int = field(init=False)
    end: int = field(init=False)
    clause: int = field(init=False)
    first: int = field(init=False)

    def __post_init__(self) -> None:
        self.start = min(item.start for item in self.items)
        self.end = max(item.end for item in self.items)
        self.clause = self.items[-1].clause
        self.first = min(item.index for item in self.items)


def scan(words: Sequence[Word], trie: TrieNode) -> list[Item]:
    """All phrases from left to right, the longest at each place, none overlapping."""
    items: list[Item] = []
    at, total = 0, len(words)
    while at < total:
        node = trie.get(words[at].form)
        end, matched_to = at + 1, at
        readings: Readings | None = None
        while node is not None:
            if "" in node:
                readings, matched_to = node[""], end
            if end >= total:
                break
            node = node.get(words[end].form)
            end += 1
        if readings is None:
            readings, matched_to = _unknown(words, at)
        if readings is not None:
            items.append(Item(readings, len(items), at, matched_to))
        at = max(matched_to, at + 1)
    return items


def _unknown(words: Sequence[Word], at: int) -> tuple[Readings | None, int]:
    """The reading of an unknown word at ``at``, alone or with the noun behind it, and its end."""
    word = words[at].form
    if at + 1 < len(words) and (phrase := unknown_phrase(word, words[at + 1].form)) is not None:
        return phrase, at + 2
    return unknown_noun(word), at + 1


def _has_own_verb(items: Sequence[Item], at: int, verbed: bool) -> bool:
    """Whether the segment after item ``at``, up to the next mark, has a verb of its own.

    "... and pneumothorax is seen" has none: that verb belongs to the whole list, unless the clause
    before is ``verbed`` ("there is no effusion, and pneumothorax is seen").
    """
    for index in range(at + 1, len(items)):
        item = items[index]
        if item.has(_MARKS):
            return False
        if item.value("verb"):
            following = items[index + 1] if index + 1 < len(items) else None
            return verbed or following is None or not following.value("seen")
    return False


def split_clauses(items: Sequence[Item]) -> None:
    """Numbers the clauses. A list of organs with one verb at its end stays one clause."""
    clause = 0
    complete = verbed = False
    for index, item in enumerate(items):
        joint = complete and item.has(_JOINTS)
        if item.value("break") or (joint and _has_own_verb(items, index, verbed)):
            clause += 1
            complete = verbed = False
        item.clause = clause
        verbed = verbed or item.value("verb") is not None
        complete = complete or item.has(_COMPLETING)
