"""The page people look at after a cycle: one self-contained HTML file, without report text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from negalign_train.report.charts import CategoryBar, category_bars, interval_chart
from negalign_train.report.criteria import criterion_groups, tally

_TEMPLATE = "page.html.j2"
_TITLES = {
    "promoted": "Promoted",
    "rejected": "Not promoted",
    "inconclusive": "Inconclusive",
}


@dataclass(frozen=True)
class ReaderRow:
    """One reader's part of the cycle. ``seconds`` and ``mean_S`` are None where unknown."""

    reader: str
    events: int
    accept: int
    partial: int
    reject: int
    mean_S: float | None
    seconds: float | None


@dataclass(frozen=True)
class LineageRow:
    """One adapter on the way from the base model to today, oldest first."""

    adapter: str
    parent: str | None
    cycle: int
    method: str
    state: str
    mean_S: float | None


@dataclass(frozen=True)
class ReaderCheck:
    """Mean S of the same reports by another measure than the gate's (the simulation's ground truth,
    or the scorer after calibration) over ``num_cases``, with the interval of the change.
    """

    num_cases: int

    mean_S_before: float
    mean_S_after: float
    ci_low: float
    ci_high: float


@dataclass(frozen=True)
class CyclePage:
    """Everything the page shows. It must hold no report text and no prompt.

    ``gate_records`` are the cycle's sealed records (schema ``negalign.gate/2``), at least one.
    ``counts``, ``refusals``, ``seconds`` and ``fingerprints`` are shown in their order, underscores
    of their keys as spaces. ``champion_*`` None is the bare base model; ``retention`` is that
    section of the summary.
    """

    cycle: int
    created_at: str
    base_name: str
    seed: int
    champion_before: str | None
    champion_after: str | None
    gate_records: tuple[Mapping[str, Any], ...]
    counts: Mapping[str, int]
    refusals: Mapping[str, int]
    readers: tuple[ReaderRow, ...]
    lineage: tuple[LineageRow, ...]
    seconds: Mapping[str, float]
    fingerprints: Mapping[str, str]
    reader_check: ReaderCheck | None = None
    calibrated_check: ReaderCheck | None = None
    scorer: str | None = None
    retention: Mapping[str, Any] | None = None


def render_cycle_page(page: CyclePage) -> str:
    """The page as HTML. Every value is escaped; a missing one is an error, not a blank."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "words": lambda name: name.replace("_", " ").replace(":", ": "),
        "S": lambda value: "–" if value is None else f"{value:.3f}",
        "percent": lambda value: "–" if value is None else f"{100 * value:.1f} %",
        "duration": _duration,
    }
    best = headline(page.gate_records)
    evidence = best["evidence"]
    rows = [
        (record["candidate"], record["outcome"], record["evidence"]["comparison"]["total"])
        for record in page.gate_records
        if record["evidence"]["comparison"] is not None
    ]
    return environment.get_template(_TEMPLATE).render(
        page=page,
        best=best,
        title=_TITLES[best["outcome"]],
        comparison=evidence["comparison"],
        chart=interval_chart(rows),
        bars=_bars(evidence["comparison"]),
        groups=criterion_groups(best["criteria"]),
        tally=tally(best["criteria"]),
        sure=100 * (1 - best["level"]),
    )


def _bars(comparison: Mapping[str, Any] | None) -> tuple[CategoryBar, ...]:
    """Both sides over the cases scored for both; none where there is no such case."""
    if comparison is None:
        return ()
    return category_bars(
        comparison["parent"]["per_category"], comparison["candidate"]["per_category"]
    )


def headline(records: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The record the page speaks of: the promoted one, else the one whose mean S fell most."""

    def rank(record: Mapping[str, Any]) -> tuple[bool, bool, float, str]:
        found = record["evidence"]["comparison"]
        change = 0.0 if found is None else found["total"]["estimate"]
        return record["outcome"] != "promoted", found is None, change, record["candidate"]

    return min(records, key=rank)


def _duration(seconds: float) -> str:
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s"
    return f"{whole // 60} min {whole % 60:02d} s"
