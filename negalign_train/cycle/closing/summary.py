"""The cycle's result, from what its steps hand on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from negalign_train.cycle.closing.retention import retention_matrix
from negalign_train.cycle.opening.generators import other_generators
from negalign_train.cycle.opening.plan import SUMMARY, Context
from negalign_train.cycle.steps.calibration import scorer_used
from negalign_train.cycle.steps.evaluate import (
    Evaluation,
    Evaluations,
    HeldOutCases,
    with_scores,
)
from negalign_train.cycle.steps.feedback import Snapshot, draft_counts
from negalign_train.cycle.steps.gate import bootstrap_settings
from negalign_train.cycle.steps.train import TrainedCandidate
from negalign_train.evaluation.bootstrap import Comparison, paired_bootstrap
from negalign_train.evaluation.gate_records import change_rank, choose
from negalign_train.evaluation.gate_terms import GateRecord
from negalign_train.report.result import (
    CandidateResult,
    CategoryChange,
    Check,
    CycleData,
    CycleResult,
    OtherGenerators,
    RetentionMatrix,
    SinceFirstCycle,
    read_result,
)
from negalign_train.severity.pricing.calibration import Calibration
from negalign_train.storage.record_json import record_from_json, record_to_json
from negalign_train.vocabulary.records import CATEGORIES, ScoredReport


@dataclass(frozen=True)
class StepResults:
    """What the steps of a cycle hand on to its result; ``seconds`` is wall-clock time by step."""

    calibration: Calibration
    data: CycleData
    trained: Mapping[str, TrainedCandidate]
    evaluations: Evaluations
    records: Sequence[GateRecord]
    seconds: Mapping[str, float]


def cycle_data(
    context: Context, snapshot: Snapshot, counts: Mapping[str, object], cases: HeldOutCases
) -> CycleData:
    """What the cycle learnt from; ``counts`` are those of ``preferences.json``."""
    others = OtherGenerators(
        setting=context.recipe.feedback.other_generators,
        base=context.plan.base_name,
        events=other_generators(context, (event for _, event in snapshot)),
    )
    own = {
        "other_generators": record_to_json(others),
        "held_out_without_reference": cases.without_reference,
        "last_sequence": max(sequence for sequence, _ in snapshot),
    }
    return record_from_json(CycleData, {**counts, **draft_counts(context), **own}, "data")


def leading_record(records: Sequence[GateRecord]) -> GateRecord:
    """The record the result speaks of: the promoted one, else the one whose mean S fell most."""
    return choose(records) or min(records, key=change_rank)


def _as_read(evaluation: Evaluation) -> list[ScoredReport]:
    """The same reports with the simulated readers' scores in place of the scorer's."""
    assert evaluation.reader_scores is not None
    return list(with_scores(evaluation.reports, evaluation.reader_scores))


def _check(comparison: Comparison) -> Check:
    """Mean S of both sides on the cases scored for both, and the interval of the change."""
    return Check(
        num_cases=comparison.num_cases,
        mean_S_before=comparison.parent.mean_S,
        mean_S_after=comparison.candidate.mean_S,
        ci_low=comparison.total.low,
        ci_high=comparison.total.high,
    )


def _readers_check(context: Context, parent: Evaluation, candidate: Evaluation) -> Check | None:
    """Mean S by the simulation's ground truth; None for a real log."""
    if parent.reader_scores is None:
        return None
    before, after = _as_read(parent), _as_read(candidate)
    comparison = paired_bootstrap(before, after, bootstrap_settings(context))
    assert comparison is not None  # the ground truth scores every report
    return _check(comparison)


def _calibrated_check(
    context: Context, calibration: Calibration, parent: Evaluation, candidate: Evaluation
) -> Check | None:
    """Mean S at the readers' scale; None where no category is re-scaled.

    The gate itself decides on the scorer's own scale, which no cycle moves.
    """
    if not calibration.adopted:
        return None
    before = [_at_scale(report, calibration) for report in parent.reports]
    after = [_at_scale(report, calibration) for report in candidate.reports]
    comparison = paired_bootstrap(before, after, bootstrap_settings(context))
    return None if comparison is None else _check(comparison)


def _since_first_cycle(record: GateRecord) -> SinceFirstCycle | None:
    overall = record.evidence.overall
    if overall is None:
        return None
    return SinceFirstCycle(
        num_cases=overall.num_cases,
        mean_S_start=overall.parent.mean_S,
        mean_S_now=overall.candidate.mean_S,
        ci_low=overall.total.low,
        ci_high=overall.total.high,
    )


def _at_scale(report: ScoredReport, calibration: Calibration) -> ScoredReport:
    return (
        report if report.score is None else replace(report, score=calibration.apply(report.score))
    )


