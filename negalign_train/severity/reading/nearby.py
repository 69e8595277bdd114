"""Which organs of a sentence a word is said of: those behind it, its preposition or its comma."""

from __future__ import annotations

from collections.abc import Sequence

from negalign_train.severity.reading.drafts import Item
from negalign_train.severity.words.lexicon import Lexicon

JOINTS = frozenset(["comma", "and"])
ADJECTIVES = frozenset(["side", "location", "qualifier", "degree", "change", "chronic", "subtype"])
"""What may stand between a word and its organ."""
ENDS_ORGANS = frozenset(["verb", "finding", "negation", "normal", "break"])
"""No organ behind one of these belongs to what stands before it."""
OF_ORGANS = frozenset(["verb", "predicate", "normal", "change"])
"""What else may be said of an organ."""
NEAR_WORDS = 4
"""A predicate reaches an organ on its right over at most this many words."""
_MEASURES = frozenset(["change", "degree"])
_ENDS_LIST = frozenset(["finding", "normal", "negation"])


def organ_meaning(tables: Lexicon, subject: Item, predicate: Item) -> str | None:
    """The finding an organ and a predicate make, None where they do not belong together."""
    organ, quality = subject.value("subject"), predicate.value("predicate")
    return (
        None if organ is None or quality is None else tables.frames[organ].predicates.get(quality)
    )


def _is_joined(items: Sequence[Item], at: int) -> bool:
    """Whether an "and" or a comma stands before item ``at``: "tortuous and calcified aorta"."""
    return at > 0 and items[at - 1].has(JOINTS)


def _goes_on(items: Sequence[Item], at: int) -> bool:
    """Whether another predicate follows item ``at``: "tortuous, calcified aorta"."""
    return at + 1 < len(items) and items[at + 1].value("predicate") is not None


def subjects_right(items: Sequence[Item], at: int) -> list[Item]:
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
            if item.start - last_end > NEAR_WORDS:
                break
            subjects.append(item)
            last_end = item.end
        elif not subjects and item.value("comma") and not _goes_on(items, item.index):
            break
    return subjects


def organs_behind_preposition(items: Sequence[Item], index: int) -> list[Item]:
    """The organs that "of", "in" or "involving" leads to from item ``index``."""
    organs: list[Item] = []
    led = False
    for other in items[index + 1 :]:
        if other.clause != items[index].clause or other.has(ENDS_ORGANS):
            break
        if other.value("comma") and not (organs or led):
            break
        led = led or other.value("preposition") is not None
        if led and other.value("subject"):
            organs.append(other)
    return organs


def organs_behind_comma(items: Sequence[Item], index: int) -> list[Item]:
    """The organ that ends a clause after a comma: "old fracture, left clavicle"."""
    behind = items[index + 1 :]
    if not behind or not behind[0].value("comma"):
        return []
    organs = [o for o in behind if o.value("subject") and o.clause == items[index].clause]
    others = [o for o in behind[1:] if not (o.has(ADJECTIVES) or o.value("subject"))]
    return [] if others else organs


def is_of_next_finding(items: Sequence[Item], index: int) -> bool:
    """Whether a change or degree that is also a predicate stands right before a finding."""
    item = items[index]
    if not item.has(_MEASURES) or index + 1 >= len(items):
        return False
    for after in items[index + 1 :]:
        if after.value("finding"):
            return True
        if after.value("subject") or not after.has(ADJECTIVES):
            return False
    return False


def listed_with_first(items: Sequence[Item], subjects: list[Item]) -> list[Item]:
    """Of the organs behind a predicate the first, and the others where the list has no other
    predicate: "enlarged heart and mediastinum", but not "enlarged heart and normal hila"."""
    if len(subjects) < 2:
        return subjects
    behind = items[subjects[-1].index + 1 :]
    said = any(other.has(OF_ORGANS) for other in behind if other.clause == subjects[0].clause)
    between = items[subjects[0].index + 1 : subjects[-1].index]
    joined = all(items[s.index - 1].value("and") for s in subjects[1:])
    apart = any(other.value("predicate") or other.value("preposition") for other in between)
    return subjects[:1] if said or apart or not joined else subjects
