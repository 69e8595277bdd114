"""Errors on a finding that both reports assert: place, degree and size, number, change, doubt.

Nothing is charged where the reference is silent. A malposition of a device is more than an
attribute: it costs its own clinical weight.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator

from negalign_train.severity.pricing.matching import matching, place_share
from negalign_train.severity.pricing.prices import Prices
from negalign_train.severity.reading.mentions import Mention, by_side
from negalign_train.severity.reading.numbers import MANY
from negalign_train.severity.words.lexicon import lexicon
from negalign_train.vocabulary.records import Evidence
from negalign_train.vocabulary.taxonomy import finding_types

FULL = 0.5
"""A wrong attribute costs this share of its finding's weight (CRIMSON: at most 0.5)."""
HALF = 0.25
"""The same for one that is wrong in part or by one step."""
SLIGHT = 0.125
"""The same for a detail that the candidate leaves out, and for a change left out or added."""
TRACE = 0.0625
"""The same for "unchanged" where the reference compares nothing; also, flat, a comparison of the
whole study, and a change on a finding that is not there."""
OVERSURE = 0.25
"""The same for a finding that the reference only calls possible."""
UNCERTAIN = 0.5
"""Factor for what one of the reports only calls possible."""
PROBABLE = 0.75
"""Factor for what one of the reports calls likely."""
MOSTLY_MISSED = 0.5
"""Share of a certain finding of which the candidate only says that it is possible."""
_LEVEL = {"trace": 0, "mild": 0, "moderate": 1, "severe": 2}
MISPLACED = "misplaced"
"""The position of what a report only calls malpositioned, too low or in need of moving."""
_SIZE_MARGIN_MM = 2.0
_SIZE_MARGIN = 0.2
"""Measurements this near, in millimetres or as a share of the larger, are reading error."""
_DOUBLINGS = 2.0
"""A size four times another is as wrong as can be; between, by the logarithm of the ratio."""
_DISAGREEING = frozenset([("improved", "worse"), ("worse", "improved"), ("new", "improved"),
                          ("improved", "new")])  # fmt: skip


def certainty(mention: Mention) -> float:
    """The share of its weight that a finding has by how sure its report is of it."""
    if mention.certain:
        return 1.0
    return PROBABLE if mention.probable else UNCERTAIN


def _degree_share(expected: frozenset[str], said: frozenset[str]) -> float:
    """By steps between the nearest degrees named; one too many, or "severe" left out, is half."""
    right, given = ({_LEVEL[degree] for degree in degrees} for degrees in (expected, said))
    if not right:
        return 0.0
    if not given:
        return HALF if _LEVEL["severe"] in right else SLIGHT
    if right & given:
        return HALF if given - right else 0.0
    steps = min(abs(one - other) for one in right for other in given)
    return FULL if steps > 1 else HALF


def _size_share(expected: frozenset[float], said: frozenset[float]) -> float:
    """By the ratio of each size of the candidate to the nearest of the reference; the worst."""
    if not expected or not said:
        return 0.0
    return max(min(_ratio_share(right, size) for right in expected) for size in said)


def _ratio_share(expected: float, said: float) -> float:
    small, large = sorted((expected, said))
    if large - small <= max(_SIZE_MARGIN_MM, _SIZE_MARGIN * large) or small <= 0:
        return 0.0
    return FULL * min(1.0, math.log2(large / small) / _DOUBLINGS)


def _change_share(
    expected: frozenset[str], said: frozenset[str], studies: tuple[frozenset[str], frozenset[str]]
) -> float:
    """``studies``: what the two reports say of the whole study; it holds for each finding."""
    expected, said = expected or studies[0], said or studies[1]
    if expected == said:
        return 0.0
    if expected and said:
        if expected & said:
            return SLIGHT
        opposite = any((one, other) in _DISAGREEING for one in expected for other in said)
        return FULL if opposite else HALF
    if expected:
        return 0.0 if expected == {"stable"} else SLIGHT
    return TRACE if said == {"stable"} else SLIGHT


def _tip_weight(
    finding: str, places: Collection[str], sizes_mm: Collection[float], share: float
) -> float:
    """Of the places named in one statement, the one farthest along the device's way counts; a
    distance that is too short or too long makes a right place a wrong one."""
    entry = finding_types()[finding]
    named = [w for place, w in entry.tip.items() if place in places and place != MISPLACED]
    weight = named[-1] if named else 0.0
    if MISPLACED in places and not weight:  # "too low"; a place of its own weight says how much
        weight = entry.tip.get(MISPLACED, 0.0)
    if entry.distance_mm and not weight and sizes_mm:
        low, high, misplaced = entry.distance_mm
        if any(size < low or size > high for size in sizes_mm):
            weight = misplaced
    return weight * share


