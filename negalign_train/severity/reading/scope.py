"""How far "no", "possible" and "evaluate for" reach within a sentence."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from negalign_train.severity.reading.drafts import Item, StatementDraft
from negalign_train.severity.words.lexicon import lexicon
from negalign_train.vocabulary.taxonomy import finding_types

_JOINTS = frozenset(["comma", "and"])
_ENDING = frozenset(["comma", "break", "and", "or", "slash"])
_LISTING = frozenset(["or", "and", "slash"])
_NO_SIGNS: frozenset[str] = frozenset()
_PARTING = frozenset(["comma", "and", "or", "slash", "verb", "preposition"])
_APART = frozenset(["comma", "and", "or", "break", "negation", "preposition"])
_PART_ITEMS = 3
"""The tip is named at most this many phrases before its device."""
_QUALIFYING = frozenset(["qualifier", "degree", "change"])


def _ends_negation(items: Sequence[Item], at: int) -> bool:
    """Whether the list a "no" began ends at item ``at``: "no effusion, mild cardiomegaly".

    A further "or" shows that the list goes on: "no effusion, large mass, or nodule".
    """
    if not items[at].has(_JOINTS) or at + 1 >= len(items):
        return False
    after = items[at + 1]
    starts_anew = (
        after.value("degree") in ("trace", "mild", "moderate")
        or after.value("change")
        or after.value("study")
    )
    if not starts_anew or after.value("qualifier"):
        return False
    rest = (item for item in items[at + 1 :] if item.clause == items[at].clause)
    return not any(item.value("or") for item in rest)


def _reach_forward(items: Sequence[Item], at: int) -> int:
    """The word at which the reach of the cue at item ``at`` ends."""
    cue = items[at]
    for index in range(at + 1, len(items)):
        item = items[index]
        if item.clause != cue.clause or _ends_negation(items, index):
            return item.start
        if item.value("negation") == "before" and cue.value("negation"):
            return item.start  # that one takes over
    return items[-1].end


def _reach_back(items: Sequence[Item], at: int) -> int:
    """The word from which a cue after its finding ("is not seen") holds."""
    cue = items[at]
    start = cue.start
    for item in reversed(items[:at]):
        if item.clause != cue.clause or item.value("negation") == "after":
            break
        start = item.start
    return start


def _reach_back_to_comma(items: Sequence[Item], at: int) -> int:
    """The same for a doubt: "opacity, pneumonia not excluded" doubts the pneumonia alone, unless an
    "or" or "and" shows that the comma stands within a list."""
    cue = items[at]
    start, listed = cue.start, False
    for item in reversed(items[:at]):
        if item.value("comma") and item.index == at - 1:
            continue  # "effusions, if any, are small"
        if item.clause != cue.clause or (item.value("comma") and not listed):
            break
        listed = listed or item.has(_LISTING)
        start = item.start
    return start


def _within(drafts: Sequence[StatementDraft], start: int, end: int) -> list[StatementDraft]:
    return [draft for draft in drafts if start <= draft.start and draft.end <= end]


def _deny(draft: StatementDraft, qualified: bool) -> None:
    if draft.implied and not draft.present:
        return  # "heart size normal" is no assertion that a "no" could turn round
    draft.present = False
    draft.partial = draft.partial or qualified


def _is_qualified(between: Sequence[Item], draft: StatementDraft) -> bool:
    """Whether "large", "acute" or "new" stands right before what a "no" denies."""
    if not between or draft.start - between[-1].end > 1:
        return False
    return between[-1].has(_QUALIFYING)


def _denies_backward(drafts: Sequence[StatementDraft], items: Sequence[Item], at: int) -> bool:
    """Whether the cue at item ``at`` denies what stands before it: "effusion: absent", not "absent
    breath sounds"."""
    reach = items[at].values("negation")
    if len(reach) == 1:
        return reach[0] == "after"
    clause, end = items[at].clause, items[at].end
    before = any(d.clause == clause and d.end <= items[at].start for d in drafts)
    after = any(d.clause == clause and d.start >= end for d in drafts)
    return before and not after


def _negate(drafts: Sequence[StatementDraft], items: Sequence[Item], at: int) -> None:
    if _denies_backward(drafts, items, at):
        reached = _within(drafts, _reach_back(items, at), items[at].start)
        if _is_of_a_part(items, at, reached):
            return  # "its tip is not seen" denies no tube
        for draft in reached[-1:] if _own_clause_is_mixed(reached) else reached:
            _deny(draft, qualified=False)
        return
    end = _reach_forward(items, at)
    for draft in drafts:
        if draft.start < items[at].start < draft.end <= end:
            _deny(draft, qualified=False)  # "the heart is not markedly enlarged"
    for draft in _within(drafts, items[at].end, end):
        _deny(draft, qualified=_is_qualified(items[at + 1 : draft.first], draft))


def _is_of_a_part(items: Sequence[Item], at: int, reached: Sequence[StatementDraft]) -> bool:
    """Whether the cue at item ``at`` speaks of the tip of a device: "NG tube, tip not seen", "the
    tip of the tube is not seen"."""
    if not reached:
        return False
    before = items[max(0, reached[-1].first - _PART_ITEMS) : at]
    return any(item.value("part") and item.clause == items[at].clause for item in before)


def _ends_phrase(items: Sequence[Item], at: int, num_words: int) -> bool:
    """Whether a mark or the end of the sentence follows item ``at``: "pneumonia possible"."""
    end = items[at].end
    if end == num_words:
        return True
    return at + 1 < len(items) and items[at + 1].start == end and items[at + 1].has(_ENDING)


