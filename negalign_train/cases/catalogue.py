"""Which finding a MeSH code of OpenI means, by ``data/findings.yaml``."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from negalign_train.vocabulary.records import Finding
from negalign_train.vocabulary.resources import data_path, read_table
from negalign_train.vocabulary.taxonomy import finding_types

_DEGREES = {
    "mild": "mild",
    "small": "mild",
    "borderline": "mild",
    "moderate": "moderate",
    "severe": "severe",
    "large": "severe",
}
_PLACES = (
    "upper lobe", "middle lobe", "lower lobe", "lingula", "base", "apex", "hilum", "retrocardiac",
    "thoracic vertebrae", "lumbar vertebrae", "cervical vertebrae", "ribs", "clavicle", "humerus",
)  # fmt: skip


@cache
def _codes() -> tuple[tuple[str, frozenset[str], str], ...]:
    """(head, qualifiers, finding) of every code of the catalogue, the most specific first."""
    entries = read_table(data_path("findings.yaml"))["findings"]
    codes = []
    for name, entry in entries.items():
        for code in entry["mesh"]:
            head, *qualifiers = code.lower().split("/")
            codes.append((head, frozenset(qualifiers), name))
    return tuple(sorted(codes, key=lambda code: -len(code[1])))


@cache
def finding_names() -> frozenset[str]:
    """All ids of the catalogue."""
    return frozenset(finding_types())


def _parts(code: str) -> list[str]:
    return [" ".join(part.lower().split()) for part in code.split("/")]


def finding_of(code: str) -> Finding | None:
    """The finding one code ``Head/qualifier/...`` means; None where the catalogue has none."""
    head, *qualifiers = _parts(code)
    for known_head, needed, name in _codes():
        if head == known_head and needed <= set(qualifiers):
            sides = {q for q in qualifiers if q in ("left", "right", "bilateral")}
            side = sides.pop() if len(sides) == 1 else ("bilateral" if sides else None)
            places = [q for q in qualifiers if q in _PLACES]
            degrees = [_DEGREES[q] for q in qualifiers if q in _DEGREES]
            return Finding(
                name,
                side=side,
                location=places[0] if len(places) == 1 else None,
                degree=degrees[0] if len(degrees) == 1 else None,
            )
    return None


def _merged(same: Sequence[Finding]) -> Finding:
    """One finding of several codes: sides add up, what differs otherwise is left open."""
    sides = {finding.side for finding in same}
    places = {finding.location for finding in same}
    degrees = {finding.degree for finding in same}
    mixed = None if None in sides else "bilateral"
    return Finding(
        same[0].name,
        side=same[0].side if len(sides) == 1 else mixed,
        location=same[0].location if len(places) == 1 else None,
        degree=same[0].degree if len(degrees) == 1 else None,
    )


def findings_of(codes: Sequence[str]) -> tuple[Finding, ...]:
    """The findings of a study, one per id, in order of first code."""
    grouped: dict[str, list[Finding]] = {}
    for code in codes:
        finding = finding_of(code)
        if finding is not None:
            grouped.setdefault(finding.name, []).append(finding)
    return tuple(_merged(same) for same in grouped.values())


def readable(code: str) -> str:
    """A code as words: ``Opacity/lung/base/left`` is "opacity, lung, base, left" and
    ``Pulmonary Disease, Chronic Obstructive`` "chronic obstructive pulmonary disease".
    """
    words = []
    for part in _parts(code):
        noun, comma, rest = part.partition(", ")
        words.append(f"{rest} {noun}" if comma else part)
    return ", ".join(words)
