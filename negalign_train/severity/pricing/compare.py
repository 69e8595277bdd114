"""Two reports' facts into nine severities with their evidence (``data/taxonomy.json``).

Weights follow the classes of CRIMSON (arXiv 2603.06183): a finding missed or invented costs its
clinical weight, an error of an attribute at most half of it, and each category is capped at 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from negalign_train.severity.pricing.attribute_errors import (
    UNCERTAIN,
    attribute_errors,
    malposition,
    place_errors,
)
from negalign_train.severity.reading.facts import ReportFacts
from negalign_train.severity.reading.lexicon import lexicon
from negalign_train.severity.reading.mentions import (
    Mention,
    Mentions,
    contradictions,
    mentions_of,
    side_conflicts,
)
from negalign_train.severity.reading.statements import STUDY, Statement
from negalign_train.vocabulary.records import CATEGORIES, Evidence, SeverityScore
from negalign_train.vocabulary.taxonomy import cap_severities, finding_types

LEAP = 0.5
"""Factor for a diagnosis beyond the sign that the reference names."""
OLD = 0.5
"""Factor for a finding called old; nothing for those that are benign then (a healed fracture)."""
VAGUE = 0.25
"""Factor for the general word where the reference has the specific one."""
UNSAID = 0.5
"""Factor for a specific finding where only its general sign, also there, is named."""
INVENTED_COMPARISON = 0.25
"""Of a whole-study comparison, and factor for one on an invented finding."""
CONTRADICTION = 0.5
"""Factor for a finding that one report both asserts and denies, or names on both sides."""
SLIP_WEIGHTS: Mapping[str, float] = {
    "repeated_sentence": 0.25,
    "truncated": 0.25,
    "empty_section": 0.25,
    "placeholder": 0.25,
    "misspelt": 0.1,
    "doubled_word": 0.1,
}
"""What each fault of the text itself costs in R9."""
NOTHING_SAID = 1.0
"""R9 of a candidate in which no statement at all is recognised."""


def _weight(finding: str) -> float:
    return finding_types()[finding].weight


def _kind(finding: str) -> str:
    return finding_types()[finding].kind


def _cost(mention: Mention) -> float:
    """What missing or inventing this finding costs: its weight, less where it is unsure or old,
    and at least that of a device's malposition.
    """
    cost = finding_types()[mention.finding].price(mention.degree)
    if not mention.certain:
        cost *= UNCERTAIN
    if mention.chronic:
        cost *= 0.0 if mention.finding in lexicon().benign_when_old else OLD
    return max(cost, malposition(mention))


def _apart(one: Mention, other: Mention) -> bool:
    """Whether two findings lie on different sides, and so cannot be the same thing."""
    return bool(one.side and other.side) and one.side.isdisjoint(other.side)


def _related(mention: Mention, others: Mentions, as_reference: bool) -> str | None:
    """The asserted finding in ``others`` that stands in for ``mention``, the closest first."""
    table = lexicon().relations
    best: tuple[int, str] | None = None
    for name in others.asserted:
        pair = (mention.finding, name) if as_reference else (name, mention.finding)
        kind = table.get(pair)
        if kind is not None and name != mention.finding and not _apart(mention, others[name]):
            best = min(best or (2, ""), (0 if kind == "vague" else 1, name))
    return best[1] if best else None


def _stand_in(reference: Mention, candidate: Mention) -> Iterator[Evidence]:
    """The cost of naming a related finding: a leap is R4; a vague word, or a harmless name for
    something graver (a nodule called a granuloma), is R6."""
    kind = lexicon().relations[reference.finding, candidate.finding]
    doubt = 1.0 if candidate.certain else UNCERTAIN
    detail = f"{candidate.finding} said for {reference.finding}"
    harmless = _weight(candidate.finding) < _weight(reference.finding)
    if kind == "leap" and not harmless:
        cost = LEAP * doubt * _weight(candidate.finding)
        category = "artifact_overinterpretation"
    else:
        heavier = max(_weight(reference.finding), _weight(candidate.finding))
        cost, category = VAGUE * heavier, "wrong_severity"
    yield Evidence(category, cost, candidate.finding, detail, candidate.span, reference.span)


def _asserts(mentions: Mentions, finding: str) -> bool:
    return finding in mentions.asserted


def _mimicked(finding: str, reference: Mentions) -> list[str]:
    """The artefacts of the reference that look like ``finding``."""
    mimics = lexicon().mimics
    return [name for name in reference.asserted if finding in mimics.get(name, ())]


def _invented(mention: Mention, reference: Mentions) -> Iterator[Evidence]:
    """A finding that the candidate alone asserts, and nothing in the reference stands for."""
    name = mention.finding
    cost = _cost(mention)
    artefacts = _mimicked(name, reference)
    denial = reference.get(name)
    where = denial.span if denial is not None else None
    if artefacts:
        category = "artifact_overinterpretation"
        detail = f"{artefacts[0]} of the reference read as something else"
        where = reference[artefacts[0]].span
    elif _kind(name) == "device":
        category, detail = "device_error", "device not in the reference"
    else:
        category = "false_positive"
        detail = "denied in the reference" if denial else "not in the reference"
    yield Evidence(category, cost, name, detail, mention.span, where)
    if mention.change:
        cost = INVENTED_COMPARISON * _weight(name)
        detail = "comparison for a finding that is not there"
        yield Evidence("temporal_error", cost, name, detail, mention.span, where)


def _invented_past(mention: Mention, reference: Mentions) -> Iterator[Evidence]:
    """A finding said to have resolved, of which the reference knows no past."""
    name = mention.finding
    known = reference.get(name)
    if "improved" not in mention.change or (known is not None and (known.present or known.change)):
        return
    cost = INVENTED_COMPARISON * _weight(name)
    detail = "resolved, with no past in the reference"
    yield Evidence("temporal_error", cost, name, detail, mention.span)


def _sign_of(name: str, reference: Mentions, candidate: Mentions) -> str | None:
    """The finding of the reference, not said in the candidate, that ``name`` leaps from."""
    signs = (sign for sign, disease in lexicon().leaps if disease == name)
    fitting = (s for s in signs if _asserts(reference, s) and not _asserts(candidate, s))
    return min(fitting, default=None)


def _unmatched(mention: Mention, reference: Mentions, candidate: Mentions) -> Iterator[Evidence]:
    """A finding that the candidate asserts and the reference does not."""
    name = mention.finding
    denied = name in reference and reference[name].denied
    other = None if denied else _related(mention, reference, as_reference=False)
    if other is None:
        sign = None if denied else _sign_of(name, reference, candidate)
        if sign is None:
            yield from _invented(mention, reference)
            return
        cost, category = LEAP * _cost(mention), "artifact_overinterpretation"
        detail = f"{name} said for {sign}"
        yield Evidence(category, cost, name, detail, mention.span, reference[sign].span)
    elif not _asserts(candidate, other):
        yield from _stand_in(reference[other], mention)
        yield from place_errors(reference[other], mention, only_contrary=True)
    elif _mimicked(name, reference):
        yield from _invented(mention, reference)
    elif lexicon().relations[other, name] == "leap":
        # On top of the sign itself: "opacity", and then "pneumonia", where there is opacity.
        yield from _stand_in(reference[other], mention)


def _candidate_side(reference: Mentions, candidate: Mentions) -> Iterator[Evidence]:
    of_study = candidate[STUDY].change if STUDY in candidate else frozenset()
    for name, mention in candidate.items():
        if name == STUDY or _kind(name) == "artefact":
            continue
        if not mention.present:
            yield from _invented_past(mention, reference)
            continue
        if _asserts(reference, name):
            yield from attribute_errors(reference[name], mention, of_study)
        else:
            yield from _unmatched(mention, reference, candidate)


def _missed(mention: Mention, reference: Mentions, candidate: Mentions) -> Iterator[Evidence]:
    """A finding of the reference that the candidate does not assert."""
    name = mention.finding
    if _kind(name) == "artefact":
        return
    said = candidate.get(name)
    denied = said is not None and said.denied
    other = None if denied else _related(mention, candidate, as_reference=True)
    cost = _cost(mention)
    if other is not None:
        # Where the stand-in is the candidate's own extra finding, its cost is counted there. Where
        # the reference has it too, the general word leaves the specific finding unsaid.
        if _asserts(reference, other) and lexicon().relations[name, other] == "vague":
            detail = f"only {other} mentioned"
            span = candidate[other].span
            yield Evidence("false_negative", UNSAID * cost, name, detail, span, mention.span)
        return
    category = "device_error" if _kind(name) == "device" else "false_negative"
    where = said.span if said is not None else None
    detail = "denied" if said else "not mentioned"
    yield Evidence(category, cost, name, detail, where, mention.span)


def _reference_side(reference: Mentions, candidate: Mentions) -> Iterator[Evidence]:
    for name in reference.asserted:
        if name != STUDY and not _asserts(candidate, name):
            yield from _missed(reference[name], reference, candidate)


def _study_comparison(reference: Mentions, candidate: Mentions) -> Iterator[Evidence]:
    """A comparison of the whole study that the reference does not make, or makes otherwise."""
    if STUDY not in candidate:
        return
    changes = frozenset(change for mention in reference.values() for change in mention.change)
    if not candidate[STUDY].change & changes:
        detail = "another change of the study than in the reference"
        if not changes:
            detail = "comparison with a prior study that the reference does not make"
        yield Evidence("temporal_error", INVENTED_COMPARISON, None, detail, candidate[STUDY].span)


def _conflict(statement: Statement, other: Statement, detail: str) -> Evidence:
    cost = CONTRADICTION * _weight(statement.finding)
    category, name = "contradictory_diagnosis", statement.finding
    return Evidence(category, cost, name, detail, statement.span, None, other.span)


def _of_the_text(facts: ReportFacts, reference: ReportFacts) -> Iterator[Evidence]:
    """R3 and R9: what is wrong with the candidate whatever the reference says of the patient."""
    for statement, denial in contradictions(facts):
        yield _conflict(statement, denial, "asserted and denied in one report")
    for statement, before in side_conflicts(facts):
        yield _conflict(statement, before, "findings and impression name different sides")
    masked = any(slip.kind == "placeholder" for slip in reference.slips)
    for slip in facts.slips:
        if slip.kind == "placeholder" and masked:
            continue  # de-identified data: both sides carry the masks
        detail = slip.kind.replace("_", " ")
        yield Evidence("report_integrity", SLIP_WEIGHTS[slip.kind], None, detail, slip.span)
    if not facts.statements:
        detail = "no statement on any finding"
        yield Evidence("report_integrity", NOTHING_SAID, None, detail, None)


def findings_weight(reference: ReportFacts) -> float:
    """What the findings of a reference weigh in all: C of a report that is right."""
    return _correct_weight(mentions_of(reference), ())


def _correct_weight(reference: Mentions, evidence: Sequence[Evidence]) -> float:
    """C: the weights of the reference's findings, each ``w * w / (w + a)`` with the weights ``a``
    of its own attribute errors (as CRIMSON counts them), nothing where it is missed.
    """
    total = 0.0
    for name in reference.asserted:
        if name == STUDY or _kind(name) == "artefact":
            continue
        mention = reference[name]
        weight = _cost(mention)
        own = [item for item in evidence if item.reference_span == mention.span]
        if weight > 0 and not any(is_missed(item) for item in own):
            total += weight * weight / (weight + sum(item.severity for item in own))
    return total


def is_missed(item: Evidence) -> bool:
    """Whether an error is a finding left out, and not one of its attributes."""
    is_device = item.finding is not None and _kind(item.finding) == "device"
    left_out = is_device and item.span is None and item.category == "device_error"
    return item.reference_span is not None and (item.category == "false_negative" or left_out)


def priced_score(evidence: Sequence[Evidence], correct_weight: float) -> SeverityScore:
    """The score of these errors, beside this much that is right."""
    sums = dict.fromkeys(CATEGORIES, 0.0)
    for item in evidence:
        sums[item.category] += item.severity
    return SeverityScore(cap_severities(sums), tuple(evidence), sums, correct_weight)


def compare(reference: ReportFacts, candidate: ReportFacts) -> SeverityScore:
    """Nine severities of ``candidate`` against ``reference``, with the evidence that costs."""
    expected, said = mentions_of(reference), mentions_of(candidate)
    evidence = [
        *_candidate_side(expected, said),
        *_reference_side(expected, said),
        *_study_comparison(expected, said),
        *_of_the_text(candidate, reference),
    ]
    costly = tuple(item for item in evidence if item.severity > 0)
    return priced_score(costly, _correct_weight(expected, costly))
