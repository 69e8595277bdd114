"""What a cycle came to, ``cycle.json``: the object that ``negalign cycle --json`` prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from negalign_train.cycle.closing.retention import retention_summary
from negalign_train.cycle.opening.plan import SUMMARY, Context
from negalign_train.cycle.steps.calibration import scorer_record
from negalign_train.cycle.steps.evaluate import Evaluation, Evaluations
from negalign_train.cycle.steps.gate import bootstrap_settings
from negalign_train.evaluation.bootstrap import Comparison, paired_bootstrap
from negalign_train.evaluation.gate import GateRecord
from negalign_train.evaluation.records import change_rank, choose
from negalign_train.severity.pricing.calibration import Calibration
from negalign_train.storage.workspace import read_json
from negalign_train.vocabulary.records import CATEGORIES, ScoredReport


def headline(records: Sequence[GateRecord]) -> GateRecord:
    """The record the summary speaks of: the promoted one, else the one whose mean S fell most."""
    return choose(records) or min(records, key=change_rank)


def _as_read(evaluation: Evaluation) -> list[ScoredReport]:
    """The same reports with the simulated readers' scores in place of the scorer's."""
    assert evaluation.reader_scores is not None
    return [
        replace(report, score=score)
        for report, score in zip(evaluation.reports, evaluation.reader_scores, strict=True)
    ]


def _change(found: Comparison) -> dict[str, float | int]:
    """Mean S of both sides on the cases scored for both, and the interval of the change."""
    return {
        "num_cases": found.num_cases,
        "mean_S_before": found.parent.mean_S,
        "mean_S_after": found.candidate.mean_S,
        "ci_low": found.total.low,
        "ci_high": found.total.high,
    }


def _reader_check(
    context: Context, parent: Evaluation, candidate: Evaluation
) -> dict[str, float | int] | None:
    """Mean S by the simulation's ground truth, with its interval; None for a real log."""
    if parent.reader_scores is None:
        return None
    found = paired_bootstrap(_as_read(parent), _as_read(candidate), bootstrap_settings(context))
    assert found is not None  # the ground truth scores every report
    return _change(found)


def _overall(record: GateRecord) -> dict[str, float | int] | None:
    """The same against the model that the first cycle started from."""
    found = record.evidence.overall
    if found is None:
        return None
    return {
        "num_cases": found.num_cases,
        "mean_S_start": found.parent.mean_S,
        "mean_S_now": found.candidate.mean_S,
        "ci_low": found.total.low,
        "ci_high": found.total.high,
    }


def _calibrated_check(
    context: Context, calibration: Calibration, parent: Evaluation, candidate: Evaluation
) -> dict[str, float | int] | None:
    """Mean S at the readers' scale, with its interval; None where no category is re-scaled.

    The gate itself decides on the scorer's own scale, which no cycle moves.
    """
    if not calibration.adopted:
        return None
    before = [_at_scale(report, calibration) for report in parent.reports]
    after = [_at_scale(report, calibration) for report in candidate.reports]
    found = paired_bootstrap(before, after, bootstrap_settings(context))
    return None if found is None else _change(found)


def _at_scale(report: ScoredReport, calibration: Calibration) -> ScoredReport:
    return (
        report if report.score is None else replace(report, score=calibration.apply(report.score))
    )


def _candidate(record: GateRecord) -> dict[str, Any]:
    evidence = record.evidence
    found = evidence.comparison
    return {
        "name": evidence.candidate,
        "adapter": evidence.candidate_adapter,
        "outcome": record.outcome,
        "reasons": list(record.reasons),
        "num_cases": 0 if found is None else found.num_cases,
        "mean_S": None if found is None else found.candidate.mean_S,
        "ci_low": None if found is None else found.total.low,
        "ci_high": None if found is None else found.total.high,
        "severe_rate": None if found is None else found.candidate.severe_rate,
        "per_category": None if found is None else dict(found.candidate.per_category),
        "template_share": evidence.metrics.template_share,
        "length_ratio": evidence.metrics.length_ratio,
        "distinct_ratio": evidence.metrics.distinct_ratio,
        "kl_to_parent": None if evidence.divergence is None else evidence.divergence.kl_to_parent,
        "kl_to_base": None if evidence.divergence is None else evidence.divergence.kl_to_base,
        "not_applied": {
            each.name: each.detail for each in record.criteria if each.state == "not applied"
        },
    }


def _earlier_retention(context: Context) -> dict[str, Any] | None:
    if context.plan.cycle == 1:
        return None
    earlier = read_json(context.workspace.cycle_dir(context.plan.cycle - 1) / SUMMARY)
    retention: dict[str, Any] = earlier["retention"]
    return retention


def summarise_cycle(
    context: Context,
    records: Sequence[GateRecord],
    evaluations: Evaluations,
    calibration: Calibration,
    data: Mapping[str, Any],
    seconds: Mapping[str, float],
) -> dict[str, Any]:
    """The cycle's summary. ``ci_low`` and ``ci_high`` bound S(candidate) - S(parent) of the
    candidate the summary speaks of, each with an error rate of ``level``; ``*_after`` is the new
    champion's, so it equals ``*_before`` where nothing was promoted, and ``*_candidate`` the
    candidate's own. Means are over the ``num_cases`` held-out cases scored for both.
    """
    best = headline(records)
    promoted = best.outcome == "promoted"
    found = best.evidence.comparison
    parent, candidate = (None, None) if found is None else (found.parent, found.candidate)
    champion = candidate if promoted else parent
    texts = best.evidence.metrics if promoted else best.evidence.parent
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
        "level": best.level,
        "num_cases": 0 if found is None else found.num_cases,
        "num_held_out": best.evidence.metrics.num_cases,
        "mean_S_before": None if parent is None else parent.mean_S,
        "mean_S_candidate": None if candidate is None else candidate.mean_S,
        "mean_S_after": None if champion is None else champion.mean_S,
        "ci_low": None if found is None else found.total.low,
        "ci_high": None if found is None else found.total.high,
        "severe_rate_before": None if parent is None else parent.severe_rate,
        "severe_rate_candidate": None if candidate is None else candidate.severe_rate,
        "severe_rate_after": None if champion is None else champion.severe_rate,
        "per_category": {
            category: {
                "before": None if parent is None else parent.per_category[category],
                "candidate": None if candidate is None else candidate.per_category[category],
                "after": None if champion is None else champion.per_category[category],
            }
            for category in CATEGORIES
        },
        "length_ratio": texts.length_ratio,
        "distinct_ratio": texts.distinct_ratio,
        "template_share_before": best.evidence.parent.template_share,
        "template_share": texts.template_share,
        "since_first_cycle": _overall(best),
        "retention": retention_summary(
            context.plan.cycle,
            evaluations.parent.retention,
            (own if promoted else evaluations.parent).retention,
            _earlier_retention(context),
        ),
        "readers_check": _reader_check(context, evaluations.parent, own),
        "scorer": scorer_record(calibration),
        "calibrated_check": _calibrated_check(context, calibration, evaluations.parent, own),
        "candidates": [_candidate(record) for record in records],
        "data": dict(data),
        "seconds": round(sum(seconds.values()), 1),
        "seconds_by_step": {step: round(value, 1) for step, value in seconds.items()},
    }
