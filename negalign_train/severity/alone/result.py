"""A report judged alone as the JSON object that ``negalign score`` prints."""

from __future__ import annotations

from typing import Any

from negalign_train.severity.alone.flags import Flag
from negalign_train.severity.alone.score import (
    alone_version,
    asked_text,
    explain_unscorable_alone,
    score_alone,
)
from negalign_train.severity.judges.result import QuotedReport
from negalign_train.severity.reading.context import NO_CONTEXT, CaseContext
from negalign_train.vocabulary.records import Prompt
from negalign_train.vocabulary.taxonomy import taxonomy

ALONE_SCHEMA = "negalign.score-alone/1"


def alone_object(
    candidate: str, prompt: Prompt | None = None, context: CaseContext = NO_CONTEXT
) -> dict[str, Any]:
    """The result of one report. Of the severities only R3 and R9 are numbers; S and Q, which need
    all nine and the right report, are null.
    """
    score = score_alone(candidate, prompt, context)
    ids = {category.name: category.id for category in taxonomy()}
    report, asked = QuotedReport(candidate), QuotedReport(asked_text(prompt))
    return {
        "schema": ALONE_SCHEMA,
        "without_reference": True,
        "scorable": score is not None,
        "reason": explain_unscorable_alone(candidate),
        "S": None,
        "Q": None,
        "severities": None
        if score is None
        else {
            ids[name]: None if value is None else round(value, 6)
            for name, value in score.severities.items()
        },
        "flags": [] if score is None else [_flag(each, ids, report, asked) for each in score.flags],
        "judge": {"name": "rules", "version": alone_version()},
    }


def _flag(
    flag: Flag, ids: dict[str, str], report: QuotedReport, asked: QuotedReport
) -> dict[str, Any]:
    return {
        "kind": flag.kind,
        "id": ids[flag.category],
        "category": flag.category,
        "severity": None if flag.severity is None else round(flag.severity, 6),
        "finding": flag.finding,
        "detail": flag.detail,
        "span": flag.span,
        "text": report.words(flag.span),
        "sentence": report.sentence(flag.span),
        "conflict_span": flag.conflict_span,
        "conflict_sentence": report.sentence(flag.conflict_span),
        "prompt_span": flag.prompt_span,
        "prompt_text": asked.words(flag.prompt_span),
    }
