"""Rated reports of an expert set as examples that a judge can learn from."""

from __future__ import annotations

from collections import Counter

from negalign_train.severity.judges.examples import GradedExample
from negalign_train.severity.trust.expert.expert_set import ExpertSet, RatedReport
from negalign_train.vocabulary.records import CATEGORIES, Refusals


def graded_reports(expert_set: ExpertSet) -> tuple[list[GradedExample], Refusals]:
    """Reports whose raters all rated the nine categories in [0, 1]; several raters count by their
    mean. Left out, by reason: ``category_unrated``, ``not_a_severity`` and ``not_rated`` (rankings
    and expectations).
    """
    examples: list[GradedExample] = []
    refused: Counter[str] = Counter()
    for report in expert_set.rated:
        reason = _reason(report)
        if reason is None:
            examples.append(_example(report))
        else:
            refused[reason] += 1
    if unrated := len(expert_set) - len(expert_set.rated):
        refused["not_rated"] = unrated
    return examples, Refusals(dict(refused))


def _reason(report: RatedReport) -> str | None:
    if any(set(CATEGORIES) - rating.errors.keys() for rating in report.ratings):
        return "category_unrated"
    if any(value > 1 for rating in report.ratings for value in rating.errors.values()):
        return "not_a_severity"
    return None


def _example(report: RatedReport) -> GradedExample:
    count = len(report.ratings)
    severities = {
        name: sum(rating.errors[name] for rating in report.ratings) / count for name in CATEGORIES
    }
    return GradedExample(
        f"set:{report.id}",
        report.case,
        report.case,
        report.pair.reference,
        report.pair.candidate,
        severities,
        report.pair.context,
    )
