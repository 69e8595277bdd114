"""Side, place, degree, change and size, each attached to its statement."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence

from negalign_train.severity.reading.drafts import Item, StatementDraft
from negalign_train.severity.reading.shared_attributes import split_sides
from negalign_train.severity.words.lexicon import lexicon
from negalign_train.severity.words.unknown import UNKNOWN
from negalign_train.vocabulary.taxonomy import finding_types

_KINDS = frozenset(["side", "location", "degree", "change", "position", "chronic", "subtype"])
_BETWEEN = _KINDS | {"subject", "qualifier", "and"}
_PLACES = frozenset(["side", "location", "position"])
_DIVIDERS = frozenset(["comma", "and", "or", "slash", "verb", "negation"])
_PREPOSITION_REACH_WORDS = 3
_SUBTYPE_REACH_WORDS = 6
_DEGREE_ORDER = ("trace", "mild", "moderate", "severe")


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
    return any(start <= item.start < end and item.has(_DIVIDERS) for item in items)


def target_of(
    items: Sequence[Item], at: int, drafts: Sequence[StatementDraft]
) -> StatementDraft | None:
    """The draft that the attribute at item ``at`` belongs to.

    Inside a draft's words: that draft. A place after a preposition: the draft before. Else the next
    one unless a comma, "and", "no" or verb lies between, else the one before, else the next one.
    A position is a device's, where there is one.
    """
    item = items[at]
    if item.value("position") and not item.value("location"):
        drafts = [d for d in drafts if finding_types()[d.finding].kind == "device"] or drafts
    here = [d for d in drafts if d.clause == item.clause]
    if not here:
        here = _of_next_clause(items, at, drafts) or list(drafts)
    for draft in here:
        if draft.start <= item.start and item.end <= draft.end:
            return draft
    left = [d for d in here if d.end <= item.start]
    right = [d for d in here if d.start >= item.end]
    if left and not right:
        return left[-1]
    places = left and item.has(_PLACES)
    if places and _after_preposition(items, at):
        return left[-1]
    if right and not _joint_between(items, item.end, right[0].start):
        return right[0]
    if left:
        return left[-1]
    return right[0] if right else None


def _of_next_clause(
    items: Sequence[Item], at: int, drafts: Sequence[StatementDraft]
) -> list[StatementDraft]:
    """The drafts of "on the left there is ...", where item ``at`` stands before the verb."""
    for item in items[at + 1 :]:
        if item.clause != items[at].clause:
            leads = item.value("break") and item.value("verb")
            return [d for d in drafts if d.clause == item.clause] if leads else []
    return []


def _same_mention(drafts: Sequence[StatementDraft], target: StatementDraft) -> list[StatementDraft]:
    """The target and the drafts made of the very same words ("clear" denies several)."""
    return [d for d in drafts if d.start == target.start and d.end == target.end]


def _moves(item: Item) -> bool:
    return item.value("change") in ("improved", "worse")


def _measures_change(items: Sequence[Item], at: int, of_drafts: Container[int]) -> bool:
    """Whether the degree at item ``at`` is that of a change: "substantial decrease in the large
    effusion", "slightly improved", "improved slightly" (but not "volumes are slightly decreased").
    """
    item = items[at]
    after = items[at + 1] if at + 1 < len(items) else None
    if after is not None and after.start <= item.end + 1 and _moves(after):
        measured = after.value("change_noun") or item.value("adverb")
        return bool(measured) and id(after) not in of_drafts
    if not item.value("adverb") or not at or (after is not None and after.start == item.end):
        return False
    return items[at - 1].end == item.start and _moves(items[at - 1])


def _said_of_all(
    items: Sequence[Item], at: int, target: StatementDraft, live: Sequence[StatementDraft]
) -> list[StatementDraft]:
    """The other subjects of a change behind a verb: "effusion with atelectasis is unchanged"."""
    item = items[at]
    between = items[target.items[-1].index + 1 : at]
    verbs = [other for other in (*between, item) if other.value("verb") or other.value("verbal")]
    if target.end > item.start or not verbs or any(other.value("relative") for other in between):
        return []
    others = []
    for draft in live:
        row = items[draft.first : verbs[0].index]  # "the heart is enlarged and ..." is complete
        apart = any(other.value("verb") or other.value("relative") for other in row)
        if draft.end <= target.start and not draft.changes and not apart:
            others.append(draft)
    return others


def attach_attributes(drafts: list[StatementDraft], items: Sequence[Item]) -> set[str]:
    """Adds every attribute of the sentence to its draft; returns the changes that have no draft.

    The words of a draft itself give no attribute, but for the place or side they name ("blunting
    of the right costophrenic angle"), and the degree that is part of a name ("borderline heart
    size"). ``drafts`` grows where one of them has different things on two sides.
    """
    owners = split_sides(drafts, items)
    live = [draft for draft in drafts if not draft.dropped]
    heard = [
        draft
        for draft in drafts
        if (not draft.dropped or draft.unsaid) and not says_nothing_else(draft)
    ]
    loose: set[str] = set()
    past: list[tuple[StatementDraft, str]] = []
    compares = any(item.value("comparing") for item in items)
    of_drafts = {id(item) for draft in live for item in draft.items}
    for index, item in enumerate(items):
        used = id(item) in of_drafts and item.value("finding") is None
        if not item.has(_KINDS):
            continue
        for kind, value in item.readings.all:
            if kind not in _KINDS:
                continue
            if used and (kind in ("degree", "chronic") or (kind == "change" and not compares)):
                continue
            if kind == "subtype":
                _add_subtype(item, value, live)
                continue
            if index in owners:
                _add(owners[index], kind, value)
                continue
            if kind == "degree" and _measures_change(items, index, of_drafts):
                continue
            if kind == "change" and not compares and _describes(items, index, live):
                continue
            target = target_of(items, index, heard) if heard else None
            if target is not None and target.unsaid:
                continue  # "sensitivity for pneumothorax is diminished"
            if target is not None and kind == "degree" and _is_past(items, index):
                past.append((target, value))
                continue
            if target is not None and kind == "position" and _is_denied(items, index, target):
                continue
            if target is not None:
                for draft in _same_mention(live, target):
                    if not _says_nothing(item, kind, value, draft):
                        _add(draft, kind, value)
                if kind == "change":
                    for draft in _said_of_all(items, index, target, live):
                        draft.changes.append(value)
            elif kind == "change" and not (
                item.value("verb") or _qualifies(items, index, drafts)
            ):  # "remains normal" compares nothing
                loose.add(value)
    _keep_own_sides(owners)
    for draft, degree in past:
        _change_from(draft, degree)
    return loose


def says_nothing_else(draft: StatementDraft) -> bool:
    """Whether a draft is but a sweeping denial ("no acute abnormality"), so that a change in its
    sentence is one of the whole study."""
    if draft.present:
        return False
    return draft.finding == UNKNOWN or any(item.value("summary") for item in draft.items)


def _qualifies(items: Sequence[Item], at: int, drafts: Sequence[StatementDraft]) -> bool:
    """Whether the change at item ``at`` is a word of a sweeping denial: "no new abnormality"."""
    behind = [d for d in drafts if d.start >= items[at].end and d.clause == items[at].clause]
    before = [item for item in items[:at] if item.clause == items[at].clause]
    return bool(behind) and any(item.value("negation") for item in before)


def _add_subtype(item: Item, value: str, live: Sequence[StatementDraft]) -> None:
    """A subtype to the nearest draft of its finding: "loculated" means nothing of a mass."""
    finding, name = value.split(".")
    own = [draft for draft in live if draft.finding == finding]
    inside = [d for d in own if d.start <= item.start and item.end <= d.end]
    for draft in inside or own:
        if inside or abs(draft.start - item.start) <= _SUBTYPE_REACH_WORDS:
            draft.subtypes.append(name)


def _is_past(items: Sequence[Item], at: int) -> bool:
    """Whether the degree at item ``at`` is that of an earlier study: "previously moderate",
    "decreased from moderate to small"."""
    before = items[at - 1] if at else None
    near = before is not None and items[at].start - before.end <= 1
    if before is not None and near:
        if before.value("past") and not before.value("verb"):
            return True
        if before.value("origin"):
            return any(item.value("goal") for item in items[at + 1 : at + 3])
    after = items[at + 1] if at + 1 < len(items) else None
    if after is not None and after.value("past_behind") and after.start == items[at].end:
        return not any(item.value("degree") for item in items[after.index + 1 :][:1])
    todays = [item for item in items if item.value("today")]
    if not todays or (before is not None and near and before.value("today")):
        return False
    # "The effusion, which was large, is now small": the degree right behind "now" is today's.
    return any(
        other.value("degree") and other.index != at and 0 <= other.start - today.end <= 1
        for today in todays
        for other in items[today.index + 1 : today.index + 3]
    )


def _change_from(draft: StatementDraft, degree: str) -> None:
    """What has become of a finding that was of this degree, where no other word says it."""
    steps = [_DEGREE_ORDER.index(now) - _DEGREE_ORDER.index(degree) for now in draft.degrees]
    if steps and steps[0] and not draft.changes:
        draft.changes.append("worse" if steps[0] > 0 else "improved")


def _describes(items: Sequence[Item], at: int, live: Sequence[StatementDraft]) -> bool:
    """Whether a change word compares nothing with an earlier study, which no word here names.

    "Increased opacity" is an opacity; "small right and larger left effusion" compares two sides.
    """
    item = items[at]
    behind = [draft for draft in live if draft.start >= item.end and draft.clause == item.clause]
    if item.value("described") and behind and behind[0].finding in lexicon().described_findings:
        between = items[at + 1 : behind[0].first]
        return not any(other.has(_DIVIDERS) for other in between)
    if not item.value("comparative"):
        return False
    sides = {other.value("side") for other in items} & {"left", "right"}
    return len(sides) > 1


def _is_denied(items: Sequence[Item], at: int, device: StatementDraft) -> bool:
    """Whether a "not" stands between a device and the place at item ``at``: it lies elsewhere."""
    return any(
        item.value("negation") == "before"
        and item.start >= device.end
        and item.clause == items[at].clause
        for item in items[:at]
    )


def _keep_own_sides(owners: Mapping[int, StatementDraft]) -> None:
    """A draft divided by side lies on one side only: "bilateral" was said of both drafts."""
    for draft in owners.values():
        draft.sides = [side for side in draft.sides if side != "bilateral"]


def _says_nothing(item: Item, kind: str, value: str, draft: StatementDraft) -> bool:
    """ "At the base" is a position of a tube and a place of a finding; all effusions lie there."""
    if kind in ("side", "location") and (draft.finding, value) in lexicon().natural_places:
        return True
    if finding_types()[draft.finding].kind == "device":
        return kind == "location" and item.value("position") is not None
    return kind == "position"


def _add(draft: StatementDraft, kind: str, value: str) -> None:
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
