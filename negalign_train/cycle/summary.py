"""What a cycle came to, ``cycle.json``: the object that ``negalign cycle --json`` prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from negalign_train.cycle.calibration_step import scorer_record
from negalign_train.cycle.gate_step import bootstrap_settings
from negalign_train.cycle.judge_step import Evaluation, Evaluations
from negalign_train.cycle.plan import Context
from negalign_train.evaluation.bootstrap import Interval, paired_bootstrap
from negalign_train.evaluation.gate import GateRecord
from negalign_train.evaluation.records import choose
from negalign_train.records import CATEGORIES, ScoredReport
from negalign_train.severity.calibration import Calibration


def headline(records: Sequence[GateRecord]) -> GateRecord:
    """The record the summary speaks of: the promoted one, else the candidate of lowest mean S."""
    best = choose(records)
    if best is not None:
        return best

    def rank(record: GateRecord) -> tuple[bool, float, str]:
        mean_S = record.evidence.metrics.mean_S
        return mean_S is None, mean_S or 0.0, record.evidence.candidate

    return min(records, key=rank)


def _as_read(evaluation: Evaluation) -> list[ScoredReport]:
    """The same reports with the simulated readers' scores in place of the scorer's."""
    assert evaluation.reader_scores is not None
    return [
        replace(report, score=score)
        for report, score in zip(evaluation.reports, evaluation.reader_scores, strict=True)
    ]


def _reader_check(
    context: Context, parent: Evaluation, candidate: Evaluation
) -> dict[str, float] | None:
    """Mean S as noise-free simulated readers see it, with its interval; None for a real log."""
    if parent.reader_scores is None:
        return None
    found = paired_bootstrap(_as_read(parent), _as_read(candidate), bootstrap_settings(context))
    assert found is not None  # readers score every report
    before = sum(score.total for score in parent.reader_scores) / len(parent.reader_scores)
    return {
        "mean_S_before": before,
        "mean_S_after": before + found.total.estimate,
        "ci_low": found.total.low,
        "ci_high": found.total.high,
    }


def _overall(record: GateRecord) -> dict[str, float] | None:
    """S of the model the first cycle started from, and the interval of the candidate's change."""
    found = record.evidence.overall
    if found is None:
        return None
    mean_S = record.evidence.metrics.mean_S
    assert mean_S is not None  # cases were scored for both
    return {
        "mean_S_start": mean_S - found.total.estimate,
        "ci_low": found.total.low,
        "ci_high": found.total.high,
    }


def _calibrated_check(
    context: Context, calibration: Calibration, parent: Evaluation, candidate: Evaluation
) -> dict[str, float] | None:
    """Mean S at the readers' scale, with its interval; None where no category is re-scaled.

    The gate itself decides on the scorer's own scale, which no cycle moves.
    """
    if not calibration.adopted:
        return None
    before = [_at_scale(report, calibration) for report in parent.reports]
    after = [_at_scale(report, calibration) for report in candidate.reports]
    found = paired_bootstrap(before, after, bootstrap_settings(context))
    if found is None:
        return None
    # Means over the cases that both reports of could be scored, as the interval's.
    other = {report.case_id: report.score for report in after}
    common = [
        report.score.total
        for report in before
        if report.score is not None and other[report.case_id] is not None
    ]
    mean = sum(common) / len(common)
    return {
        "mean_S_before": mean,
        "mean_S_after": mean + found.total.estimate,
        "ci_low": found.total.low,
        "ci_high": found.total.high,
    }


def _at_scale(report: ScoredReport, calibration: Calibration) -> ScoredReport:
    return (
        report if report.score is None else replace(report, score=calibration.apply(report.score))
    )


def _interval(record: GateRecord) -> Interval | None:
    found = record.evidence.comparison
    return None if found is None else found.total


def _candidate(record: GateRecord) -> dict[str, Any]:
    interval = _interval(record)
    evidence = record.evidence
    return {
        "name": evidence.candidate,
        "adapter": evidence.candidate_adapter,
        "outcome": record.outcome,
        "reasons": list(record.reasons),
        "mean_S": evidence.metrics.mean_S,
        "ci_low": None if interval is None else interval.low,
        "ci_high": None if interval is None else interval.high,
        "severe_rate": evidence.metrics.severe_rate,
        "template_share": evidence.metrics.template_share,
        "length_ratio": evidence.metrics.length_ratio,
        "distinct_ratio": evidence.metrics.distinct_ratio,
        "kl_to_parent": None if evidence.divergence is None else evidence.divergence.kl_to_parent,
        "kl_to_base": None if evidence.divergence is None else evidence.divergence.kl_to_base,
    }


def summarise_cycle(
    context: Context,
    records: Sequence[GateRecord],
    evaluations: Evaluations,
    calibration: Calibration,
    data: Mapping[str, Any],
    seconds: Mapping[str, float],
) -> dict[str, Any]:
    """The cycle's summary. ``ci_low`` and ``ci_high`` bound S(candidate) - S(parent) of the
    candidate the summary speaks of; ``mean_S_after`` is the new champion's, so it equals
    ``mean_S_before`` where nothing was promoted.
    """
    best = headline(records)
    promoted = best.outcome == "promoted"
    before, after = best.evidence.parent, best.evidence.metrics
    champion = after if promoted else before
    interval = _interval(best)
    name = best.evidence.candidate
    own = evaluations.candidates[name]
    return {
        "schema": "negalign.summary/1",
        "cycle": context.plan.cycle,
        "seed": context.plan.seed,
        "decision": best.outcome,
        "reasons": list(best.reasons),
        "champion": best.evidence.candidate_adapter if promoted else context.plan.parent,
        "parent": context.plan.parent,
        "candidate": name,
        "mean_S_before": before.mean_S,
        "mean_S_after": champion.mean_S,
        "ci_low": None if interval is None else interval.low,
        "ci_high": None if interval is None else interval.high,
        "severe_rate_before": before.severe_rate,
        "severe_rate_after": champion.severe_rate,
        "per_category": {
            category: {
                "before": None if before.per_category is None else before.per_category[category],
                "after": None if champion.per_category is None else champion.per_category[category],
            }
            for category in CATEGORIES
        },
        "length_ratio": champion.length_ratio,
        "distinct_ratio": champion.distinct_ratio,
        "template_share_before": before.template_share,
        "template_share": champion.template_share,
        "num_cases": after.num_cases,
        "since_first_cycle": _overall(best),
        "readers_check": _reader_check(context, evaluations.parent, own),
        "scorer": scorer_record(calibration),
        "calibrated_check": _calibrated_check(context, calibration, evaluations.parent, own),
        "candidates": [_candidate(record) for record in records],
        "data": dict(data),
        "seconds": round(sum(seconds.values()), 1),
        "seconds_by_step": {step: round(value, 1) for step, value in seconds.items()},
    }
