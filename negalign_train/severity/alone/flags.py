"""What is seen in a report without a right one beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from negalign_train.severity.pricing.compare import compare
from negalign_train.severity.reading.facts import ReportFacts, extract_facts

Span = tuple[int, int]

FLAG_KINDS: Mapping[str, str] = {
    "self_contradiction": "two statements of the report exclude each other",
    "integrity": "repetition, broken-off or empty parts, placeholders, misspelt or doubled words",
    "chatter": "words about the task instead of the study",
    "unread": "a sentence of mostly unknown words, in which nothing was recognised",
    "impossible": "a size, side, number or place of a tip that no patient has",
    "prompt_contradicted": "the report denies or changes what its prompt says",
    "prompt_unanswered": "the prompt lists a finding that the report does not mention",
}
"""Every kind of flag, and what it means."""


@dataclass(frozen=True)
class Flag:
    """One thing that is wrong or doubtful.

    ``severity`` is its weight where the report alone shows it (R3, R9), None where it depends on
    what the study shows. Spans are characters [start, end): ``span`` of the report,
    ``conflict_span`` of the report's other statement, ``prompt_span`` of the prompt.
    """

    kind: str
    category: str
    severity: float | None
    finding: str | None
    detail: str
    span: Span | None = None
    conflict_span: Span | None = None
    prompt_span: Span | None = None


def flags_of_text(facts: ReportFacts) -> list[Flag]:
    """The scorer's R3 and R9, which look at the candidate alone."""
    kinds = {"contradictory_diagnosis": "self_contradiction", "report_integrity": "integrity"}
    # Against an empty report every finding is invented; R3 and R9 stay what they are.
    evidence = compare(extract_facts(""), facts).evidence
    return [
        Flag(
            kinds[item.category],
            item.category,
            item.severity,
            item.finding,
            item.detail,
            item.span,
            item.conflict_span,
        )
        for item in evidence
        if item.category in kinds
    ]
