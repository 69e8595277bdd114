"""What the patient's age and the indication change in a score (``data/context.yaml``).

An error keeps its category and its place; only its price changes, and its evidence says why.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache, lru_cache

import yaml

from negalign_train.severity.reading.drafts import draft_statements, scan, split_clauses
from negalign_train.severity.reading.facts import extract_facts
from negalign_train.severity.reading.lexicon import lexicon
from negalign_train.severity.reading.mentions import mentions_of
from negalign_train.severity.reading.spelling import read_word
from negalign_train.severity.reading.tokens import sentences, words_and_marks
from negalign_train.vocabulary.errors import DataError
from negalign_train.vocabulary.records import CATEGORIES, Evidence, SeverityScore
from negalign_train.vocabulary.resources import data_path
from negalign_train.vocabulary.taxonomy import cap_severities, finding_types

CONTEXT_FILE = "context.yaml"
MAX_AGE_YEARS = 130.0
MAX_INDICATION = 2000
"""Characters; a longer indication is not one."""


@dataclass(frozen=True)
class CaseContext:
    """What is known of the patient: age in years, and why the study was made."""

    age: float | None = None
    indication: str | None = None


NO_CONTEXT = CaseContext()


@dataclass(frozen=True)
class _Rules:
    expected: tuple[tuple[float, tuple[str, ...], str], ...]
    named_weight: float
    named_why: str


@cache
def _rules() -> _Rules:
    path = data_path(CONTEXT_FILE)
    data = yaml.safe_load(path.read_text(encoding="utf-8"))
    ages = data["age"]
    unknown = {name for rule in ages for name in rule["findings"]} - finding_types().keys()
    if unknown:
        raise DataError(f"{path}: {sorted(unknown)} are not in findings.yaml; correct the names")
    named = data["indication"]
    return _Rules(
        tuple((float(r["min_years"]), tuple(r["findings"]), str(r["why"])) for r in ages),
        float(named["named_weight"]),
        str(named["why"]),
    )


@lru_cache(maxsize=4096)
def named_findings(indication: str) -> frozenset[str]:
    """The findings that an indication names ("rule out pneumothorax", "known nodule").

    Asked for, feared or excluded is the same here; what only follows from "normal" is not named.
    """
    return frozenset(
        finding for sentence in sentences(indication) for finding in _named_in(sentence.text)
    )


def _named_in(sentence: str) -> list[str]:
    """The findings named, negated or not: "rule out X" names X here, though not in a report."""
    tables = lexicon()
    items = scan([read_word(token.text) for token in words_and_marks(sentence)], tables.trie)
    split_clauses(items)
    return [draft.finding for draft in draft_statements(tables, items) if not draft.implied]


def _expected(age: float | None) -> dict[str, str]:
    """The findings that cost nothing at this age, each with the reason."""
    if age is None:
        return {}
    return {f: why for least, names, why in _rules().expected if age >= least for f in names}


def _priced(item: Evidence, expected: Mapping[str, str], named: frozenset[str]) -> Evidence:
    """One error at the price it has in this context."""
    rules = _rules()
    if item.finding is None:
        return item
    weight = finding_types()[item.finding].weight
    is_missed = item.reference_span is not None and (
        item.category == "false_negative" or (item.category == "device_error" and item.span is None)
    )
    if item.finding in named:
        # What costs more than its finding's weight is a malposition, at a price of its own.
        if is_missed and item.severity <= weight < rules.named_weight and weight > 0:
            severity = item.severity * rules.named_weight / weight
            return replace(item, severity=severity, detail=f"{item.detail}; {rules.named_why}")
        return item
    if item.finding in expected:
        return replace(item, severity=0.0, detail=f"{item.detail}; {expected[item.finding]}")
    return item


def _missed_benign(reference: str, candidate: str, named: frozenset[str]) -> list[Evidence]:
    """Missed findings that cost nothing by themselves, but that the indication asks about."""
    rules = _rules()
    asked = [f for f in named if finding_types()[f].weight == 0]
    if not asked:
        return []
    expected, said = mentions_of(extract_facts(reference)), mentions_of(extract_facts(candidate))
    return [
        Evidence(
            "device_error" if finding_types()[name].kind == "device" else "false_negative",
            rules.named_weight * (1.0 if expected[name].certain else 0.5),
            name,
            f"not mentioned; {rules.named_why}",
            None,
            expected[name].span,
        )
        for name in sorted(asked)
        if finding_types()[name].kind != "artefact"
        and name in expected
        and expected[name].present
        and not (name in said and said[name].present)
    ]


def in_context(
    score: SeverityScore, reference: str, candidate: str, context: CaseContext
) -> SeverityScore:
    """The score with errors at their price for this patient; the same score without a context.

    An error that costs nothing here stays in the evidence, at severity 0, with the reason.
    """
    named = frozenset[str]() if not context.indication else named_findings(context.indication)
    expected = _expected(context.age)
    if not named and not expected:
        return score
    evidence = [_priced(item, expected, named) for item in score.evidence]
    evidence += _missed_benign(reference, candidate, named)
    sums = dict.fromkeys(CATEGORIES, 0.0)
    for item in evidence:
        sums[item.category] += item.severity
    return SeverityScore(cap_severities(sums), tuple(evidence), sums, score.correct_weight)
