"""One sentence to items and drafts: the longest phrases of the trie, organs joined to predicates.

An item is a phrase with its readings; a draft is a statement before negation and attributes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from negalign_train.severity.reading.lexicon import Lexicon
from negalign_train.severity.reading.phrases import Readings, TrieNode
from negalign_train.severity.reading.spelling import Word

_MARKS = frozenset(["comma", "and", "or", "break"])
_JOINTS = frozenset(["comma", "and"])
_COMPLETING = frozenset(["verb", "negation", "predicate", "normal"])
_ENDS_LIST = frozenset(["finding", "normal", "negation"])
_WHOLE = "cardiopulmonary"
"""The summary that a normal examination denies."""
_WHOLE_WORDS = 16
"""A longer sentence speaks of something."""
_NO_READINGS = Readings((), {})
_NEAR_WORDS = 4
"""A predicate reaches an organ on its right over at most this many words."""


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
    ``first`` is the index of the first of them."""

    finding: str
    items: tuple[Item, ...]
    present: bool = True
    certain: bool = True
    implied: bool = False
    partial: bool = False
    only_marked: bool = False
    chronic: bool = False
    dropped: bool = False
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
        if readings is not None:
            items.append(Item(readings, len(items), at, matched_to))
        at = max(matched_to, at + 1)
    return items


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


def _meaning(tables: Lexicon, subject: Item, predicate: Item) -> str | None:
    """The finding an organ and a predicate make, None where they do not belong together."""
    organ, quality = subject.value("subject"), predicate.value("predicate")
    return (
        None if organ is None or quality is None else tables.frames[organ].predicates.get(quality)
    )


def _is_joined(items: Sequence[Item], at: int) -> bool:
    """Whether an "and" or a comma stands before item ``at``: "tortuous and calcified aorta"."""
    return at > 0 and items[at - 1].has(_JOINTS)


def _goes_on(items: Sequence[Item], at: int) -> bool:
    """Whether another predicate follows item ``at``: "tortuous, calcified aorta"."""
    return at + 1 < len(items) and items[at + 1].value("predicate") is not None


def _subjects_right(items: Sequence[Item], at: int) -> list[Item]:
    """The organs that follow a predicate: the first near it, and those listed with it."""
    predicate = items[at]
    subjects: list[Item] = []
    last_end = predicate.end
    for item in items[at + 1 :]:
        if item.clause != predicate.clause or item.value("verb"):
            break
        if item.value("predicate") and not _is_joined(items, item.index):
            break
        if item.has(_ENDS_LIST):
            break
        if item.value("subject"):
            if item.start - last_end > _NEAR_WORDS:
                break
            subjects.append(item)
            last_end = item.end
        elif not subjects and item.value("comma") and not _goes_on(items, item.index):
            break
    return subjects


