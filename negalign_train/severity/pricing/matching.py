"""What a reader takes for the same thing: near words, explained signs, places that touch."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Literal

from negalign_train.severity.reading.mentions import Mention, Site
from negalign_train.severity.words.lexicon import lexicon
from negalign_train.vocabulary.errors import DataError
from negalign_train.vocabulary.resources import data_path, read_table
from negalign_train.vocabulary.taxonomy import finding_types

MATCHING_FILE = "matching.yaml"

Distance = Literal["same", "vaguer", "neighbour", "apart"]


@dataclass(frozen=True)
class Matching:
    """The tables of the file. Pairs hold in both directions but for ``explains`` and ``causes``,
    (diagnosis, sign), and ``patterns``, (subtype, finding)."""

    near: frozenset[tuple[str, str]]
    explains: frozenset[tuple[str, str]]
    causes: frozenset[tuple[str, str]]
    neighbours: frozenset[tuple[str, str]]
    qualities: frozenset[str]
    over_calls: frozenset[str]
    patterns: frozenset[tuple[str, str]]


def _both_ways(pairs: Collection[tuple[str, str]]) -> frozenset[tuple[str, str]]:
    return frozenset(pair for one, other in pairs for pair in ((one, other), (other, one)))


@cache
def matching() -> Matching:
    """The file, read once.

    Raises:
        DataError: it names what neither lexicon.yaml nor findings.yaml has.
    """
    path = data_path(MATCHING_FILE)
    data = read_table(path)
    explains = frozenset((name, sign) for name, signs in data["explains"].items() for sign in signs)
    causes = frozenset((name, effect) for name, some in data["causes"].items() for effect in some)
    patterns = frozenset((quality, name) for quality, name in data["patterns"])
    _check(str(path), data["near"], explains | causes, patterns)
    return Matching(
        _both_ways(data["near"]),
        explains,
        causes,
        _both_ways(data["neighbours"]),
        frozenset(data["qualities"]),
        frozenset(data["over_calls"]),
        patterns,
    )


def _check(
    path: str,
    near: Collection[tuple[str, str]],
    explains: Collection[tuple[str, str]],
    patterns: Collection[tuple[str, str]],
) -> None:
    named = {name for pairs in (near, explains) for pair in pairs for name in pair}
    named |= {name for _, name in patterns}
    if wrong := sorted(named - finding_types().keys()):
        raise DataError(f"{path}: {', '.join(wrong)} not in findings.yaml; correct the names")


def explains(diagnosis: str, sign: str) -> bool:
    """Whether a diagnosis explains a sign, so that naming it says enough."""
    return (diagnosis, sign) in matching().explains


def is_reading(disease: str, sign: str) -> bool:
    """Whether a disease may stand behind a sign or finding, as its reading or its cause."""
    table = matching()
    pair = disease, sign
    return pair in table.explains or pair in table.causes or (sign, disease) in lexicon().readings


def relation(reference: str, candidate: str, equal: Collection[frozenset[str]]) -> str | None:
    """How a finding of the candidate stands in for one of the reference.

    ``equal`` where the indication makes them one, ``near`` a matter of words, ``vague`` the general
    word for the specific one, ``leap`` the other way; None where they are two things.
    """
    if equal and frozenset((reference, candidate)) in equal:
        return "equal"
    kind = lexicon().relations.get((reference, candidate))
    if (reference, candidate) in matching().near:
        return "near"
    return kind


def same_place(one: Mention, other: Mention) -> bool:
    """Whether two findings may be one thing: not on different sides, not in zones that do not
    touch, and not of patterns that exclude each other."""
    for first, second in ((one, other), (other, one)):
        if any((quality, second.finding) in matching().patterns for quality in first.subtypes):
            return False
    if not (one.side or one.location) or not (other.side or other.location):
        return True
    return any(site_distance(site, near) != "apart" for site in one.sites for near in other.sites)


def site_distance(expected: Site, said: Site) -> Distance:
    """How far a place of the candidate lies from one of the reference.

    What the reference leaves open is ``same``, what the candidate leaves open ``vaguer``.
    """
    side, zone = expected
    said_side, said_zone = said
    if side and said_side and side != said_side:
        return "apart"
    if zone and said_zone and zone != said_zone:
        return "neighbour" if (zone, said_zone) in matching().neighbours else "apart"
    return "vaguer" if (side and not said_side) or (zone and not said_zone) else "same"


_SHARE: Mapping[Distance, float] = {"same": 0.0, "vaguer": 0.125, "neighbour": 0.125}


def place_share(expected: Collection[Site], said: Collection[Site]) -> float:
    """The share of a finding's weight that its places cost, 0 to 0.5.

    Nothing where the reference names no place. Half for another side, or a whole side missed or
    added; three eighths where no place of the right side fits, a quarter where one is missed or
    added; an eighth where the candidate is vaguer, or a zone off.
    """
    if not any(side or zone for side, zone in expected):
        return 0.0
    nearest = [_closest(site, said, is_expected=True) for site in expected]
    extra = [_closest(site, expected, is_expected=False) for site in said]
    missing = [site for site, d in zip(expected, nearest, strict=True) if d == "apart"]
    added = [site for site, d in zip(said, extra, strict=True) if d == "apart"]
    right, given = ({side for side, _ in sites if side} for sites in (expected, said))
    if right and given and right != given:
        return 0.5
    if len(missing) == len(expected):
        return 0.375
    if missing or added:
        return 0.25
    return max(_SHARE[distance] for distance in nearest if distance != "apart")


def _closest(site: Site, others: Collection[Site], *, is_expected: bool) -> Distance:
    order: tuple[Distance, ...] = ("same", "vaguer", "neighbour", "apart")
    distances = [
        site_distance(site, other) if is_expected else site_distance(other, site)
        for other in others
    ]
    return min(distances, key=order.index, default="apart")
