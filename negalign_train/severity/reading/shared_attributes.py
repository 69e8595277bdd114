"""Attributes that several statements share, or that one statement spreads over two sides."""

from __future__ import annotations

import copy
from collections.abc import Container, Sequence
from itertools import pairwise

from negalign_train.severity.reading.drafts import Item, StatementDraft
from negalign_train.severity.words.unknown import UNKNOWN

Related = Container[tuple[str, str]]
_GROUPED = ("side", "degree", "change", "location")
_IN_A_ROW = frozenset([*_GROUPED, "preposition"])
_ONE_SIDE = ("left", "right")


def _groups(items: Sequence[Item], taken: Container[int]) -> list[list[Item]]:
    """Attributes in a row, divided at "and" and commas: "small left" | "moderate right"."""
    groups: list[list[Item]] = [[]]
    for item in items:
        if item.value("and") or item.value("comma"):
            groups.append([])
        elif id(item) in taken or not (item.has(_IN_A_ROW)):
            break
        else:
            groups[-1].append(item)
    return [group for group in groups if group]


def _values(group: Sequence[Item], kind: str) -> list[str]:
    return [value for item in group for value in item.values(kind)]


def _sided(groups: Sequence[list[Item]]) -> list[list[Item]]:
    """The groups that name one side each, if they are of both sides and say different things."""
    own = [group for group in groups if len(_values(group, "side")) == 1]
    own = [group for group in own if _values(group, "side")[0] in _ONE_SIDE]
    if len(own) != len(_ONE_SIDE) or _values(own[0], "side") == _values(own[1], "side"):
        return []
    for kind in _GROUPED[1:]:
        one, other = _values(own[0], kind), _values(own[1], kind)
        if one and other and one != other:
            return own
    return []


def split_sides(drafts: list[StatementDraft], items: Sequence[Item]) -> dict[int, StatementDraft]:
    """Divides "small left and moderate right effusions" into two drafts, in place.

    Returns the draft that each attribute so used (by the index of its item) belongs to.
    """
    if sum(item.value("side") in _ONE_SIDE for item in items) < len(_ONE_SIDE):
        return {}
    taken = {id(item) for draft in drafts for item in draft.items}
    owners: dict[int, StatementDraft] = {}
    for draft in list(drafts):
        if not draft.present or draft.implied or draft.dropped:
            continue
        before = [item for item in reversed(items[: draft.first]) if item.clause == draft.clause]
        last = draft.items[-1].index
        behind = [item for item in items[last + 1 :] if item.clause == draft.clause]
        for row in (before, behind):
            own = _sided(_groups(row, taken))
            if own and not any(item.index in owners for group in own for item in group):
                twin = copy.copy(draft)
                for kind in ("sides", "locations", "degrees", "changes"):
                    setattr(twin, kind, [])
                drafts.insert(drafts.index(draft) + 1, twin)
                for target, group in zip((draft, twin), own, strict=True):
                    owners |= {item.index: target for item in group}
                break
    return owners


def _near(
    items: Sequence[Item], before: StatementDraft, draft: StatementDraft, kinds: Sequence[str]
) -> bool:
    """Whether nothing of these kinds stands between two drafts."""
    between = items[before.items[-1].index + 1 : draft.first]
    return not any(item.value(kind) for item in between for kind in kinds)


def share_attributes(
    drafts: Sequence[StatementDraft], items: Sequence[Item], related: Related
) -> None:
    """A sign and its reading get one place and one change; the findings of a list get its change.

    "Left basilar opacity, likely pneumonia": the pneumonia lies at the left base. "Atelectasis or
    pneumonia at the left base": both lie there. "Small right effusion with adjacent atelectasis":
    the atelectasis is on the right. "Unchanged effusion and atelectasis": both are unchanged.

    ``related``: pairs of findings of which one may stand for the other.
    """
    live = [draft for draft in drafts if draft.present and not draft.implied and not draft.dropped]
    for at, (before, draft) in enumerate(pairwise(live)):
        if before.finding == draft.finding:
            continue
        if before.items[0] is draft.items[0] and not draft.sides:
            draft.sides += before.sides  # "fractures of the left scapula and clavicle"
        same = (before.finding, draft.finding) in related or before.finding == UNKNOWN
        if same and not _elsewhere(before, draft):
            _share_place(_whole(before, live), draft)
            if _linked(items, before, draft):
                _share_place(draft, before)
                _share_change(before, draft)
                _share_change(draft, before)
        elif not (draft.sides or draft.locations) and any(
            item.value("adjacent") for item in items[before.first : draft.first]
        ):
            draft.sides += _whole(before, live).sides
        if not (draft.sides or draft.locations):
            _share_place(_sign(live[:at], draft, related), draft)
        if _near(items, before, draft, ("break", "verb", "comma")):
            if "new" not in before.changes:
                _share_change(before, draft)
            if _lies_behind(items, draft):
                _share_place(draft, before)


def _sign(
    earlier: Sequence[StatementDraft], draft: StatementDraft, related: Related
) -> StatementDraft:
    """The last sign before that ``draft`` may be a reading of ("opacity: edema or pneumonia"),
    itself where there is none."""
    signs = (sign for sign in reversed(earlier) if (sign.finding, draft.finding) in related)
    return next(signs, draft)


def _elsewhere(before: StatementDraft, draft: StatementDraft) -> bool:
    """Whether both have places, and not the same: then neither explains the other."""
    places = [(set(d.sides), set(d.locations)) for d in (before, draft)]
    return all(any(place) for place in places) and places[0] != places[1]


def _lies_behind(items: Sequence[Item], draft: StatementDraft) -> bool:
    """Whether a place follows the draft, as in "scarring and volume loss in the left apex"."""
    behind = items[draft.items[-1].index + 1 :][:3]
    return any(i.value("location") for i in behind) and bool(behind[0].value("preposition"))


def _whole(draft: StatementDraft, live: Sequence[StatementDraft]) -> StatementDraft:
    """The draft, with the sides of those divided from it."""
    divided = [other for other in live if other.items is draft.items]
    if len(divided) < len(_ONE_SIDE):
        return draft
    whole = copy.copy(draft)
    whole.sides = [side for other in divided for side in other.sides]
    return whole


def _linked(items: Sequence[Item], sign: StatementDraft, reading: StatementDraft) -> bool:
    """Whether one explains the other: "consistent with", "likely", or nothing stands between."""
    between = items[sign.items[-1].index + 1 : reading.first]
    if any(item.value("uncertainty") or item.value("joined") for item in between):
        return True
    return _near(items, sign, reading, ("and", "break"))


def _share_place(giver: StatementDraft, taker: StatementDraft) -> None:
    if not (taker.sides or taker.locations):
        taker.sides += giver.sides
        taker.locations += giver.locations


def _share_change(giver: StatementDraft, taker: StatementDraft) -> None:
    if not taker.changes:
        taker.changes += giver.changes
