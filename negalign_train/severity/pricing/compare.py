"""Two reports' facts into nine severities with their evidence (``data/taxonomy.json``).

Weights follow the classes of CRIMSON (arXiv 2603.06183): a finding missed or invented costs its
clinical weight, an error of an attribute at most half of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from negalign_train.severity.pricing.attribute_errors import (
    OVERSURE,
    SLIGHT,
    TRACE,
    attribute_errors,
    certainty,
    doubt_errors,
    malposition,
    place_errors,
)
from negalign_train.severity.pricing.matching import (
    explains,
    is_reading,
    relation,
    same_place,
)
from negalign_train.severity.pricing.prices import PLAIN, Prices
from negalign_train.severity.reading.facts import ReportFacts
from negalign_train.severity.reading.mentions import (
    Mention,
    Mentions,
    contradictions,
    mentions_of,
    side_conflicts,
)
from negalign_train.severity.reading.statements import STUDY, Statement
from negalign_train.severity.words.lexicon import lexicon
from negalign_train.vocabulary.records import CATEGORIES, Evidence, SeverityScore
from negalign_train.vocabulary.taxonomy import cap_severities, finding_types

LEAP = 0.5
"""Factor for a diagnosis beyond the sign that the reference names."""
OLD = 0.5
"""Factor for a finding called old; nothing for those that are benign then (a healed fracture)."""
VAGUE = 0.25
"""Factor for the general word where the reference has the specific one."""
URGENT = 1.0
"""A general word for a finding of this weight does not bring about what it calls for."""
HARMLESS = 0.25
"""A disease of this weight at most is a harmless name for a sign that weighs more."""
UNSAID = 0.5
"""Factor for a certain reading of a sign where only the sign, also there, is named."""
PARTLY = 0.5
"""Factor for a mild finding where the reference denies no more than a large one."""
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
_STAND_IN_SHARE: Mapping[str, float] = {"equal": 0.0, "near": SLIGHT, "vague": VAGUE, "leap": LEAP}
_STAND_IN_ORDER = ("equal", "near", "vague", "leap")
_MODEST = frozenset(["trace", "mild"])


def _kind(finding: str) -> str:
    return finding_types()[finding].kind


class _Comparison:
    """One comparison: the two reports' mentions, and the prices they are compared at."""

    def __init__(self, expected: Mentions, said: Mentions, prices: Prices) -> None:
        self.expected, self.said, self.prices = expected, said, prices
        self.studies = _study_change(expected), _study_change(said)
        self._asserted = frozenset(expected.asserted), frozenset(said.asserted)
        self._left_out: set[str] = set()
        self._stood_for: set[str] = set()

    def expects(self, finding: str) -> bool:
        return finding in self._asserted[0]

    def says(self, finding: str) -> bool:
        return finding in self._asserted[1]

    def cost(self, mention: Mention, *, missed: bool = False) -> float:
        """What missing or inventing this finding costs: its weight, less where it is unsure or old,
        and at least that of a device's malposition, or of what the indication asks about.
        """
        prices = self.prices
        cost = prices.weight(mention.finding, mention.degree)
        if mention.chronic:
            cost *= 0.0 if mention.finding in lexicon().benign_when_old else OLD
        if missed and mention.finding in prices.named:
            cost = max(cost, prices.named_weight)
        return max(cost * certainty(mention), malposition(mention))

    def error(
        self,
        category: str,
        severity: float,
        finding: str,
        detail: str,
        *spans: tuple[int, int] | None,
    ) -> Evidence:
        """An error on a finding, with what the context says of its price."""
        return Evidence(category, severity, finding, detail + self.prices.reason(finding), *spans)

    def errors(self) -> Iterator[Evidence]:
        """R1, R2 and R4 to R8."""
        yield from self._candidate_side()
        for name in self.expected.asserted:
            if name != STUDY and not self.says(name):
                yield from self._missed(self.expected[name])
        yield from self._study_comparison()

    def _candidate_side(self) -> Iterator[Evidence]:
        for name in self.said.asserted:
            if name == STUDY or _kind(name) == "artefact":
                continue
            mention = self.said[name]
            if not self.expects(name):
                yield from self._unmatched(mention)
                continue
            for item in attribute_errors(
                self.expected[name], mention, self.prices, self.studies, self._oversure(mention)
            ):
                yield replace(item, detail=item.detail + self.prices.reason(name))
        for name in self.said.gone:
            yield from self._invented_past(self.said[name])

    def _oversure(self, mention: Mention) -> float:
        """What being sure costs where the reference is not: less where it is sure of a finding that
        is nearly the same (a consolidation, possibly pneumonia)."""
        if not (mention.certain and self.expected[mention.finding].is_doubtful):
            return OVERSURE
        kinds = {
            relation(name, mention.finding, self.prices.equal)
            for name in self.expected.asserted
            if self.expected[name].certain and same_place(self.expected[name], mention)
        }
        return 0.0 if "equal" in kinds else SLIGHT if "near" in kinds else OVERSURE

    def _stand_in(
        self, mention: Mention, others: Mentions, *, missed: bool
    ) -> tuple[str, str] | None:
        """The asserted finding of ``others`` that stands for ``mention`` in the same place, and
        how it does: one that the candidate leaves out first, then the closest."""
        best: tuple[bool, int, str] | None = None
        for name in others.asserted:
            if name in (STUDY, mention.finding):
                continue
            pair = (mention.finding, name) if missed else (name, mention.finding)
            kind = relation(*pair, self.prices.equal)
            if kind is not None and same_place(mention, others[name]):
                shared = not missed and self.says(name)
                rank = (shared, _STAND_IN_ORDER.index(kind), name)
                best = rank if best is None else min(best, rank)
        return None if best is None else (best[2], _STAND_IN_ORDER[best[1]])

    def _named_for(self, reference: Mention, candidate: Mention, kind: str) -> Iterator[Evidence]:
        """The cost of naming a related finding: a leap is R4; a general word leaves the specific
        finding unsaid (R2); a harmless name for something graver is R6."""
        detail = f"{candidate.finding} said for {reference.finding}"
        weights = (
            self.prices.weight(reference.finding, reference.degree),
            self.prices.weight(candidate.finding, candidate.degree),
        )
        share = _STAND_IN_SHARE[kind]
        if _kind(reference.finding) == "device":
            category, cost = "device_error", max(LEAP, share) * max(weights)
        elif kind == "vague" and max(weights) >= URGENT:
            category, cost = "false_negative", UNSAID * max(weights)
        elif kind == "leap" and weights[1] <= HARMLESS < weights[0]:
            category, cost = "wrong_severity", VAGUE * weights[0]
        elif kind == "leap":
            category, cost = "artifact_overinterpretation", share * max(weights)
            cost *= certainty(candidate)
        elif kind == "near" and (reference.finding, candidate.finding) in lexicon().relations:
            is_leap = lexicon().relations[reference.finding, candidate.finding] == "leap"
            category = "artifact_overinterpretation" if is_leap else "false_negative"
            cost = share * max(weights)
        else:
            # A general word for what is harmless makes it graver.
            category, cost = "false_negative", share * (weights[0] or max(weights))
        if cost:
            spans = candidate.span, reference.span
            yield self.error(category, cost, candidate.finding, detail, *spans)

    def _unmatched(self, mention: Mention) -> Iterator[Evidence]:
        """A finding that the candidate asserts and the reference does not."""
        name = mention.finding
        known = self.expected.get(name)
        if known is not None and known.denied and not known.partly:
            yield from self._invented(mention)
            return
        stand_in = self._stand_in(mention, self.expected, missed=False)
        if stand_in is None and not mention.certain and (sign := self._sign_of(mention)):
            cost = SLIGHT * self.cost(mention) if mention.probable else 0.0
            detail, spans = f"{name} said for {sign}", (mention.span, self.expected[sign].span)
            yield self.error("artifact_overinterpretation", cost, name, detail, *spans)
            return
        if stand_in is None:
            yield from self._leap_or_invented(mention)
            return
        other, kind = stand_in
        reference = self.expected[other]
        if not self.says(other):
            if kind == "leap" and self._read_otherwise(other, name):
                yield from self._invented(mention)
                return
            self._stood_for.add(other)
            yield from self._named_for(reference, mention, kind)
            yield from (
                item
                for item in place_errors(reference, mention, self.prices)
                if item.severity >= LEAP * self.prices.weight(other, reference.degree)
            )
            yield from doubt_errors(reference, mention, self.prices)
        elif self._mimicked(name) or self._is_another(mention, reference):
            yield from self._invented(mention)
        elif kind == "leap" and not mention.is_doubtful:
            # On top of the sign itself: "opacity", and then "pneumonia", where there is opacity.
            if self._read_otherwise(other, name):
                yield from self._invented(mention)
            else:
                cost = (LEAP if mention.certain else SLIGHT) * self.cost(mention)
                detail = f"{name} said for {other}"
                category = "artifact_overinterpretation"
                yield self.error(category, cost, name, detail, mention.span, reference.span)

    def _is_another(self, mention: Mention, reference: Mention) -> bool:
        """Whether the candidate says a finding beside its related one, with a size that neither
        report gives that: a 9 mm nodule beside a granuloma is no other word for the granuloma."""
        known = reference.sizes_mm | self.said[reference.finding].sizes_mm
        return bool(mention.sizes_mm) and mention.sizes_mm.isdisjoint(known)

    def _read_otherwise(self, sign: str, reading: str) -> bool:
        """Whether the reference reads a sign as another disease, or denies this reading."""
        known = self.expected.get(reading)
        if known is not None and known.denied:
            return True
        readings = lexicon().readings
        return any(
            (sign, other) in readings
            and not self.says(other)
            and not self.expected[other].is_doubtful
            for other in self.expected.asserted
            if other not in (sign, reading)
            and (relation(other, reading, self.prices.equal) is None)
        )

    def _leap_or_invented(self, mention: Mention) -> Iterator[Evidence]:
        """R4 where a sign of the reference in the same place was left for a disease; else R1."""
        name = mention.finding
        signs = (sign for sign, disease in lexicon().leaps if disease == name)
        fitting = [
            sign
            for sign in signs
            if self.expects(sign)
            and not self.says(sign)
            and same_place(self.expected[sign], mention)
            and not self._read_otherwise(sign, name)
        ]
        if fitting:
            sign = min(fitting)
            cost, detail = LEAP * self.cost(mention), f"{name} said for {sign}"
            spans = mention.span, self.expected[sign].span
            yield self.error("artifact_overinterpretation", cost, name, detail, *spans)
        elif not self._is_explained(mention):
            yield from self._invented(mention)

    def _is_explained(self, sign: Mention) -> bool:
        """Whether both reports name a diagnosis that explains this sign, in the same place."""
        return any(
            explains(name, sign.finding)
            and self.says(name)
            and same_place(self.expected[name], sign)
            for name in self.expected.asserted
        )

    def _sign_of(self, reading: Mention) -> str | None:
        """What both reports name and this disease may stand behind, in the same place."""
        both = (name for name in self.expected.asserted if self.says(name))
        fitting = (
            name
            for name in both
            if is_reading(reading.finding, name) and same_place(self.expected[name], reading)
        )
        return min(fitting, default=None)

    def _unsaid_share(self, sign: Mention) -> float:
        """How much of a sign is missed where both reports name a diagnosis that explains it: all
        without one, a half where the candidate only calls that possible."""
        said = [
            self.said[name]
            for name in self.said.asserted
            if self.expects(name)
            and explains(name, sign.finding)
            and same_place(self.said[name], sign)
        ]
        if not said:
            return 1.0
        return UNSAID if all(diagnosis.is_doubtful for diagnosis in said) else 0.0

    def _mimicked(self, finding: str) -> list[str]:
        """The artefacts of the reference that look like ``finding``."""
        mimics = lexicon().mimics
        return [name for name in self.expected.asserted if finding in mimics.get(name, ())]

    def _invented(self, mention: Mention) -> Iterator[Evidence]:
        """A finding that the candidate alone asserts, and nothing in the reference stands for."""
        name = mention.finding
        cost = self.cost(mention)
        artefacts = self._mimicked(name)
        denial = self.expected.get(name)
        where = denial.span if denial is not None else None
        if artefacts:
            category = "artifact_overinterpretation"
            detail = f"{artefacts[0]} of the reference read as something else"
            where = self.expected[artefacts[0]].span
        elif _kind(name) == "device":
            category, detail = "device_error", "device not in the reference"
        else:
            category = "false_positive"
            detail = "denied in the reference" if denial else "not in the reference"
            if denial is not None and denial.partly and _MODEST.issuperset(mention.degree):
                cost, detail = PARTLY * cost, "denied in part in the reference"
        yield self.error(category, cost, name, detail, mention.span, where)
        if mention.change:
            detail = "comparison for a finding that is not there"
            weight = TRACE if self.prices.weight(name) > 0 else 0.0
            yield self.error("temporal_error", weight, name, detail, mention.span, where)

    def _invented_past(self, mention: Mention) -> Iterator[Evidence]:
        """A finding said to have resolved, of which the reference knows no past."""
        name = mention.finding
        known = self.expected.get(name)
        if "improved" not in mention.change:
            return
        if known is not None and (known.present or known.change):
            return
        cost = SLIGHT * self.prices.weight(name)
        detail = "resolved, with no past in the reference"
        yield self.error("temporal_error", cost, name, detail, mention.span)

    def _missed(self, mention: Mention) -> Iterator[Evidence]:
        """A finding of the reference that the candidate does not assert."""
        name = mention.finding
        if _kind(name) == "artefact":
            return
        said = self.said.get(name)
        denied = said is not None and said.denied
        stand_in = None if denied else self._stand_in(mention, self.said, missed=True)
        cost = self.cost(mention, missed=True)
        if stand_in is not None:
            other, kind = stand_in
            share = self._unsaid_share(mention)
            if not self.expects(other):
                # The candidate's own extra finding: its cost is counted where it stands for this
                # one; where it stands for another, it says this one in part.
                share = 0.0 if name in self._stood_for else UNSAID
            elif kind == "vague":
                # The reference has the sign and a reading of it, the candidate the sign alone.
                share = UNSAID if mention.certain else SLIGHT if mention.probable else 0.0
            elif share == 1.0:  # a disease that the tables of signs do not name
                share = UNSAID if self.said[other].is_doubtful else 0.0
            spans = self.said[other].span, mention.span
            yield self.error(
                "false_negative", share * cost, name, f"only {other} mentioned", *spans
            )
            return
        if not denied and (share := self._unsaid_share(mention)) < 1:
            detail = "not mentioned but for a possible reading"
            yield self.error("false_negative", share * cost, name, detail, None, mention.span)
            return
        if not denied and not mention.certain and (sign := self._sign_of(mention)):
            share = SLIGHT if mention.probable else 0.0
            spans = self.said[sign].span, mention.span
            yield self.error("false_negative", share * cost, name, f"only {sign} mentioned", *spans)
            return
        self._left_out.add(name)
        category = "device_error" if _kind(name) == "device" else "false_negative"
        where = said.span if said is not None else None
        detail = "denied" if said else "not mentioned"
        if name in self.prices.named and self.prices.weight(name) < self.prices.named_weight:
            detail += f"; {self.prices.named_why}"
        yield self.error(category, cost, name, detail, where, mention.span)

    def _study_comparison(self) -> Iterator[Evidence]:
        """A comparison of the whole study that the reference does not make, or makes otherwise."""
        said = self.studies[1]
        if not said:
            return
        changes = frozenset(c for mention in self.expected.values() for c in mention.change)
        if not said & changes:
            detail = "another change of the study than in the reference"
            cost = 2 * TRACE
            if not changes:
                detail = "comparison with a prior study that the reference does not make"
                cost = TRACE
            yield Evidence("temporal_error", cost, None, detail, self.said[STUDY].span)

    def correct_weight(self, evidence: Sequence[Evidence]) -> float:
        """C: the weights of the reference's findings, each ``w * w / (w + a)`` with the weights
        ``a`` of its own errors (as CRIMSON counts them), nothing where ``errors`` called it missed.
        """
        own: dict[tuple[int, int], float] = {}
        for item in evidence:
            if item.reference_span is None or item.category == "false_positive":
                continue
            own[item.reference_span] = own.get(item.reference_span, 0.0) + item.severity
        total = 0.0
        for name in self.expected.asserted:
            if name == STUDY or name in self._left_out or _kind(name) == "artefact":
                continue
            mention = self.expected[name]
            weight = self.cost(mention)
            if weight > 0:
                total += weight * weight / (weight + own.get(mention.span, 0.0))
        return total


