"""A judgement as the JSON object that ``negalign score`` prints (``negalign.score/1``)."""

from __future__ import annotations

from bisect import bisect_right
from typing import Any

from negalign_train.severity.judges.base import Judgement, ReportPair
from negalign_train.severity.pricing.calibration import Calibration
from negalign_train.severity.pricing.score import UNSCORABLE
from negalign_train.severity.text.sentences import SentenceAt, sentences
from negalign_train.vocabulary.records import Evidence
from negalign_train.vocabulary.taxonomy import grade_of, taxonomy

SCORE_SCHEMA = "negalign.score/1"
UNSCORED_REASONS = {
    **UNSCORABLE,
    "too_long_for_model": "the two reports do not fit the judge's model",
    "no_judge_could": "none of the ensemble's judges can score it",
    "judge_unreachable": "the judge's server cannot be reached",
    "judge_timeout": "the judge's server did not answer in time",
    "judge_error": "the judge's server failed or has too much to do",
    "judge_refused": "the judge's server refused the request",
    "judge_bad_answer": "the judge's answer is not what it was asked for",
}
"""Every reason why a pair has no score, in words."""


class QuotedReport:
    """A report whose words and sentences are looked up by place."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._found: list[SentenceAt] | None = None

    def words(self, span: tuple[int, int] | None) -> str | None:
        """The characters of a span."""
        return None if span is None else self.text[span[0] : span[1]]

    def sentence(self, span: tuple[int, int] | None) -> str | None:
        """The sentence in which a span starts."""
        if span is None:
            return None
        if self._found is None:
            self._found = sentences(self.text)
        at = bisect_right(self._found, span[0], key=lambda sentence: sentence.start) - 1
        return self._found[at].text if at >= 0 else self.words(span)


def _evidence(
    item: Evidence, ids: dict[str, str], said: QuotedReport, expected: QuotedReport
) -> dict[str, Any]:
    """One error with the statements it rests on: their places, words and sentences."""
    return {
        "id": ids[item.category],
        "category": item.category,
        "severity": round(item.severity, 6),
        "finding": item.finding,
        "detail": item.detail,
        "span": item.span,
        "text": said.words(item.span),
        "sentence": said.sentence(item.span),
        "reference_span": item.reference_span,
        "reference_text": expected.words(item.reference_span),
        "reference_sentence": expected.sentence(item.reference_span),
        "conflict_span": item.conflict_span,
        "conflict_sentence": said.sentence(item.conflict_span),
    }


def result_object(
    judgement: Judgement, pair: ReportPair, calibration: Calibration | None = None
) -> dict[str, Any]:
    """The result of one pair. ``severities``, ``S`` and ``Q`` are null where there is no score;
    ``Q`` and ``grade`` also where the judge does not know what is right.

    Args:
        calibration: applied to the severities; the evidence keeps the judge's own weights.
    """
    score = judgement.score
    if score is not None and calibration is not None:
        score = calibration.apply(score)
    quality = None if score is None else score.quality
    ids = {category.name: category.id for category in taxonomy()}
    said, expected = QuotedReport(pair.candidate), QuotedReport(pair.reference)
    return {
        "schema": SCORE_SCHEMA,
        "scorable": score is not None,
        "reason": judgement.reason,
        "S": None if score is None else round(score.total, 6),
        "Q": None if quality is None else round(quality, 6),
        "grade": None if quality is None else grade_of(quality),
        "severities": None
        if score is None
        else {ids[name]: round(value, 6) for name, value in score.severities.items()},
        "evidence": []
        if score is None
        else [_evidence(item, ids, said, expected) for item in score.evidence],
        "judge": {
            "name": judgement.judge,
            "version": judgement.version,
            "calibration": None if calibration is None else calibration.digest,
        },
    }
