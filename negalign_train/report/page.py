"""The page people look at after a cycle: one self-contained HTML file, without report text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from negalign_train.report.charts import CategoryBar, category_bars, interval_chart
from negalign_train.report.criteria import criterion_groups, tally
from negalign_train.report.result import Check, RetentionMatrix

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
class CyclePage:
    """Everything the page shows. It must hold no report text and no prompt.

    ``gate_records`` are the cycle's sealed records (schema ``negalign.gate/2``), among them that of
    ``candidate``, the one the page speaks of. ``counts``, ``refusals``, ``seconds`` and
    ``fingerprints`` are shown in their order, underscores of their keys as spaces. ``champion_*``
    None is the bare base model.
    """

    cycle: int
    created_at: str
    base_name: str
    seed: int
    champion_before: str | None
    champion_after: str | None
    candidate: str
    gate_records: tuple[Mapping[str, Any], ...]
    counts: Mapping[str, int]
    refusals: Mapping[str, int]
    readers: tuple[ReaderRow, ...]
    lineage: tuple[LineageRow, ...]
    seconds: Mapping[str, float]
    fingerprints: Mapping[str, str]
    reader_check: Check | None = None
    calibrated_check: Check | None = None
    scorer: str | None = None
    retention: RetentionMatrix | None = None


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
    (best,) = (each for each in page.gate_records if each["candidate"] == page.candidate)
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


def _duration(seconds: float) -> str:
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s"
    return f"{whole // 60} min {whole % 60:02d} s"
