"""Step 5: one gate record per candidate; the best that passed becomes champion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from negalign_train.cycle.opening.plan import GATE, GATE_FILE, Context
from negalign_train.cycle.steps.evaluate import (
    Evaluation,
    Evaluations,
    HeldOutCases,
    with_scores,
)
from negalign_train.cycle.steps.judging import first_judge, second_judge
from negalign_train.cycle.steps.train import TrainedCandidate
from negalign_train.evaluation.bootstrap import (
    BootstrapSettings,
    Comparison,
    paired_bootstrap,
    placeholder_rate,
)
from negalign_train.evaluation.gate import criteria_digest, criterion_level, decide
from negalign_train.evaluation.gate_records import keep_the_best, seal
from negalign_train.evaluation.gate_terms import GateEvidence, GateRecord, Rise
from negalign_train.evaluation.metrics import summarise
from negalign_train.evaluation.second_opinion import SecondOpinion, SecondReports, second_opinion
from negalign_train.registry.adapters import new_adapter_id
from negalign_train.registry.manifest import AdapterRecord
from negalign_train.registry.provenance import git_commit, library_versions
from negalign_train.storage.fingerprint import fingerprint
from negalign_train.storage.workspace import read_json, write_json
from negalign_train.training.running.checkpoints import is_complete
from negalign_train.vocabulary.errors import CycleError
from negalign_train.vocabulary.records import ScoredReport


def bootstrap_settings(context: Context) -> BootstrapSettings:
    gate = context.recipe.gate
    return BootstrapSettings(
        level=criterion_level(gate.confidence, num_candidates(context)),
        num_bootstrap=context.recipe.evaluation.num_bootstrap,
        severe_threshold=gate.severe_threshold,
        seed=context.plan.seed,
    )


def num_candidates(context: Context) -> int:
    """Every candidate that this cycle published: one that a changed recipe has replaced since was
    evaluated on the same cases, and was one more chance to be lucky.
    """
    published = sum(record.cycle == context.plan.cycle for record in context.registry.list())
    return max(published, len(context.recipe.candidates))


def publish_candidates(context: Context, trained: Mapping[str, TrainedCandidate]) -> dict[str, str]:
    """Puts every trained candidate into the registry; candidate name to adapter id.

    Raises:
        CycleError: a file of a training changed after it had finished.
    """
    return {name: _publish(context, each) for name, each in trained.items()}


def _publish(context: Context, trained: TrainedCandidate) -> str:
    """The manifest speaks of the training that made the weights, not of the present recipe."""
    plan, candidate = context.plan, trained.candidate
    folder = trained.adapter_dir.parent
    if not is_complete(folder):
        raise CycleError(
            f"candidate {candidate.name}: {folder} changed after its training had finished; "
            "nothing was published. Run the same command again: it trains the candidate anew"
        )
    identity, earlier = trained.identity, candidate.continues
    adapter_id = new_adapter_id(plan.cycle, candidate.name, identity, trained.adapter_dir)
    recipe = {"cycle": plan.recipe_fingerprint, "candidate": trained.made_of["candidate"]}
    record = AdapterRecord(
        adapter_id=adapter_id,
        parent_id=plan.parent if context.recipe.continues_parent(candidate) else None,
        cycle=plan.cycle,
        candidate=candidate.name,
        method=candidate.method,
        base_name=plan.base_name,
        base_source=plan.base_source,
        base_revision=plan.base_revision,
        base_digest=plan.base_digest,
        recipe_fingerprint=fingerprint(recipe),
        data_fingerprint=trained.made_of["data"],
        run_identity=identity,
        created_at=plan.created_at,
        versions=library_versions(),
        git_commit=git_commit(Path(__file__).parent),
        details={"Continues within the cycle": f"candidate {earlier}"} if earlier else {},
    )
    context.registry.publish(trained.adapter_dir, record)
    return adapter_id


def _rise(
    context: Context, parent: Sequence[ScoredReport], candidate: Sequence[ScoredReport]
) -> Rise | None:
    difference = paired_bootstrap(parent, candidate, bootstrap_settings(context))
    return (
        None
        if difference is None
        else Rise(difference.total, difference.num_cases, difference.num_groups)
    )


def _together(retention: Mapping[int, tuple[ScoredReport, ...]]) -> list[ScoredReport]:
    """Each case once: a case may come back in a later cycle's log."""
    reports = (report for cycle in sorted(retention) for report in retention[cycle])
    return list({report.case_id: report for report in reports}.values())