def _study_change(mentions: Mentions) -> frozenset[str]:
    return mentions[STUDY].change if STUDY in mentions else frozenset()


def _conflict(statement: Statement, other: Statement, detail: str, prices: Prices) -> Evidence:
    cost = CONTRADICTION * prices.weight(statement.finding)
    category, name = "contradictory_diagnosis", statement.finding
    return Evidence(category, cost, name, detail, statement.span, None, other.span)


def _of_the_text(facts: ReportFacts, reference: ReportFacts, prices: Prices) -> Iterator[Evidence]:
    """R3 and R9: what is wrong with the candidate whatever the reference says of the patient."""
    for statement, denial in contradictions(facts):
        yield _conflict(statement, denial, "asserted and denied in one report", prices)
    for statement, before in side_conflicts(facts):
        yield _conflict(statement, before, "findings and impression name different sides", prices)
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
    mentions = mentions_of(reference)
    return _Comparison(mentions, mentions, PLAIN).correct_weight(())


def priced_score(evidence: Sequence[Evidence], correct_weight: float) -> SeverityScore:
    """The score of these errors, beside this much that is right."""
    sums = dict.fromkeys(CATEGORIES, 0.0)
    for item in evidence:
        sums[item.category] += item.severity
    return SeverityScore(cap_severities(sums), tuple(evidence), sums, correct_weight)


def compare(
    reference: ReportFacts, candidate: ReportFacts, prices: Prices = PLAIN
) -> SeverityScore:
    """Nine severities of ``candidate`` against ``reference``, with the evidence that costs.

    An error that costs nothing because of the context stays in the evidence, with the reason.
    """
    comparison = _Comparison(mentions_of(reference), mentions_of(candidate), prices)
    evidence = [*comparison.errors(), *_of_the_text(candidate, reference, prices)]
    kept = [e for e in evidence if e.severity > 0 or (e.finding or "") in prices.why]
    return priced_score(kept, comparison.correct_weight(kept))
