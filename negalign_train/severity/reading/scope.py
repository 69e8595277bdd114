"""How far "no", "possible" and "evaluate for" reach within a sentence."""

from __future__ import annotations

from collections.abc import Sequence

from negalign_train.severity.reading.drafts import Item, StatementDraft

_JOINTS = frozenset(["comma", "and"])
_PARTING = frozenset(["comma", "and", "or", "verb", "preposition"])
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
        listed = listed or bool(item.value("or") or item.value("and"))
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


def _negate(drafts: Sequence[StatementDraft], items: Sequence[Item], at: int) -> None:
    if items[at].value("negation") == "after":
        reached = _within(drafts, _reach_back(items, at), items[at].start)
        for draft in reached[-1:] if _own_clause_is_mixed(reached) else reached:
            _deny(draft, qualified=False)
        return
    end = _reach_forward(items, at)
    for draft in drafts:
        if draft.start < items[at].start < draft.end <= end:
            _deny(draft, qualified=False)  # "the heart is not markedly enlarged"
    for draft in _within(drafts, items[at].end, end):
        _deny(draft, qualified=_is_qualified(items[at + 1 : draft.first], draft))


def _doubt(
    drafts: Sequence[StatementDraft], items: Sequence[Item], at: int, reach: Sequence[str]
) -> None:
    """Makes uncertain what a "possible" or "not excluded" at item ``at`` reaches."""
    cue = items[at]
    behind: list[StatementDraft] = []
    if "after" in reach or "last" in reach:
        behind = _within(drafts, _reach_back_to_comma(items, at), cue.start)
    if "last" in reach:
        behind = behind[-1:]
    if "before" in reach and _leads_on(items, at, drafts):
        behind = []  # "are likely atelectasis"
    for draft in behind:
        draft.certain = False
        draft.present = True
    if "before" in reach and not behind:
        for draft in _within(drafts, cue.end, _reach_forward(items, at)):
            draft.certain = False


def _own_clause_is_mixed(drafts: Sequence[StatementDraft]) -> bool:
    """Whether the drafts already carry attributes of their own, so a late "no" is the last's."""
    return any(not draft.present for draft in drafts)


def _is_close(items: Sequence[Item], left: StatementDraft, right: StatementDraft) -> bool:
    """Whether nothing but attributes stands between two drafts: no verb, no hedge of its own."""
    between = items[left.items[-1].index + 1 : right.first]
    hedged = (item.value("uncertainty") and not item.value("or") for item in between)
    return not any(hedged) and not any(item.value("verb") for item in between)


def _alternatives(drafts: Sequence[StatementDraft], items: Sequence[Item]) -> None:
    """ "atelectasis or scarring", "scarring/atelectasis": neither is certain."""
    for item in items:
        if not item.value("or"):
            continue
        left = [d for d in drafts if d.end <= item.start and d.clause == item.clause]
        right = [d for d in drafts if d.start >= item.end and d.clause == item.clause]
        pair = bool(left and right) and _is_close(items, left[-1], right[0])
        if pair and left[-1].present and right[0].present:
            left[-1].certain = right[0].certain = False


def _leads_on(items: Sequence[Item], at: int, drafts: Sequence[StatementDraft]) -> bool:
    """Whether a finding of its clause follows the cue at item ``at``, with no mark between."""
    cue = items[at]
    after = [d for d in drafts if d.start >= cue.end and d.clause == cue.clause]
    between = items[at + 1 : after[0].first] if after else []
    return bool(after) and not any(item.has(_PARTING) for item in between)


def apply_scopes(drafts: Sequence[StatementDraft], items: Sequence[Item]) -> None:
    """Sets ``present``, ``certain``, ``partial`` and ``dropped`` of every draft."""
    for index, item in enumerate(items):
        if item.value("negation"):
            _negate(drafts, items, index)
    for index, item in enumerate(items):
        if reach := item.values("uncertainty"):
            _doubt(drafts, items, index, reach)
        if item.value("unassessed"):
            for draft in _within(drafts, _reach_back(items, index), item.start):
                draft.dropped = True
        if item.value("hypothetical"):
            resumed = (other.start for other in items[index + 1 :] if other.value("resume"))
            for draft in _within(drafts, item.end, next(resumed, items[-1].end)):
                draft.dropped = True
    _alternatives(drafts, items)
    for draft in drafts:
        # An uncertain denial ("possibly no effusion") and an asserted summary say nothing.
        if draft.implied and draft.present:
            draft.dropped = True