class _Linker:
    """Joins organs and predicates of one sentence, from left to right."""

    def __init__(self, tables: Lexicon, items: Sequence[Item]) -> None:
        self.tables, self.items = tables, items
        self.pending: list[Item] = []
        self.last: list[Item] = []
        self.clause = 0
        self.used: set[int] = set()
        self.drafts: list[StatementDraft] = []

    def run(self) -> list[StatementDraft]:
        for index, item in enumerate(self.items):
            if item.clause != self.clause:
                self.pending, self.clause = [], item.clause
            findings = item.values("finding")
            if findings:
                self.drafts += [StatementDraft(finding, (item,)) for finding in findings]
            elif item.value("denial"):
                denied = item.value("denial")
                assert denied is not None
                self.drafts.append(StatementDraft(denied, (item,), present=False))
            elif item.value("subject") and id(item) not in self.used:
                self.pending.append(item)
            elif item.value("predicate"):
                self._predicate(index, item)
            if item.value("normal"):
                self._normal(index, item)
            self._whole_statement(item)
        return self.drafts

    def _predicate(self, index: int, item: Item) -> None:
        right = _subjects_right(self.items, index)[:1]
        said = {draft.finding for draft in self.drafts if draft.clause == item.clause}
        for group in (self.pending, right, self.last):
            fitting = [s for s in group if _meaning(self.tables, s, item)]
            if group is self.last:
                # "enlarged, increased since the prior study": the second one is a change.
                fitting = [s for s in fitting if _meaning(self.tables, s, item) not in said]
            if not fitting:
                continue
            for subject in fitting:
                finding = _meaning(self.tables, subject, item)
                assert finding is not None
                self.drafts.append(StatementDraft(finding, (subject, item)))
            self._consume(fitting, keep_left=group is right)
            return

    def _normal(self, index: int, item: Item) -> None:
        right = [s for s in _subjects_right(self.items, index) if id(s) not in self.used]
        subjects = self.pending or right or self.last
        before = self.items[max(0, index - 3) : index]
        near = [other for other in before if item.start - other.end <= 1]
        if any(other.value("negation") for other in near):
            return  # "not normal" denies nothing
        partial = any(other.value("partial") for other in self.items)
        for subject in subjects:
            organ = subject.value("subject")
            assert organ is not None
            for finding in self.tables.frames[organ].normal:
                self.drafts.append(
                    StatementDraft(
                        finding, (subject, item), present=False, implied=True, partial=partial
                    )
                )
        self._consume(subjects, keep_left=False)

    def _whole_statement(self, item: Item) -> None:
        if item.value("normal_examination"):
            self.drafts += _denied_summary(self.tables, item, partial=False)
            return
        summary = item.value("summary")
        if summary is None:
            return
        # Denied when a negation reaches it (see scope).
        for finding in self.tables.summaries[summary]:
            self.drafts.append(StatementDraft(finding, (item,), implied=True))
        for finding in self.tables.marked_summaries[summary]:
            self.drafts.append(StatementDraft(finding, (item,), implied=True, only_marked=True))

    def _consume(self, subjects: Sequence[Item], keep_left: bool) -> None:
        self.last = list(subjects)
        self.used |= {id(subject) for subject in subjects}
        self.pending = [s for s in self.pending if keep_left and id(s) not in self.used]


def _denied_summary(tables: Lexicon, item: Item, partial: bool) -> list[StatementDraft]:
    """What is denied where the whole examination is called normal."""
    named = [
        *((name, False) for name in tables.summaries[_WHOLE]),
        *((name, True) for name in tables.marked_summaries[_WHOLE]),
    ]
    return [
        StatementDraft(
            name, (item,), present=False, implied=True, partial=partial, only_marked=marked
        )
        for name, marked in named
    ]


def whole_examination(
    tables: Lexicon, items: Sequence[Item], words: Sequence[Word]
) -> list[StatementDraft]:
    """The drafts of a sentence that names no organ and no finding, and calls something normal or
    denies all abnormality ("no acute abnormality is seen"): of the whole examination, then.
    """
    if not words or len(words) > _WHOLE_WORDS or any(item.value("change") for item in items):
        return []
    whole = tables.whole
    open_words = set(range(len(words)))
    normal = partial = False
    for item in items:
        if item.value("normal") or item.value("partial"):
            normal = normal or item.value("normal") is not None
            partial = partial or item.value("partial") is not None
            open_words -= set(range(item.start, item.end))
    around = {words[at].form for at in open_words if words[at].form.isalpha()}
    if not around <= whole.words:
        return []
    denied = not whole.denying.isdisjoint(around)
    if denied != (not whole.heads.isdisjoint(around)) and "nad" not in around:
        return []  # "no study", "finding"
    if not (denied or normal or "nad" in around):
        return []
    sentence = Item(_NO_READINGS, 0, 0, len(words))
    return _denied_summary(tables, sentence, partial or "other" in around)


def draft_statements(tables: Lexicon, items: Sequence[Item]) -> list[StatementDraft]:
    """The drafts of a sentence in the order of their first words; clauses must be numbered.

    A summary ("acute cardiopulmonary abnormality") gives implied drafts that stay ``present``
    until a negation reaches them; an asserted summary says nothing and is dropped in scope.
    """
    drafts = _Linker(tables, items).run()
    return sorted(drafts, key=lambda draft: (draft.start, draft.end))
