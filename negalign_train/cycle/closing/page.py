"""The cycle's summary and records, as the page people look at: ``report.html``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from negalign_train.cycle.opening.plan import SUMMARY, Context
from negalign_train.report.page import (
    CyclePage,
    LineageRow,
    ReaderCheck,
    ReaderRow,
    render_cycle_page,
)
from negalign_train.storage.workspace import read_json, replacing

PAGE = "report.html"


def _reader(row: Mapping[str, Any]) -> ReaderRow:
    return ReaderRow(
        reader=row["reader_id"],
        events=row["events"],
        accept=row["grades"]["accept"],
        partial=row["grades"]["partial"],
        reject=row["grades"]["reject"],
        mean_S=row["mean_severity"],
        seconds=row["median_seconds"],
    )


def _measured(context: Context, summary: Mapping[str, Any]) -> dict[str, float | None]:
    """Mean S of every adapter that was a candidate in this cycle or an earlier one."""
    found: dict[str, float | None] = {}
    for cycle in range(1, context.plan.cycle):
        earlier = read_json(context.workspace.cycle_dir(cycle) / SUMMARY)
        found |= {row["adapter"]: row["mean_S"] for row in earlier["candidates"]}
    return found | {row["adapter"]: row["mean_S"] for row in summary["candidates"]}


def _lineage(context: Context, summary: Mapping[str, Any]) -> tuple[LineageRow, ...]:
    """The adapters from the base model to the candidate the page speaks of, oldest first."""
    mean_S = _measured(context, summary)
    candidate = next(c for c in summary["candidates"] if c["name"] == summary["candidate"])
    return tuple(
        LineageRow(
            record.adapter_id,
            record.parent_id,
            record.cycle,
            record.method,
            record.state,
            mean_S.get(record.adapter_id),
        )
        for record in reversed(context.registry.lineage(candidate["adapter"]))
    )


def _check(value: Mapping[str, Any] | None) -> ReaderCheck | None:
    return None if value is None else ReaderCheck(**value)


def _scorer(record: Mapping[str, Any]) -> str:
    """Which scorer gave the severities, and what readers taught it."""
    return f"{record['judge']} {record['version']}; calibration: {record['reason']}"


def write_page(
    context: Context, summary: Mapping[str, Any], records: Sequence[Mapping[str, Any]]
) -> None:
    """Writes ``report.html`` into the cycle's folder; it holds no report text."""
    plan, data = context.plan, summary["data"]
    page = CyclePage(
        cycle=plan.cycle,
        created_at=plan.created_at,
        base_name=plan.base_name,
        seed=plan.seed,
        champion_before=plan.parent,
        champion_after=summary["champion"],
        gate_records=tuple(records),
        counts={name: value for name, value in data.items() if isinstance(value, int)},
        refusals=data["refused"],
        readers=tuple(_reader(row) for row in data["readers"]["readers"]),
        lineage=_lineage(context, summary),
        seconds=summary["seconds_by_step"],
        fingerprints={
            "recipe": plan.recipe_fingerprint,
            "gate_criteria": plan.criteria_digest,
            "base_model": plan.base_digest,
            "gate_record": str(records[-1]["fingerprint"]),
            "severity_calibration": summary["scorer"]["calibration"],
        },
        reader_check=_check(summary["readers_check"]),
        calibrated_check=_check(summary["calibrated_check"]),
        scorer=_scorer(summary["scorer"]),
        retention=summary["retention"],
    )
    with replacing(context.folder / PAGE) as temporary:
        temporary.write_text(render_cycle_page(page), encoding="utf-8")