def _evidence(
    context: Context,
    candidate: str,
    adapter_id: str,
    evaluations: Evaluations,
    references: Mapping[str, str],
) -> GateEvidence:
    parent, own = evaluations.parent, evaluations.candidates[candidate]
    settings = bootstrap_settings(context)
    threshold, judge = context.recipe.gate.severe_threshold, first_judge(context)
    comparison = paired_bootstrap(parent.reports, own.reports, settings)
    return GateEvidence(
        cycle=context.plan.cycle,
        candidate=candidate,
        parent_adapter=context.plan.parent,
        candidate_adapter=adapter_id,
        num_candidates=num_candidates(context),
        parent=summarise(parent.reports, references, threshold),
        metrics=summarise(own.reports, references, threshold),
        comparison=comparison,
        overall=paired_bootstrap(evaluations.origin.reports, own.reports, settings),
        placeholder_rate=placeholder_rate(own.reports, settings),
        divergence=own.divergence,
        parent_reference_logps=parent.reference_logps,
        reference_logps=own.reference_logps,
        retention={
            cycle: _rise(context, parent.retention[cycle], own.retention[cycle])
            for cycle in parent.retention
        },
        retention_pooled=_rise(context, _together(parent.retention), _together(own.retention)),
        judge=f"{judge.name} {judge.version}",
        second=_second_opinion(context, parent, own, comparison),
    )


def _second_opinion(
    context: Context, parent: Evaluation, own: Evaluation, first: Comparison | None
) -> SecondOpinion | None:
    judge = second_judge(context)
    if judge is None:
        return None
    assert parent.second is not None  # evaluate() came first
    assert own.second is not None
    reports = SecondReports(
        judge=judge.name,
        version=judge.version,
        parent=with_scores(parent.reports, parent.second.scores),
        candidate=with_scores(own.reports, own.second.scores),
        unscored=own.second.unscored,
    )
    return second_opinion(first, reports, bootstrap_settings(context))


def _previous_fingerprint(context: Context) -> str | None:
    if context.plan.cycle == 1:
        return None
    earlier = context.workspace.cycle_dir(context.plan.cycle - 1) / GATE_FILE
    return str(read_json(earlier)["records"][-1]["fingerprint"])


def decide_on_candidates(
    context: Context,
    adapter_ids: Mapping[str, str],
    evaluations: Evaluations,
    cases: HeldOutCases,
) -> tuple[GateRecord, ...]:
    """One decision per candidate, in ``gate_record.json``, chained to the last cycle's."""
    records = keep_the_best(
        [
            decide(
                _evidence(context, name, adapter_id, evaluations, cases.references),
                context.recipe.gate,
                criteria_digest(context.recipe.gate),
            )
            for name, adapter_id in adapter_ids.items()
        ]
    )
    sealed = seal(records, _previous_fingerprint(context))
    write_json(context.folder / GATE_FILE, {"records": sealed})
    return records


def apply_decisions(context: Context, records: tuple[GateRecord, ...]) -> str | None:
    """Moves ``champion`` to the promoted candidate and rejects the others; returns its id."""
    registry = context.registry
    promoted = None
    for record in records:
        adapter_id = record.evidence.candidate_adapter
        assert adapter_id is not None  # publish_candidates() came first
        if record.outcome == "promoted" and registry.get(adapter_id).state != "retired":
            # Retired: it was champion before this cycle was interrupted, and rolled back by hand.
            reason = "; ".join(record.reasons)
            registry.promote(adapter_id, GATE, reason, context.folder / GATE_FILE)
            promoted = adapter_id
        elif record.outcome != "promoted":
            registry.reject(adapter_id, f"{record.outcome}: {'; '.join(record.reasons)}")
    _reject_superseded(context, records)
    return promoted


def _reject_superseded(context: Context, records: tuple[GateRecord, ...]) -> None:
    """Candidates that an earlier attempt at this cycle published and its last one left out."""
    decided = {record.evidence.candidate_adapter for record in records}
    for adapter in context.registry.list():
        mine = adapter.cycle == context.plan.cycle and adapter.state == "candidate"
        if mine and adapter.adapter_id not in decided:
            context.registry.reject(
                adapter.adapter_id, "superseded: its candidate was changed or taken out"
            )


def sealed_records(context: Context) -> list[dict[str, Any]]:
    """The cycle's gate records as they were written."""
    records: list[dict[str, Any]] = read_json(context.folder / GATE_FILE)["records"]
    return records
