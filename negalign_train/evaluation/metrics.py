"""What a set of held-out reports looks like in numbers. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from negalign_train.vocabulary.errors import GateError
from negalign_train.vocabulary.records import CATEGORIES, ScoredReport, SeverityScore
from negalign_train.vocabulary.special_tokens import holds_special_token

_PLACEHOLDER = re.compile(r"x{3,}|_{3,}|<unk>|\[(?:redacted|removed|deidentified)\]", re.IGNORECASE)
"""OpenI's XXXX, MIMIC's ___, and what tokenizers and de-identification tools leave behind."""


@dataclass(frozen=True)
class ReportMetrics:
    """Metrics of one model on the held-out cases.

    ``mean_S``, ``per_category`` and ``severe_rate`` are over scored reports, None where there is
    none; ``mean_Q`` is over those whose judge also knows what is right. ``length_ratio``
    is mean words over the references' mean words; ``template_share`` the
    share of the most frequent report; ``distinct_ratio`` distinct reports over distinct references.
    """

    num_cases: int
    num_scored: int
    mean_S: float | None
    mean_Q: float | None
    per_category: Mapping[str, float] | None
    severe_rate: float | None
    length_ratio: float
    template_share: float
    distinct_ratio: float
    placeholder_rate: float
    unscored_rate: float


@dataclass(frozen=True)
class Divergence:
    """Mean nats per token over the candidate's own completions, and how many tokens there were."""

    kl_to_parent: float
    kl_to_base: float
    num_tokens: int


def is_severe(score: SeverityScore, threshold: float) -> bool:
    """Whether any of the nine severities reaches ``threshold``."""
    return max(score.severities.values()) >= threshold


def is_placeholder(report: ScoredReport) -> bool:
    """Whether the report is empty, was cut off, or holds a placeholder such as XXXX or
    a control token such as <|im_start|>."""
    text = report.completion
    marked = _PLACEHOLDER.search(text) is not None or holds_special_token(text)
    return not text.strip() or report.truncated or marked


def summarise(
    reports: Sequence[ScoredReport], references: Mapping[str, str], severe_threshold: float
) -> ReportMetrics:
    """Metrics of ``reports`` against the references of the same cases (case id to text).

    Raises:
        GateError: there is no report, a case comes twice, or a case has no reference.
    """
    _check_cases(reports, references)
    scores = [report.score for report in reports if report.score is not None]
    texts = Counter(" ".join(report.completion.split()) for report in reports)
    reference_texts = [references[report.case_id] for report in reports]
    words = sum(len(report.completion.split()) for report in reports)
    reference_words = sum(len(text.split()) for text in reference_texts)
    return ReportMetrics(
        num_cases=len(reports),
        num_scored=len(scores),
        mean_S=_mean([score.total for score in scores]),
        mean_Q=_mean([q for score in scores if (q := score.quality) is not None]),
        per_category=_category_means(scores),
        severe_rate=_mean([float(is_severe(score, severe_threshold)) for score in scores]),
        length_ratio=words / reference_words,
        template_share=max(texts.values()) / len(reports),
        distinct_ratio=len(texts) / len({" ".join(text.split()) for text in reference_texts}),
        placeholder_rate=sum(map(is_placeholder, reports)) / len(reports),
        unscored_rate=1 - len(scores) / len(reports),
    )


def _check_cases(reports: Sequence[ScoredReport], references: Mapping[str, str]) -> None:
    if not reports:
        raise GateError("there are no held-out reports to summarise; generate them first")
    case_id, count = Counter(report.case_id for report in reports).most_common(1)[0]
    if count > 1:
        raise GateError(f"case {case_id} has {count} held-out reports; give one report per case")
    for report in reports:
        if not references.get(report.case_id, "").split():
            raise GateError(
                f"case {report.case_id} has no reference report; hold out cases that have one"
            )


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _category_means(scores: Sequence[SeverityScore]) -> dict[str, float] | None:
    if not scores:
        return None
    return {
        name: sum(score.severities[name] for score in scores) / len(scores) for name in CATEGORIES
    }