def malposition(mention: Mention) -> float:
    """The clinical weight of where a device's tip is said to lie; 0 where that is right or unsaid.

    Of several statements the worst counts: "should be withdrawn to above the carina" mends nothing.
    """
    if not finding_types()[mention.finding].tip:
        return 0.0
    if not mention.asserted:
        share = certainty(mention)
        return _tip_weight(mention.finding, mention.location, mention.sizes_mm, share)
    return max(
        _tip_weight(
            mention.finding,
            s.location,
            () if s.size_mm is None else (s.size_mm,),
            1.0 if s.certain else PROBABLE if s.probable else UNCERTAIN,
        )
        for s in mention.asserted
    )


def _malposition_error(reference: Mention, candidate: Mention) -> tuple[float, str]:
    """How far apart the two tips lie in clinical weight, and what is wrong with that."""
    expected, said = malposition(reference), malposition(candidate)
    if expected and said:
        return abs(expected - said), "malposition of its tip differs"
    what = "missed" if expected else "invented"
    return expected or said, f"malposition of its tip {what}"


def _device_place_share(reference: Mention, candidate: Mention) -> float:
    """Side and tip. Two places where the tip belongs, or that touch, are nearly the same."""
    sides = frozenset((side, None) for side in reference.side or [None])
    share = place_share(sides, frozenset((side, None) for side in candidate.side or [None]))
    # "Too low" is no place: what it costs is the malposition's.
    expected, said = reference.location - {MISPLACED}, candidate.location - {MISPLACED}
    if not expected or expected == said:
        return share
    if not said or expected & said:
        return max(share, SLIGHT)
    tip = finding_types()[reference.finding].tip
    right_both = all(tip.get(place, 1.0) == 0 for place in expected | said)
    near = any((one, other) in matching().neighbours for one in expected for other in said)
    return max(share, SLIGHT if right_both or near else FULL)


def place_errors(reference: Mention, candidate: Mention, prices: Prices) -> Iterator[Evidence]:
    """R5, or R7 for a device: the worse of side and place, and of where the device's tip lies."""
    name = reference.finding
    if name in lexicon().midline or candidate.finding in lexicon().midline:
        return
    weight, spans = prices.weight(name, reference.degree), (candidate.span, reference.span)
    if finding_types()[name].kind != "device":
        denied = candidate.side & reference.denied_side - reference.side
        share = place_share(reference.sites, candidate.sites)
        if denied and not reference.side.isdisjoint(candidate.side):
            detail = f"denied on the {min(denied)} in the reference"
            yield Evidence("false_positive", weight, name, detail, *spans)
        elif share:
            yield Evidence("wrong_location", share * weight, name, "side or place differs", *spans)
        return
    cost, detail = _device_place_share(reference, candidate) * weight, "side or place differs"
    misplaced, what = _malposition_error(reference, candidate)
    if misplaced and misplaced >= cost:
        cost, detail = misplaced, what
    if cost:
        yield Evidence("device_error", cost, name, detail, *spans)


def _unlike(devices: Mention, others: Mention) -> frozenset[str]:
    """The kinds of those devices, statement by statement, that are of no kind of the others: a
    jugular dialysis catheter is a dialysis catheter, an arterial line is no venous one."""
    here, there = (
        [frozenset(s.subtypes) for s in m.asserted if s.subtypes] or [m.subtypes]
        for m in (devices, others)
    )
    return frozenset(
        kind for kinds in here if all(kinds.isdisjoint(other) for other in there) for kind in kinds
    )


def _count_share(expected: frozenset[int], said: frozenset[int]) -> float:
    """One for several is more than two for three; a number left out costs what a detail does."""
    if not expected or expected & said:
        return 0.0
    if not said:
        return SLIGHT if max(expected) > 1 and MANY not in expected else 0.0
    return HALF if 1 in expected | said else SLIGHT


