"""Side, place, degree, change and size: each goes to the statement it stands by."""

from __future__ import annotations

from collections.abc import Container, Sequence
from itertools import pairwise

from negalign_train.severity.drafts import Draft, Item
from negalign_train.severity.taxonomy import finding_types

Related = Container[tuple[str, str]]
_KINDS = frozenset(["side", "location", "degree", "change", "position", "chronic"])
_BETWEEN = _KINDS | {"subject", "qualifier", "and"}
_JOINTS = frozenset(["comma", "and", "or"])
_PREPOSITION_REACH_WORDS = 3


def _after_preposition(items: Sequence[Item], at: int) -> bool:
    """Whether a preposition leads to item ``at``: "in the right upper lobe"."""
    for item in reversed(items[:at]):
        if items[at].start - item.end > _PREPOSITION_REACH_WORDS or item.value("comma"):
            return False
        if item.value("preposition"):
            return True
        if not item.has(_BETWEEN):
            return False
    return False


def _joint_between(items: Sequence[Item], start: int, end: int) -> bool:
    return any(start <= item.start < end and item.has(_JOINTS) for item in items)


def target_of(items: Sequence[Item], at: int, drafts: Sequence[Draft]) -> Draft | None:
    """The draft that the attribute at item ``at`` belongs to.

    Inside a draft's words: that draft. After a preposition: the draft before. Else the next one
    unless a comma or "and" lies between, else the one before, else the next one.
    """
    item = items[at]
    here = [d for d in drafts if d.clause == item.clause] or list(drafts)
    for draft in here:
        if draft.start <= item.start and item.end <= draft.end:
            return draft
    left = [d for d in here if d.end <= item.start]
    right = [d for d in here if d.start >= item.end]
    if left and (not right or _after_preposition(items, at)):
        return left[-1]
    if right and not _joint_between(items, item.end, right[0].start):
        return right[0]
    if left:
        return left[-1]
    return right[0] if right else None


def _same_mention(drafts: Sequence[Draft], target: Draft) -> list[Draft]:
    """The target and the drafts made of the very same words ("clear" denies several)."""
    return [d for d in drafts if d.start == target.start and d.end == target.end]


def attach_attributes(drafts: Sequence[Draft], items: Sequence[Item]) -> set[str]:
    """Adds every attribute of the sentence to its draft; returns changes nothing here took.

    The words of a draft itself give no attribute, but for the place or side they name ("blunting
    of the right costophrenic angle").
    """
    live = [draft for draft in drafts if not draft.dropped]
    loose: set[str] = set()
    of_drafts = {id(item) for draft in live for item in draft.items}
    for index, item in enumerate(items):
        used = id(item) in of_drafts
        if not item.has(_KINDS):
            continue
        for kind, value in item.readings.all:
            if kind not in _KINDS or (used and kind in ("degree", "change", "chronic")):
                continue
            target = target_of(items, index, live) if live else None
            if target is not None and kind == "position" and _is_denied(items, index, target):
                continue
            if target is not None:
                for draft in _same_mention(live, target):
                    if not _is_of_the_other_kind(item, kind, draft):
                        _add(draft, kind, value)
            elif kind == "change":
                loose.add(value)
    return loose


def _is_denied(items: Sequence[Item], at: int, device: Draft) -> bool:
    """Whether a "not" stands between a device and the place at item ``at``: it lies elsewhere."""
    return any(
        item.value("negation") == "before"
        and item.start >= device.end
        and item.clause == items[at].clause
        for item in items[:at]
    )


def _is_of_the_other_kind(item: Item, kind: str, draft: Draft) -> bool:
    """ "At the base" is a position of a tube and a place of a finding."""
    if finding_types()[draft.finding].kind == "device":
        return kind == "location" and item.value("position") is not None
    return kind == "position"


def lend_places(drafts: Sequence[Draft], items: Sequence[Item], related: Related) -> None:
    """A reading without a place lies where its sign does: "left basilar opacity, likely pneumonia",
    "small right effusion with adjacent atelectasis" (there, the side alone).

    ``related``: pairs of findings of which one may stand for the other.
    """
    live = [draft for draft in drafts if draft.present and not draft.implied and not draft.dropped]
    for before, draft in pairwise(live):
        if draft.sides or draft.locations:
            continue
        if (before.finding, draft.finding) in related:  # a sign and its reading
            draft.sides += before.sides
            draft.locations += before.locations
        elif any(item.value("adjacent") for item in items[before.first : draft.first]):
            draft.sides += before.sides


def _add(draft: Draft, kind: str, value: str) -> None:
    if kind == "side":
        draft.sides.append(value)
    elif kind in ("location", "position"):
        draft.locations.append(value)
    elif kind == "degree":
        draft.degrees.append(value)
    elif kind == "chronic":
        draft.chronic = True
    else:
        draft.changes.append(value)


def attach_size(drafts: Sequence[Draft], word: int, size_mm: float) -> None:
    """Gives a measurement at word ``word`` to the nearest statement; the largest one counts."""
    live = [draft for draft in drafts if draft.present and not draft.dropped]
    if not live:
        return
    nearest = min(live, key=lambda d: (max(d.start - word, word - d.end, 0), d.start))
    nearest.size_mm = max(size_mm, nearest.size_mm or 0.0)
