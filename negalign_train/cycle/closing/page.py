"""The cycle's result and gate records, as the page people look at: ``report.html``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from negalign_train.cycle.opening.plan import SUMMARY, Context
from negalign_train.evaluation.second_opinion import VERDICTS, SecondOpinion
from negalign_train.feedback.stats import ReaderStats
from negalign_train.report.page import CyclePage, LineageRow, ReaderRow, render_cycle_page
from negalign_train.report.result import CycleResult, read_result
from negalign_train.storage.workspace import replacing

PAGE = "report.html"


def _reader(reader: ReaderStats) -> ReaderRow:
    return ReaderRow(
        reader=reader.reader_id,
        events=reader.events,
        accept=reader.grades["accept"],
        partial=reader.grades["partial"],
        reject=reader.grades["reject"],
        mean_S=reader.mean_severity,
        seconds=reader.median_seconds,
    )


def _mean_S_by_adapter(context: Context, result: CycleResult) -> dict[str, float | None]:
    """Mean S of every adapter that was a candidate in this cycle or an earlier one."""
    earlier = [
        read_result(context.workspace.cycle_dir(cycle) / SUMMARY)
        for cycle in range(1, context.plan.cycle)
    ]
    return {each.adapter: each.mean_S for one in [*earlier, result] for each in one.candidates}


def _lineage(context: Context, result: CycleResult) -> tuple[LineageRow, ...]:
    """The adapters from the base model to the candidate the page speaks of, oldest first."""
    mean_S = _mean_S_by_adapter(context, result)
    return tuple(
        LineageRow(
            record.adapter_id,
            record.parent_id,
            record.cycle,
            record.method,
            record.state,
            mean_S.get(record.adapter_id),
        )
        for record in reversed(context.registry.lineage(result.chosen_candidate.adapter))
    )


def _judges(result: CycleResult) -> str:
    """Which judges gave the severities, what readers taught, and what could not be scored."""
    scorer, second = result.scorer, result.second_judge
    parts = [f"{scorer.judge} {scorer.version}; calibration: {scorer.reason}"]
    parts += [f"not scored: {named}"] if (named := _counts(scorer.unscored)) else []
    parts += [
        f"reward of {each.name} by {each.reward_judge}"
        for each in result.candidates
        if each.reward_judge is not None
    ]
    if second is not None:
        parts.append(f"second judge {second.judge} {second.version}: {_opinion(second)}")
    return "; ".join(parts)


def _opinion(second: SecondOpinion) -> str:
    named = _counts(second.unscored)
    left_out = f", not scored: {named}" if named else ""
    if second.change is None:
        return f"nothing to compare{left_out}"
    change = second.change
    return (
        f"mean S {second.mean_S_before:.3f} → {second.mean_S_after:.3f}, change "
        f"{change.estimate:+.3f} [{change.low:+.3f}, {change.high:+.3f}] on {second.num_cases} "
        f"cases, {VERDICTS[second.verdict]}{left_out}"
    )


def _counts(unscored: Mapping[str, int]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in unscored.items())


def write_page(context: Context, result: CycleResult, records: Sequence[Mapping[str, Any]]) -> None:
    """Writes ``report.html`` into the cycle's folder; it holds no report text.

    Args:
        records: the cycle's sealed gate records.
    """
    plan, data = context.plan, result.data
    page = CyclePage(
        cycle=plan.cycle,
        created_at=plan.created_at,
        base_name=plan.base_name,
        seed=plan.seed,
        champion_before=plan.parent,
        champion_after=result.champion,
        candidate=result.candidate,
        gate_records=tuple(records),
        counts=data.counts(),
        refusals=data.refused,
        readers=tuple(_reader(each) for each in data.readers.readers),
        lineage=_lineage(context, result),
        seconds=result.seconds_by_step,
        fingerprints={
            "recipe": plan.recipe_fingerprint,
            "gate_criteria": plan.criteria_digest,
            "base_model": plan.base_digest,
            "gate_record": str(records[-1]["fingerprint"]),
            "severity_calibration": result.scorer.calibration,
        },
        reader_check=result.readers_check,
        calibrated_check=result.calibrated_check,
        scorer=_judges(result),
        retention=result.retention,
    )
    with replacing(context.folder / PAGE) as temporary:
        temporary.write_text(render_cycle_page(page), encoding="utf-8")
