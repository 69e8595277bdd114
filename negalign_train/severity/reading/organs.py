"""Items of one sentence to drafts: findings, and organs joined to what is said of them."""

from __future__ import annotations

from collections.abc import Sequence

from negalign_train.severity.reading.drafts import Item, StatementDraft
from negalign_train.severity.reading.nearby import (
    ADJECTIVES,
    ENDS_ORGANS,
    JOINTS,
    NEAR_WORDS,
    OF_ORGANS,
    is_of_next_finding,
    listed_with_first,
    organ_meaning,
    organs_behind_comma,
    organs_behind_preposition,
    subjects_right,
)
from negalign_train.severity.reading.whole import denied_summary
from negalign_train.severity.words.lexicon import Lexicon

_LISTING = frozenset(["comma", "and", "or", "slash"])
_SUBSTANCE_WORDS = 8
"""Fluid or air reaches the space that it lies in over at most this many words."""


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
        if is_of_next_finding(self.items, index):
            return  # "the heart is normal with increased opacity": that of the opacity
        right = listed_with_first(self.items, subjects_right(self.items, index))
        said = {draft.finding for draft in self.drafts if draft.clause == item.clause}
        for group in (self.pending, right, self.last):
            fitting = [s for s in group if organ_meaning(self.tables, s, item)]
            if group is self.last:
                # "enlarged, increased since the prior study": the second one is a change.
                fitting = [s for s in fitting if organ_meaning(self.tables, s, item) not in said]
            if not fitting:
                continue
            for subject in fitting:
                finding = organ_meaning(self.tables, subject, item)
                assert finding is not None
                self.drafts.append(StatementDraft(finding, (subject, item)))
            self._consume(fitting, keep_left=group is right)
            return
        if not self._before_phrase(index, item):
            self._over_break(index, item)

    def _before_phrase(self, index: int, item: Item) -> bool:
        """ "Ectatic and calcified aorta": the organ stands in the phrase behind the "and"."""
        if index + 2 >= len(self.items) or not self.items[index + 1].has(JOINTS):
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
        if any(other.has(OF_ORGANS) for other in behind):
            return
        for other in behind:
            organ, quality = other.value("subject"), item.value("leading")
            if organ is not None and quality is not None:
                finding = self.tables.frames[organ].predicates.get(quality)
                if finding is not None:
                    self.drafts.append(StatementDraft(finding, (other,)))
                    self._consume([other], keep_left=True)
                return
            if not other.has(ADJECTIVES):
                return

    def _listed_before(self, item: Item) -> None:
        """ "Rib or clavicle fracture": the last word of a phrase holds for the organs before it."""
        quality, reached = item.value("trailing"), item.start
        for organ in reversed(self.pending):
            between = self.items[organ.index + 1 : item.index]
            joined = [other for other in between if other.end <= reached]
            if not any(other.has(_LISTING) for other in joined) or any(
                not (other.has(_LISTING) or other.has(ADJECTIVES) or other.value("subject"))
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
        for other in self.items[index + 2 : index + 2 + NEAR_WORDS]:
            if other.start - item.end > NEAR_WORDS or other.has(ENDS_ORGANS - {"normal"}):
                return
            if other.value("subject"):
                finding = organ_meaning(self.tables, other, item)
                if finding is not None:
                    self.drafts.append(StatementDraft(finding, (item,)))
                return

    def _of_organs(self, index: int, item: Item, general: str) -> None:
        """ "Fractures of the ribs and of the clavicle", "clavicle fracture": a noun whose meaning
        its organs decide. Without any it means ``general``, and more where it is denied."""
        organs = (
            organs_behind_preposition(self.items, index)
            or self._named_before(item)
            or organs_behind_comma(self.items, index)
        )
        by_meaning: dict[str, Item] = {}
        for organ in organs:
            finding = organ_meaning(self.tables, organ, item)
            if finding is not None:
                by_meaning.setdefault(finding, organ)
        for finding, organ in by_meaning.items():
            self.drafts.append(StatementDraft(finding, (item, organ)))
        if by_meaning:
            self._consume(organs, keep_left=True)
        else:
            self.drafts.append(StatementDraft(general, (item,), sweeping=True))

    def _named_before(self, item: Item) -> list[Item]:
        """The organs of its clause that the item is said of: "left clavicle and rib fractures",
        "the clavicle shows an old fracture"."""
        return [organ for organ in self.pending if organ_meaning(self.tables, organ, item)]

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
        right = [s for s in subjects_right(self.items, index) if id(s) not in self.used]
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
            self.drafts += denied_summary(self.tables, item, partial=False)
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


def draft_statements(tables: Lexicon, items: Sequence[Item]) -> list[StatementDraft]:
    """The drafts of a sentence in the order of their first words; clauses must be numbered.

    A summary ("acute cardiopulmonary abnormality") gives implied drafts that stay ``present``
    until a negation reaches them; an asserted summary says nothing and is dropped in scope.
    """
    drafts = _Linker(tables, items).run()
    return sorted(drafts, key=lambda draft: (draft.start, draft.end))
