"""Severities of a candidate report against a reference report; unknown is not zero."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache

from negalign_train.severity.pricing.compare import compare
from negalign_train.severity.pricing.prices import prices_for
from negalign_train.severity.reading.context import NO_CONTEXT, CaseContext
from negalign_train.severity.reading.facts import ReportFacts, extract_facts
from negalign_train.vocabulary.records import SeverityScore

MAX_CHARACTERS = 200_000
"""A longer text is no report."""
_CACHED_PAIRS = 1 << 13
_LONGEST_CACHED = 8000
MIN_KNOWN_WORDS = 0.4
"""A text without a statement, of which the lexicon knows a smaller share, is not English."""

UNSCORABLE: Mapping[str, str] = {
    "empty_reference": "the reference is empty",
    "empty_candidate": "the candidate is empty",
    "too_long": f"a text is longer than {MAX_CHARACTERS} characters",
    "other_language": "a text is not written in English",
    "other_examination": "a text is the report of another examination than one of the chest",
    "no_statement_in_reference": "the reference says nothing on any finding",
    "unreadable_candidate": "the candidate says nothing on any finding and is not English",
}
"""Reason codes of a pair that cannot be scored, and what they mean."""


def _is_unreadable(facts: ReportFacts) -> bool:
    """No statement, no placeholder that would explain it, and mostly words nobody knows."""
    if facts.statements or any(slip.kind == "placeholder" for slip in facts.slips):
        return False
    return facts.num_known < MIN_KNOWN_WORDS * facts.num_words or not facts.num_words


def explain_unscorable(reference: str, candidate: str) -> str | None:
    """The reason code (a key of ``UNSCORABLE``) why a pair cannot be scored; None if it can.

    A candidate in which nothing is recognised, but which is English or placeholders, *is* scored:
    all findings of the reference are missed, and the text itself counts as one error (R9 = 1).
    """
    if not reference.strip():
        return "empty_reference"
    if not candidate.strip():
        return "empty_candidate"
    if max(len(reference), len(candidate)) > MAX_CHARACTERS:
        return "too_long"
    said, written = extract_facts(reference), extract_facts(candidate)
    if (reason := said.unreadable or written.unreadable) is not None:
        return reason
    if not said.statements:
        return "no_statement_in_reference"
    if _is_unreadable(written):
        return "unreadable_candidate"
    return None


def _score(reference: str, candidate: str, context: CaseContext) -> SeverityScore | None:
    if explain_unscorable(reference, candidate) is not None:
        return None
    prices = prices_for(context)
    return compare(extract_facts(reference), extract_facts(candidate), prices)


_score_cached = lru_cache(maxsize=_CACHED_PAIRS)(_score)


def score_report(
    reference: str, candidate: str, context: CaseContext = NO_CONTEXT
) -> SeverityScore | None:
    """Nine severities with evidence, at this patient's prices; None where there is no score.

    Ask ``explain_unscorable`` for the reason. Time is linear in the length of both texts. Pairs of
    usual length are cached: equal pairs share one record, which nobody may change.
    """
    if len(reference) + len(candidate) > _LONGEST_CACHED:
        return _score(reference, candidate, context)
    return _score_cached(reference, candidate, context)


def score_many(pairs: Iterable[tuple[str, str]]) -> list[SeverityScore | None]:
    """``score_report`` for each (reference, candidate), in order."""
    return [score_report(reference, candidate) for reference, candidate in pairs]
