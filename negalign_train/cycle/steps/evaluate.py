"""Step 4: held-out reports of the parent and of every candidate, scored and measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from peft import PeftModel
from transformers import PreTrainedModel

from negalign_train.cases.source import evaluation_cases
from negalign_train.cycle.opening.plan import Context
from negalign_train.cycle.steps.judging import first_judge, judgements, second_judge
from negalign_train.cycle.steps.split import events_by_cycle, held_out_of_log, read_split
from negalign_train.evaluation.divergence import (
    divergence,
    load_beside_parent,
    reference_logps,
    tokenise_completions,
)
from negalign_train.evaluation.metrics import Divergence
from negalign_train.generation.reports import Sampling
from negalign_train.generation.writers import ReportWriter, report_writer
from negalign_train.progress import Progress, Tick, silent, time_left
from negalign_train.severity.judges.base import Judge, Judgement, ReportPair
from negalign_train.severity.judges.uses.asking import scores_of, unscored_reasons
from negalign_train.severity.reading.context import context_of
from negalign_train.simulate.panel import truth_for
from negalign_train.simulate.readers import true_score
from negalign_train.storage.fingerprint import fingerprint
from negalign_train.storage.workspace import Workspace, read_json, write_json
from negalign_train.training.policy.loading import load_tokenizer
from negalign_train.vocabulary.errors import CycleError
from negalign_train.vocabulary.records import Case, ScoredReport, SeverityScore

BASE = "base"
"""What the bare base model's evaluation is filed under; no adapter can be called so."""


@dataclass(frozen=True)
class Evaluation:
    """What one model wrote on the held-out cases, and how far it stands from where it came.

    ``reader_scores`` are what noise-free simulated readers say of the same reports, an independent
    check on the judges; None for a real log. ``divergence`` is None for the parent. ``unscored``
    counts by reason the reports that the first judge could not score, ``second`` is what the
    second judge says of them (None without one).
    """

    reports: tuple[ScoredReport, ...]
    retention: Mapping[int, tuple[ScoredReport, ...]]
    reader_scores: tuple[SeverityScore, ...] | None
    divergence: Divergence | None
    reference_logps: float
    unscored: Mapping[str, int] = field(default_factory=dict)
    second: SecondScores | None = None


@dataclass(frozen=True)
class SecondScores:
    """The second judge's scores of the same reports, in order, and why some have none."""

    scores: tuple[SeverityScore | None, ...]
    unscored: Mapping[str, int]


@dataclass(frozen=True)
class Evaluations:
    """What the gate compares: the parent, the model that the first cycle started from, and the
    candidates by name.
    """

    parent: Evaluation
    origin: Evaluation
    candidates: Mapping[str, Evaluation]


@dataclass(frozen=True)
class HeldOutCases:
    """The gate's cases and, per earlier cycle, the cases that must not be forgotten."""

    gate: tuple[Case, ...]
    retention: Mapping[int, tuple[Case, ...]]
    without_reference: int

    @property
    def references(self) -> dict[str, str]:
        return {case.case_id: case.reference for case in self.gate}


def held_out(context: Context) -> HeldOutCases:
    """The same cases for every model of a cycle.

    Raises:
        CycleError: there is none: no frozen evaluation cases, and none held out of the log.
    """
    recipe, plan = context.recipe, context.plan
    of_log = held_out_of_log(context)
    gate = evaluation_cases(recipe.cases, plan.seed) or of_log.distinct()
    if not gate:
        _check_more_than_one_group(context)
        raise CycleError(
            "no held-out case with an approved report "
            f"({of_log.without_reference} without a usable one): the gate has nothing to decide "
            "on; raise preferences.held_out_fraction, or import more feedback with accepted or "
            "edited reports"
        )
    limit = recipe.evaluation.max_retention_cases
    retention = {
        cycle: cases[:limit]
        for cycle, cases in of_log.by_cycle.items()
        if cycle < plan.cycle and limit > 0
    }
    return HeldOutCases(tuple(gate), retention, of_log.without_reference)