def _doubt(
    drafts: Sequence[StatementDraft],
    items: Sequence[Item],
    at: int,
    reach: Sequence[str],
    num_words: int,
) -> None:
    """Makes uncertain what a "possible" or "not excluded" at item ``at`` reaches."""
    cue = items[at]
    behind: list[StatementDraft] = []
    if "after" in reach or "last" in reach:
        behind = _within(drafts, _reach_back_to_comma(items, at), cue.start)
    if "last" in reach:
        behind = behind[-1:]
    if "before" in reach and (
        _leads_on(items, at, drafts) or not _ends_phrase(items, at, num_words)
    ):
        behind = []  # "are likely atelectasis", "likely benign"
    probable = cue.value("probable") is not None
    for draft in behind:
        draft.certain = False
        draft.present = True
        draft.probable = probable
    if "before" in reach and not behind:
        for draft in _within(drafts, cue.end, _reach_forward(items, at)):
            draft.certain = False
            draft.probable = probable


def _own_clause_is_mixed(drafts: Sequence[StatementDraft]) -> bool:
    """Whether the drafts already carry attributes of their own, so a late "no" is the last's."""
    return any(not draft.present for draft in drafts)


def _is_close(items: Sequence[Item], left: StatementDraft, right: StatementDraft) -> bool:
    """Whether nothing but attributes stands between two drafts: no verb, no hedge of its own."""
    between = items[left.items[-1].index + 1 : right.first]
    hedged = (item.value("uncertainty") and not item.value("or") for item in between)
    return not any(hedged) and not any(item.value("verb") for item in between)


def _same_sign(one: str, other: str) -> bool:
    """Whether two findings may be readings of one sign, so that "/" between them means "or"."""
    tables = lexicon()
    if (one, other) in tables.readings or (other, one) in tables.readings:
        return True
    signs = tables.generals
    return not signs.get(one, _NO_SIGNS).isdisjoint(signs.get(other, _NO_SIGNS))


def _alternatives(drafts: Sequence[StatementDraft], items: Sequence[Item]) -> None:
    """ "atelectasis or scarring", "scarring/atelectasis": neither is certain.

    But "effusion/atelectasis" names both.
    """
    for item in items:
        if not (item.value("or") or item.value("slash")):
            continue
        left = [d for d in drafts if d.end <= item.start and d.clause == item.clause]
        right = [d for d in drafts if d.start >= item.end and d.clause == item.clause]
        pair = bool(left and right) and _is_close(items, left[-1], right[0])
        if pair and item.value("slash"):
            pair = _same_sign(left[-1].finding, right[0].finding)
        if pair and left[-1].present and right[0].present:
            left[-1].certain = right[0].certain = False


def _leads_on(items: Sequence[Item], at: int, drafts: Sequence[StatementDraft]) -> bool:
    """Whether a finding of its clause follows the cue at item ``at``, with no mark between."""
    cue = items[at]
    after = [d for d in drafts if d.start >= cue.end and d.clause == cue.clause]
    between = items[at + 1 : after[0].first] if after else []
    return bool(after) and not any(item.has(_PARTING) for item in between)


def _explained(drafts: Sequence[StatementDraft], items: Sequence[Item]) -> None:
    """ "The nodular density is a nipple shadow": what is an artefact is no finding."""
    for sign, artefact in pairwise(drafts):
        kinds = [finding_types()[draft.finding].kind for draft in (sign, artefact)]
        if kinds != ["finding", "artefact"] or not (sign.present and artefact.present):
            continue
        between = items[sign.items[-1].index + 1 : artefact.first]
        if not any(item.value("verb") or item.value("uncertainty") for item in between):
            continue
        if any(item.has(_APART) for item in between):
            continue
        if artefact.certain:
            sign.dropped = sign.unsaid = True
        else:
            sign.certain = sign.probable = False


def denied_with(drafts: Sequence[StatementDraft]) -> list[StatementDraft]:
    """What else "no fracture" denies: every draft that a sweeping denial implies."""
    covers = lexicon().covers
    return [
        StatementDraft(
            name, draft.items, present=False, implied=True, partial=draft.partial,
            dropped=draft.dropped,
        )
        for draft in drafts
        if draft.sweeping and not (draft.present or draft.implied)
        for name in covers.get(draft.finding, ())
    ]  # fmt: skip


def apply_scopes(drafts: Sequence[StatementDraft], items: Sequence[Item], num_words: int) -> None:
    """Sets ``present``, ``certain``, ``partial`` and ``dropped`` of every draft."""
    for index, item in enumerate(items):
        if item.value("negation"):
            _negate(drafts, items, index)
    for index, item in enumerate(items):
        if reach := item.values("uncertainty"):
            _doubt(drafts, items, index, reach, num_words)
        if item.value("unassessed"):
            reached = _within(drafts, _reach_back(items, index), item.start)
            for draft in () if _is_of_a_part(items, index, reached) else reached:
                draft.dropped = draft.unsaid = True
        if item.value("hypothetical"):
            resumed = (other.start for other in items[index + 1 :] if other.value("resume"))
            for draft in _within(drafts, item.end, next(resumed, items[-1].end)):
                draft.dropped = draft.unsaid = True
    _explained(drafts, items)
    _alternatives(drafts, items)
    for draft in drafts:
        # An uncertain denial ("possibly no effusion") and an asserted summary say nothing.
        if draft.implied and draft.present:
            draft.dropped = True
