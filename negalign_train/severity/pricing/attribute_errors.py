"""Errors on a finding that both reports assert: side and place, degree and size, change, doubt.

A malposition of a device is more than an attribute: it costs its own clinical weight.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from negalign_train.severity.reading.lexicon import lexicon
from negalign_train.severity.reading.mentions import Mention, by_side
from negalign_train.vocabulary.records import Evidence
from negalign_train.vocabulary.taxonomy import finding_types

FULL = 0.5
"""A wrong attribute costs this share of its finding's weight (CRIMSON: at most 0.5)."""
HALF = 0.25
"""The same for one that is wrong in part or by one step, and for a change left out or added."""
SLIGHT = 0.125
"""The same for a detail that only one of the two gives: a place, a degree that is not severe,
"unchanged"."""
OVERSURE = 0.25
"""The same for a finding that the reference only calls possible."""
UNCERTAIN = 0.5
"""Factor for what one of the reports only calls possible."""
SIZE_TOLERANCE = 0.2
"""Measurements that differ by more than this share of the larger one are wrong."""
_LEVEL = {"trace": 0, "mild": 0, "moderate": 1, "severe": 2}


def _set_factor(expected: frozenset[str], said: frozenset[str]) -> float:
    """0 for the same, ``FULL`` for nothing in common, ``HALF`` for too much or too little."""
    if expected == said:
        return 0.0
    return FULL if expected and said and expected.isdisjoint(said) else HALF


def _place_factor(expected: frozenset[str], said: frozenset[str]) -> float:
    return _set_factor(expected, said) if expected and said else SLIGHT * (expected != said)


def _degree_factor(expected: frozenset[str], said: frozenset[str]) -> float:
    """By steps between the nearest degrees named; one too many, or "severe" left out, is half."""
    right, given = ({_LEVEL[degree] for degree in degrees} for degrees in (expected, said))
    if right & given:
        return HALF if given - right else 0.0
    if not (right or given):
        return 0.0
    if not (right and given):
        return HALF if _LEVEL["severe"] in right | given else SLIGHT
    steps = min(abs(one - other) for one in right for other in given)
    return FULL if steps > 1 else HALF


def _change_factor(reference: Mention, candidate: Mention, of_study: frozenset[str]) -> float:
    """``of_study``: what the candidate states for the whole study; it holds for each finding."""
    expected, said = reference.change, candidate.change
    if not said and expected & of_study:
        return 0.0
    if expected == {"stable"} and not said:
        return SLIGHT
    return _set_factor(expected, said)


def _size_is_wrong(expected: frozenset[float], said: frozenset[float]) -> bool:
    """Whether a measurement of the candidate is none of the reference's, where that has any."""
    return bool(expected) and any(
        all(abs(known - size) > SIZE_TOLERANCE * max(known, size) for known in expected)
        for size in said
    )


def _tip_weight(finding: str, places: Collection[str], certain: bool) -> float:
    """Of the places named in one statement, the one farthest along the device's way counts."""
    named = [w for place, w in finding_types()[finding].tip.items() if place in places]
    return named[-1] * (1.0 if certain else UNCERTAIN) if named else 0.0


def malposition(mention: Mention) -> float:
    """The clinical weight of where a device's tip is said to lie; 0 where that is right or unsaid.

    Of several statements the worst counts: "should be withdrawn to above the carina" mends nothing.
    """
    if not mention.asserted:
        return _tip_weight(mention.finding, mention.location, mention.certain)
    return max(_tip_weight(mention.finding, s.location, s.certain) for s in mention.asserted)


def _malposition_error(reference: Mention, candidate: Mention) -> tuple[float, str]:
    """How far apart the two tips lie in clinical weight, and what is wrong with that."""
    expected, said = malposition(reference), malposition(candidate)
    if expected and said:
        return abs(expected - said), "malposition of its tip differs"
    what = "missed" if expected else "invented"
    return expected or said, f"malposition of its tip {what}"


def place_errors(
    reference: Mention, candidate: Mention, *, only_contrary: bool = False
) -> Iterator[Evidence]:
    """R5, or R7 for a device: the worse of side and place, and of where the device's tip lies.

    ``only_contrary``: what is left out or added costs nothing, but for a malposition.
    """
    name = candidate.finding
    if name in lexicon().midline:
        return
    entry = finding_types()[name]
    factor = max(
        _place_factor(reference.side, candidate.side),
        _place_factor(reference.location, candidate.location),
    )
    category, detail = "wrong_location", "side or place differs"
    cost = 0.0 if only_contrary and factor < FULL else factor * entry.weight
    if entry.kind == "device":
        category = "device_error"
        misplaced, what = _malposition_error(reference, candidate)
        if misplaced and misplaced >= cost:
            cost, detail = misplaced, what
    if cost:
        yield Evidence(category, cost, name, detail, candidate.span, reference.span)


def attribute_errors(
    reference: Mention, candidate: Mention, of_study: frozenset[str] = frozenset()
) -> Iterator[Evidence]:
    """All attribute errors of one matched finding, those of a finding without weight at cost 0.

    ``of_study``: the changes that the candidate states for the whole study.
    """
    name, spans = candidate.finding, (candidate.span, reference.span)
    weight = finding_types()[name].weight
    yield from place_errors(reference, candidate)
    if finding_types()[name].kind == "device":
        if _size_is_wrong(reference.sizes_mm, candidate.sizes_mm):
            detail = "distance of its tip differs"
            yield Evidence("device_error", HALF * weight, name, detail, *spans)
        return
    if reference.chronic != candidate.chronic and name in lexicon().benign_when_old:
        yield Evidence("temporal_error", HALF * weight, name, "old or recent differs", *spans)
    parts = by_side(reference, candidate)
    degree = max(_degree_factor(one.degree, other.degree) for one, other in parts)
    if _size_is_wrong(reference.sizes_mm, candidate.sizes_mm):
        degree = FULL
    if degree:
        yield Evidence("wrong_severity", degree * weight, name, "degree or size differs", *spans)
    change = max(_change_factor(one, other, of_study) for one, other in parts)
    if change:
        yield Evidence("temporal_error", change * weight, name, "change differs", *spans)
    if candidate.certain and not reference.certain:
        detail = "only possible in the reference"
        yield Evidence("artifact_overinterpretation", OVERSURE * weight, name, detail, *spans)