def _check_more_than_one_group(context: Context) -> None:
    """Raises:
    CycleError: the log's only case group is trained on.
    """
    split = read_split(context, context.plan.cycle)
    case_ids = [e.case_id for some in events_by_cycle(context).values() for e in some]
    if len({split.groups[name] for name in case_ids}) > 1 or not split.trains(case_ids[0]):
        return
    joins = context.recipe.cases.joins_equal_prompts
    reason, remedy = "they share a study or a patient", "import feedback on other patients"
    if joins:
        reason = "cases of one prompt, study or patient are one group"
        remedy = (
            "set cases.equal_prompts to distinct if two cases may have one prompt, or " + remedy
        )
    raise CycleError(
        f"all {len(case_ids)} events of the log are one case group ({reason}), and it is trained "
        f"on: nothing is left to hold out, and the gate has nothing to decide on; {remedy}"
    )


def _generate(
    context: Context, writer: ReportWriter, cases: Sequence[Case], tick: Tick
) -> tuple[ScoredReport, ...]:
    """Reports as the generator writes them where it is deployed, not yet scored."""
    recipe, plan = context.recipe, context.plan
    temperature = recipe.model.temperature
    # One seed for parent and candidates: what differs is the model, not the dice.
    sampling = Sampling(temperature, seed=plan.seed) if temperature > 0 else None
    prompts = [case.prompt for case in cases]
    reports = writer.write(prompts, recipe.model.max_new_tokens, sampling, tick)
    return tuple(
        ScoredReport(
            case.case_id,
            case.group,
            report.text,
            report.num_tokens,
            report.truncated,
            score=None,
        )
        for case, report in zip(cases, reports, strict=True)
    )


def _judged(
    context: Context,
    judge: Judge,
    cases: Sequence[Case],
    reports: Sequence[ScoredReport],
    progress: Progress = silent,
) -> list[Judgement]:
    """A judge's answers on the reports, against the cases' references."""
    pairs = [
        ReportPair(case.reference, report.completion, context_of(case.prompt))
        for case, report in zip(cases, reports, strict=True)
    ]
    return judgements(context, judge, pairs, progress)


def with_scores(
    reports: Sequence[ScoredReport], scores: Sequence[SeverityScore | None]
) -> tuple[ScoredReport, ...]:
    """The same reports with these scores, in order."""
    return tuple(
        replace(report, score=score) for report, score in zip(reports, scores, strict=True)
    )


def _measure(
    context: Context, adapter_dir: Path | None, cases: HeldOutCases, progress: Progress = silent
) -> Evaluation:
    recipe, plan = context.recipe, context.plan
    parent_dir = context.adapter_dir(plan.parent)
    tokenizer = load_tokenizer(context.model_dir)

    @cache
    def model() -> PreTrainedModel | PeftModel:
        """One base for reports, log-probabilities and KL; a server's reports do not need it."""
        return load_beside_parent(context.model_dir, adapter_dir, parent_dir, recipe.model.dtype)

    with report_writer(
        recipe.evaluation, context.served_base, adapter_dir, tokenizer, model
    ) as writer:
        tick = time_left(f"writing {len(cases.gate)} held-out reports", progress)
        reports = _generate(context, writer, cases.gate, tick)
        retention = {
            cycle: _generate(
                context, writer, some, time_left(f"retention on cycle {cycle}", progress)
            )
            for cycle, some in cases.retention.items()
        }
    prompts = [case.prompt for case in cases.gate]
    references = tokenise_completions(tokenizer, prompts, [case.reference for case in cases.gate])
    tick = time_left("log-probabilities of the references", progress)
    logps = reference_logps(model(), references, recipe.evaluation.batch_size, tick)
    moved = None
    if adapter_dir is not None and adapter_dir != parent_dir:
        first = recipe.evaluation.num_kl_cases
        own = tokenise_completions(
            tokenizer, prompts[:first], [report.completion for report in reports[:first]]
        )
        moving = model()
        assert isinstance(moving, PeftModel)
        tick = time_left("KL to parent and base", progress)
        moved = divergence(moving, own, recipe.evaluation.batch_size, tick)
    readers = None
    if recipe.feedback.source == "simulated" and recipe.cases.num_evaluation_cases:
        truth = truth_for(recipe.cases.source)
        readers = tuple(
            true_score(truth, case, report.completion)
            for case, report in zip(cases.gate, reports, strict=True)
        )
    judge = first_judge(context)
    answers = _judged(context, judge, cases.gate, reports, progress)
    return Evaluation(
        reports=with_scores(reports, scores_of(answers)),
        retention={
            cycle: with_scores(
                some, scores_of(_judged(context, judge, cases.retention[cycle], some, progress))
            )
            for cycle, some in retention.items()
        },
        reader_scores=readers,
        divergence=moved,
        reference_logps=logps,
        unscored=unscored_reasons(answers),
        second=_second_scores(context, cases, reports, progress),
    )