def _instances(reference: Mention, candidate: Mention, prices: Prices) -> Iterator[Evidence]:
    """Which bone, node, rib or device it is, and how many there are."""
    name, spans = reference.finding, (candidate.span, reference.span)
    weight = prices.weight(name, reference.degree)
    qualities = matching().qualities
    which, other = reference.subtypes - qualities, candidate.subtypes - qualities
    is_device = finding_types()[name].kind == "device"
    if is_device and which and other:
        missing = _unlike(reference, candidate)
        added = _unlike(candidate, reference)
        if missing and added:
            detail = f"{min(added)} for {min(missing)}"
        elif missing:
            detail = f"{min(missing)} not mentioned"
        else:
            detail = f"{min(added, default='')} not in the reference"
        if missing or added:
            yield Evidence("device_error", weight, name, detail, *spans)
    if which and other and not is_device:
        if missing := which - other:
            share = len(missing) / len(which)
            detail = f"{', '.join(sorted(missing))} not mentioned"
            yield Evidence("false_negative", share * weight, name, detail, *spans)
        if added := other - which:
            share = len(added) / len(other)
            detail = f"{', '.join(sorted(added))} not in the reference"
            yield Evidence("false_positive", share * weight, name, detail, *spans)
    if reference.numbers and candidate.numbers and reference.numbers != candidate.numbers:
        share = FULL if reference.numbers.isdisjoint(candidate.numbers) else HALF
        yield Evidence("wrong_location", share * weight, name, "other numbers", *spans)
    if share := 0.0 if reference.numbers else _count_share(reference.counts, candidate.counts):
        category = "device_error" if is_device else "wrong_severity"
        yield Evidence(category, share * weight, name, "another number of them", *spans)


def _qualities(reference: Mention, candidate: Mention, prices: Prices) -> Iterator[Evidence]:
    """What kind of it: loculated or free, calcified, malignant."""
    name, spans = reference.finding, (candidate.span, reference.span)
    weight, table = prices.weight(name, reference.degree), matching()
    expected = reference.subtypes & table.qualities
    said = candidate.subtypes & table.qualities
    if leaps := (said - expected) & table.over_calls:
        detail = f"{min(leaps)} not in the reference"
        yield Evidence("artifact_overinterpretation", FULL * weight, name, detail, *spans)
    missing = expected - said
    if expected and said and expected.isdisjoint(said):
        detail = f"{min(said)} for {min(expected)}"
        yield Evidence("wrong_severity", HALF * weight, name, detail, *spans)
    elif missing:
        detail = f"{min(missing)} not mentioned"
        yield Evidence("wrong_severity", SLIGHT * weight, name, detail, *spans)


def doubt_errors(
    reference: Mention, candidate: Mention, prices: Prices, oversure: float = OVERSURE
) -> Iterator[Evidence]:
    """A certain finding that is only possible in the candidate is mostly missed; one that is only
    possible in the reference is over-called, by the share ``oversure``."""
    name, spans = reference.finding, (candidate.span, reference.span)
    weight = prices.weight(name, reference.degree)
    if candidate.is_doubtful and reference.certain:
        cost = MOSTLY_MISSED * max(weight, malposition(reference))
        category = "device_error" if finding_types()[name].kind == "device" else "false_negative"
        yield Evidence(category, cost, name, "only possible in the candidate", *spans)
    elif candidate.certain and reference.is_doubtful:
        detail = "only possible in the reference"
        yield Evidence("artifact_overinterpretation", oversure * weight, name, detail, *spans)
    elif candidate.certain and reference.probable and not reference.certain:
        detail = "only likely in the reference"
        yield Evidence("artifact_overinterpretation", TRACE * weight, name, detail, *spans)


def attribute_errors(
    reference: Mention,
    candidate: Mention,
    prices: Prices,
    studies: tuple[frozenset[str], frozenset[str]] = (frozenset(), frozenset()),
    oversure: float = OVERSURE,
) -> Iterator[Evidence]:
    """All attribute errors of one matched finding, those of a finding without weight at cost 0.

    ``studies``: the changes that the two reports state for the whole study; ``oversure``: see
    ``doubt_errors``.
    """
    name, spans = candidate.finding, (candidate.span, reference.span)
    weight = prices.weight(name, reference.degree)
    yield from doubt_errors(reference, candidate, prices, oversure)
    if candidate.is_doubtful and reference.certain:
        return  # what is mostly missed has no attributes
    yield from place_errors(reference, candidate, prices)
    yield from _instances(reference, candidate, prices)
    if finding_types()[name].kind == "device":
        share = _size_share(reference.sizes_mm, candidate.sizes_mm)
        if share and malposition(reference) == malposition(candidate):
            detail = "distance of its tip differs"
            yield Evidence("device_error", share * weight, name, detail, *spans)
        return
    yield from _qualities(reference, candidate, prices)
    if reference.chronic != candidate.chronic and name in lexicon().benign_when_old:
        yield Evidence("temporal_error", HALF * weight, name, "old or recent differs", *spans)
    parts = by_side(reference, candidate)
    degree = max(_degree_share(one.degree, other.degree) for one, other in parts)
    degree = max(degree, _size_share(reference.sizes_mm, candidate.sizes_mm))
    if degree:
        graver = max(weight, prices.weight(name, candidate.degree))
        yield Evidence("wrong_severity", degree * graver, name, "degree or size differs", *spans)
    change = max(_change_share(one.change, other.change, studies) for one, other in parts)
    if change:
        yield Evidence("temporal_error", change * weight, name, "change differs", *spans)