def _candidate(record: GateRecord, trained: TrainedCandidate) -> CandidateResult:
    evidence = record.evidence
    comparison, divergence = evidence.comparison, evidence.divergence
    assert evidence.candidate_adapter is not None  # it was published before the gate
    own = None if comparison is None else comparison.candidate
    reward = trained.made_of["reward"]
    return CandidateResult(
        name=evidence.candidate,
        adapter=evidence.candidate_adapter,
        outcome=record.outcome,
        reasons=record.reasons,
        num_cases=0 if comparison is None else comparison.num_cases,
        mean_S=None if own is None else own.mean_S,
        mean_Q=None if own is None else own.mean_Q,
        ci_low=None if comparison is None else comparison.total.low,
        ci_high=None if comparison is None else comparison.total.high,
        severe_rate=None if own is None else own.severe_rate,
        per_category=None if own is None else own.per_category,
        template_share=evidence.metrics.template_share,
        length_ratio=evidence.metrics.length_ratio,
        distinct_ratio=evidence.metrics.distinct_ratio,
        kl_to_parent=None if divergence is None else divergence.kl_to_parent,
        kl_to_base=None if divergence is None else divergence.kl_to_base,
        not_applied={
            each.name: each.detail for each in record.criteria if each.state == "not applied"
        },
        reward_judge=None if reward is None else f"{reward['judge']} {reward['version']}",
        warnings=record.warnings,
    )


def _earlier_retention(context: Context) -> RetentionMatrix | None:
    if context.plan.cycle == 1:
        return None
    folder = context.workspace.cycle_dir(context.plan.cycle - 1)
    return read_result(folder / SUMMARY).retention


def summarise_cycle(context: Context, steps: StepResults) -> CycleResult:
    """The cycle's result; its means are over the held-out cases scored for both sides."""
    best, evaluations = leading_record(steps.records), steps.evaluations
    promoted = best.outcome == "promoted"
    comparison = best.evidence.comparison
    parent = None if comparison is None else comparison.parent
    candidate = None if comparison is None else comparison.candidate
    champion = candidate if promoted else parent
    texts = best.evidence.metrics if promoted else best.evidence.parent
    own = evaluations.candidates[best.evidence.candidate]
    return CycleResult(
        cycle=context.plan.cycle,
        seed=context.plan.seed,
        decision=best.outcome,
        reasons=best.reasons,
        champion=best.evidence.candidate_adapter if promoted else context.plan.parent,
        parent=context.plan.parent,
        candidate=best.evidence.candidate,
        level=best.level,
        num_cases=0 if comparison is None else comparison.num_cases,
        num_held_out=best.evidence.metrics.num_cases,
        mean_S_before=None if parent is None else parent.mean_S,
        mean_S_candidate=None if candidate is None else candidate.mean_S,
        mean_S_after=None if champion is None else champion.mean_S,
        mean_Q_before=None if parent is None else parent.mean_Q,
        mean_Q_candidate=None if candidate is None else candidate.mean_Q,
        mean_Q_after=None if champion is None else champion.mean_Q,
        ci_low=None if comparison is None else comparison.total.low,
        ci_high=None if comparison is None else comparison.total.high,
        severe_rate_before=None if parent is None else parent.severe_rate,
        severe_rate_candidate=None if candidate is None else candidate.severe_rate,
        severe_rate_after=None if champion is None else champion.severe_rate,
        per_category={
            category: CategoryChange(
                before=None if parent is None else parent.per_category[category],
                candidate=None if candidate is None else candidate.per_category[category],
                after=None if champion is None else champion.per_category[category],
            )
            for category in CATEGORIES
        },
        length_ratio=texts.length_ratio,
        distinct_ratio=texts.distinct_ratio,
        template_share_before=best.evidence.parent.template_share,
        template_share=texts.template_share,
        since_first_cycle=_since_first_cycle(best),
        retention=retention_matrix(
            context.plan.cycle,
            evaluations.parent.retention,
            (own if promoted else evaluations.parent).retention,
            _earlier_retention(context),
        ),
        readers_check=_readers_check(context, evaluations.parent, own),
        scorer=scorer_used(steps.calibration, own.unscored),
        second_judge=best.evidence.second,
        warnings=best.warnings,
        calibrated_check=_calibrated_check(context, steps.calibration, evaluations.parent, own),
        candidates=tuple(
            _candidate(record, steps.trained[record.evidence.candidate]) for record in steps.records
        ),
        data=steps.data,
        training={name: dict(each.metrics) for name, each in steps.trained.items()},
        seconds=round(sum(steps.seconds.values()), 1),
        seconds_by_step={step: round(value, 1) for step, value in steps.seconds.items()},
    )