def _second_scores(
    context: Context, cases: HeldOutCases, reports: Sequence[ScoredReport], progress: Progress
) -> SecondScores | None:
    judge = second_judge(context)
    if judge is None:
        return None
    answers = _judged(context, judge, cases.gate, reports, progress)
    return SecondScores(tuple(scores_of(answers)), unscored_reasons(answers))


def evaluation_path(workspace: Workspace, cycle: int, adapter_id: str | None) -> Path:
    """Where the evaluation of an adapter (None: the base model) in one cycle lies."""
    return workspace.cycle_dir(cycle) / "evaluation" / f"{adapter_id or BASE}.json"


def evaluate(
    context: Context, adapter_id: str | None, cases: HeldOutCases, progress: Progress = silent
) -> Evaluation:
    """Evaluates one adapter (None: the base model), or reads what was measured on this very adapter
    with these very cases and settings: ``evaluation/<adapter id>.json``.
    """
    path = evaluation_path(context.workspace, context.plan.cycle, adapter_id)
    identity = fingerprint(_made_of(context, adapter_id, cases))
    if not path.is_file() or read_json(path).get("identity") != identity:
        evaluation = _measure(context, context.adapter_dir(adapter_id), cases, progress)
        write_json(path, {"identity": identity} | _to_dict(evaluation))
    return read_evaluation(path)


def _made_of(context: Context, adapter_id: str | None, cases: HeldOutCases) -> dict[str, Any]:
    """Everything that decides what is measured. Adapters are immutable, so their ids will do."""
    recipe, plan = context.recipe, context.plan
    judges = [judge for judge in (first_judge(context), second_judge(context)) if judge is not None]
    return {
        "adapter": adapter_id,
        "parent": plan.parent,
        "base_digest": plan.base_digest,
        "cases": asdict(cases),
        "model": recipe.model.model_dump(mode="json"),
        "evaluation": recipe.evaluation.model_dump(mode="json"),
        "readers": [recipe.feedback.source, recipe.cases.source],
        "judges": [[judge.name, judge.version] for judge in judges],
        "seed": plan.seed,
    }


def _to_dict(evaluation: Evaluation) -> dict[str, Any]:
    value = asdict(evaluation)
    value["retention"] = {str(cycle): rows for cycle, rows in value["retention"].items()}
    return value


def _score(value: dict[str, Any] | None) -> SeverityScore | None:
    """Without the evidence, which nothing after the gate's figures reads."""
    return None if value is None else SeverityScore(**value | {"evidence": ()})


def _reports(rows: list[dict[str, Any]]) -> tuple[ScoredReport, ...]:
    return tuple(ScoredReport(**row | {"score": _score(row["score"])}) for row in rows)


def read_evaluation(path: Path) -> Evaluation:
    """What ``evaluate`` wrote into a cycle's ``evaluation`` folder."""
    value = read_json(path)
    readers, second = value["reader_scores"], value["second"]
    return Evaluation(
        reports=_reports(value["reports"]),
        retention={int(cycle): _reports(rows) for cycle, rows in value["retention"].items()},
        reader_scores=None
        if readers is None
        else tuple(SeverityScore(**row | {"evidence": ()}) for row in readers),
        divergence=None if value["divergence"] is None else Divergence(**value["divergence"]),
        reference_logps=value["reference_logps"],
        unscored=value["unscored"],
        second=None
        if second is None
        else SecondScores(tuple(map(_score, second["scores"])), second["unscored"]),
    )
