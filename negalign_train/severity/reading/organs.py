"""Items of one sentence to drafts: findings, and organs joined to what is said of them."""

from __future__ import annotations

from collections.abc import Sequence

from negalign_train.severity.reading.drafts import Item, StatementDraft
from negalign_train.severity.words.lexicon import Lexicon
from negalign_train.severity.words.phrases import Readings
from negalign_train.severity.words.spelling import Word

_JOINTS = frozenset(["comma", "and"])
_ADJECTIVES = frozenset(["side", "location", "qualifier", "degree", "change", "chronic", "subtype"])
_LISTING = frozenset(["comma", "and", "or", "slash"])
_MEASURES = frozenset(["change", "degree"])
_ENDS_ORGANS = frozenset(["verb", "finding", "negation", "normal", "break"])
_OF_ORGANS = frozenset(["verb", "predicate", "normal", "change"])
_ENDS_LIST = frozenset(["finding", "normal", "negation"])
_WHOLE = "cardiopulmonary"
"""The summary that a normal examination denies."""
_WHOLE_WORDS = 16
"""A longer sentence speaks of something."""
_NO_READINGS = Readings((), {})
_NEAR_WORDS = 4
"""A predicate reaches an organ on its right over at most this many words."""
_SUBSTANCE_WORDS = 8
"""The same for fluid or air and the space that it lies in."""


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
            if findings and item.value("predicate"):
                self._of_organs(index, item, findings[0])
            elif findings:
                self.drafts += [StatementDraft(finding, (item,)) for finding in findings]
                if item.value("leading"):
                    self._go_on(index, item)
                if item.value("trailing"):
                    self._listed_before(item)
            elif item.value("denial"):
                denied = item.value("denial")
                assert denied is not None
                self.drafts.append(StatementDraft(denied, (item,), present=False))
            elif item.value("subject") and id(item) not in self.used:
                if not self._is_place(index, item):
                    self.pending.append(item)
            elif item.value("substance"):
                self._substance(index, item)
            elif item.value("predicate"):
                self._predicate(index, item)
            of_organs = bool(item.value("normal")) and self._normal(index, item)
            if not of_organs:
                self._whole_statement(item)
        return self.drafts

    def _is_place(self, index: int, item: Item) -> bool:
        """Whether a lobe is only where a finding lies: "scarring within the lingula"."""
        if (
            not index
            or not item.value("location")
            or not self.items[index - 1].value("preposition")
        ):
            return False
        return any(draft.clause == item.clause for draft in self.drafts)

    def _predicate(self, index: int, item: Item) -> None:
        if self._is_of_next(index):
            return  # "the heart is normal with increased opacity": that of the opacity
        right = self._listed(_subjects_right(self.items, index))
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
        if not self._before_phrase(index, item):
            self._over_break(index, item)

    def _before_phrase(self, index: int, item: Item) -> bool:
        """ "Ectatic and calcified aorta": the organ stands in the phrase behind the "and"."""
        if index + 2 >= len(self.items) or not self.items[index + 1].has(_JOINTS):
            return False
        phrase, quality = self.items[index + 2], item.value("predicate")
        leading, known = phrase.value("leading"), phrase.value("finding")
        if leading is None or quality is None:
            return False
        for frame in self.tables.frames.values():
            if frame.predicates.get(leading) == known and quality in frame.predicates:
                self.drafts.append(StatementDraft(frame.predicates[quality], (item,)))
                return True
        return False

    def _go_on(self, index: int, item: Item) -> None:
        """ "Enlarged heart and mediastinum": the first word of a phrase holds for the organ listed
        behind it."""
        if index + 1 >= len(self.items) or not self.items[index + 1].value("and"):
            return
        behind = [o for o in self.items[index + 2 :] if o.clause == item.clause]
        if any(other.has(_OF_ORGANS) for other in behind):
            return
        for other in behind:
            organ, quality = other.value("subject"), item.value("leading")
            if organ is not None and quality is not None:
                finding = self.tables.frames[organ].predicates.get(quality)
                if finding is not None:
                    self.drafts.append(StatementDraft(finding, (other,)))
                    self._consume([other], keep_left=True)
                return
            if not other.has(_ADJECTIVES):
                return

    def _listed_before(self, item: Item) -> None:
        """ "Rib or clavicle fracture": the last word of a phrase holds for the organs before it."""
        quality, reached = item.value("trailing"), item.start
        for organ in reversed(self.pending):
            between = self.items[organ.index + 1 : item.index]
            joined = [other for other in between if other.end <= reached]
            if not any(other.has(_LISTING) for other in joined) or any(
                not (other.has(_LISTING) or other.has(_ADJECTIVES) or other.value("subject"))
                for other in joined
            ):
                return
            frame = organ.value("subject")
            assert frame is not None
            finding = quality and self.tables.frames[frame].predicates.get(quality)
            if not finding:
                return
            self.drafts.append(StatementDraft(finding, (organ,)))
            self.used.add(id(organ))
            reached = organ.start

    def _over_break(self, index: int, item: Item) -> None:
        """ "Hyperexpanded but clear lungs": the organ of both stands behind the second."""
        if index + 1 >= len(self.items) or not self.items[index + 1].value("break"):
            return
        for other in self.items[index + 2 : index + 2 + _NEAR_WORDS]:
            if other.start - item.end > _NEAR_WORDS or other.has(_ENDS_ORGANS - {"normal"}):
                return
            if other.value("subject"):
                finding = _meaning(self.tables, other, item)
                if finding is not None:
                    self.drafts.append(StatementDraft(finding, (item,)))
                return

    def _of_organs(self, index: int, item: Item, general: str) -> None:
        """ "Fractures of the ribs and of the clavicle", "clavicle fracture": a noun whose meaning
        its organs decide. Without any it means ``general``, and more where it is denied."""
        organs = self._behind_preposition(index) or self._named_before(item) or self._apart(index)
        by_meaning: dict[str, Item] = {}
        for organ in organs:
            finding = _meaning(self.tables, organ, item)
            if finding is not None:
                by_meaning.setdefault(finding, organ)
        for finding, organ in by_meaning.items():
            self.drafts.append(StatementDraft(finding, (item, organ)))
        if by_meaning:
            self._consume(organs, keep_left=True)
        else:
            self.drafts.append(StatementDraft(general, (item,), sweeping=True))

    def _behind_preposition(self, index: int) -> list[Item]:
        """The organs that "of", "in" or "involving" leads to from item ``index``."""
        organs: list[Item] = []
        led = False
        for other in self.items[index + 1 :]:
            if other.clause != self.items[index].clause or other.has(_ENDS_ORGANS):
                break
            if other.value("comma") and not (organs or led):
                break
            led = led or other.value("preposition") is not None
            if led and other.value("subject"):
                organs.append(other)
        return organs

    def _named_before(self, item: Item) -> list[Item]:
        """The organs of its clause that the item is said of: "left clavicle and rib fractures",
        "the clavicle shows an old fracture"."""
        return [organ for organ in self.pending if _meaning(self.tables, organ, item)]

    def _apart(self, index: int) -> list[Item]:
        """The organ that ends a clause after a comma: "old fracture, left clavicle"."""
        behind = self.items[index + 1 :]
        if not behind or not behind[0].value("comma"):
            return []
        organs = [o for o in behind if o.value("subject") and o.clause == self.items[index].clause]
        others = [o for o in behind[1:] if not (o.has(_ADJECTIVES) or o.value("subject"))]
        return [] if others else organs

    def _right_before(self, item: Item) -> list[Item]:
        """The organs listed right before an item: "left clavicle and rib fractures"."""
        if not self.pending or item.start - self.pending[-1].end > 1:
            return []
        listed = [self.pending[-1]]
        for one in reversed(self.pending[:-1]):
            between = self.items[one.index + 1 : listed[-1].index]
            if not any(other.has(_JOINTS) for other in between) or any(
                other.has(_OF_ORGANS) for other in between
            ):
                break
            listed.append(one)
        return listed[::-1]

    def _is_of_next(self, index: int) -> bool:
        """Whether a change or degree that is also a predicate stands right before a finding."""
        item = self.items[index]
        if not item.has(_MEASURES) or index + 1 >= len(self.items):
            return False
        for after in self.items[index + 1 :]:
            if after.value("finding"):
                return True
            if after.value("subject") or not after.has(_ADJECTIVES):
                return False
        return False

    def _listed(self, subjects: list[Item]) -> list[Item]:
        """Of the organs behind a predicate the first, and the others where the list has no other
        predicate: "enlarged heart and mediastinum", but not "enlarged heart and normal hila"."""
        if len(subjects) < 2:
            return subjects
        behind = self.items[subjects[-1].index + 1 :]
        said = any(other.has(_OF_ORGANS) for other in behind if other.clause == subjects[0].clause)
        between = self.items[subjects[0].index + 1 : subjects[-1].index]
        joined = all(self.items[s.index - 1].value("and") for s in subjects[1:])
        apart = any(other.value("predicate") or other.value("preposition") for other in between)
        return subjects[:1] if said or apart or not joined else subjects

    def _substance(self, index: int, item: Item) -> None:
        """ "Fluid collects in both pleural spaces", "the pericardium contains air"."""
        substance = item.value("substance")
        assert substance is not None
        behind = [
            other
            for other in self.items[index + 1 :]
            if other.clause == item.clause and other.start - item.end <= _SUBSTANCE_WORDS
        ]
        for space in (*behind, *reversed(self.items[:index])):
            organ = space.value("subject")
            finding = organ and self.tables.frames[organ].predicates.get(substance)
            if finding and space.clause == item.clause:
                self.drafts.append(StatementDraft(finding, (space, item)))
                self._consume([space], keep_left=True)
                return

    def _normal(self, index: int, item: Item) -> bool:
        """Whether organs were called normal; without any the word may speak of the whole chest."""
        right = [s for s in _subjects_right(self.items, index) if id(s) not in self.used]
        subjects = self.pending or right or self.last
        before = self.items[max(0, index - 3) : index]
        near = [other for other in before if item.start - other.end <= 1]
        if any(other.value("negation") for other in near):
            return True  # "not normal" denies nothing
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
        return bool(subjects)

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
