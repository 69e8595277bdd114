"""A cycle's result as a person reads it on the terminal."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from negalign_train.commands.support.cycle_notes import data_notes
from negalign_train.commands.support.output import number, print_table
from negalign_train.evaluation.second_opinion import VERDICTS, SecondOpinion
from negalign_train.report.result import Check, CycleResult, SinceFirstCycle
from negalign_train.vocabulary.taxonomy import taxonomy

_COLOURS = {"promoted": "green", "rejected": "red", "inconclusive": "yellow"}
_MAX_REASONS = 4
"""Reasons that are printed; a small log leaves most criteria open, and says so of each."""
_LABEL_WIDTH = 18
"""Of the longest label and a space."""


def print_result(result: CycleResult, page: Path) -> None:
    """Decision, champion, S, reasons, notes, categories, and where the page lies."""
    console = Console(soft_wrap=True)
    colour = _COLOURS[result.decision]
    console.print()
    console.print(
        f"[bold]Cycle {result.cycle}[/bold]  [bold {colour}]{result.decision.upper()}"
        f"[/bold {colour}]  candidate {result.candidate}, "
        f"{result.num_cases} of {result.num_held_out} held-out cases scored for parent and "
        f"candidate, {result.seconds:.0f} s",
        highlight=False,
    )
    for line in [*_figures(result), *_reasons(result)]:
        console.print(line, highlight=False, markup=False)
    print_table(_categories(result))
    console.print(_line("page", str(page)), highlight=False, markup=False)


def _line(label: str, text: str) -> str:
    return f"  {label:{_LABEL_WIDTH}}{text}"


def _figures(result: CycleResult) -> list[str]:
    """Champion and mean S: by the gate, since the first cycle, and by other measures."""
    before, after = result.parent or "base model", result.champion or "base model"
    sure = f"each end {100 * (1 - result.level):.3g} % sure"
    change = f"change {_interval(result.ci_low, result.ci_high)}, {sure}"
    lines = [
        _line("champion", f"{before} → {after}" if before != after else f"{after} (unchanged)"),
        _line("mean S", f"{_arrow(result.mean_S_before, result.mean_S_candidate)} ({change})"),
        _line(
            "mean Q",
            f"{_arrow(result.mean_Q_before, result.mean_Q_candidate)} (errors against what is "
            "right; reported, not decided on)",
        ),
    ]
    if result.since_first_cycle is not None and result.cycle > 1:
        label = "over both cycles" if result.cycle == 2 else f"over {result.cycle} cycles"
        lines.append(_line(label, _since(result.since_first_cycle)))
    if result.readers_check is not None:
        lines.append(_line("ground truth", _measured(result.readers_check, "of the simulation")))
    if result.calibrated_check is not None:
        by_readers = _measured(result.calibrated_check, "the scorer re-scaled to its readers")
        lines.append(_line("at readers' scale", by_readers))
    if result.second_judge is not None:
        lines.append(_line("second judge", _opinion(result.second_judge)))
    scorer = result.scorer
    by = f"{scorer.judge}, {scorer.reason}" if scorer.judge != "rules" else scorer.reason
    return [*lines, _line("calibration", by)]


def _reasons(result: CycleResult) -> list[str]:
    """Why it was decided so, which guardrails were not applied, and what is odd about the data."""
    not_applied = result.chosen_candidate.not_applied
    unscored = ", ".join(f"{name} {count}" for name, count in result.scorer.unscored.items())
    reasons = list(result.reasons[:_MAX_REASONS])
    if len(result.reasons) > _MAX_REASONS:
        more = len(result.reasons) - _MAX_REASONS
        reasons.append(f"and {more} more criteria; the page lists all")
    return [
        *(_line("WARNING", warning) for warning in result.warnings),
        *(_line("reason", reason) for reason in reasons),
        *([_line("not scored", f"{unscored} of the candidate's reports")] if unscored else []),
        *(_line("not applied", f"{name}: {reason}") for name, reason in not_applied.items()),
        *(_line("note", note) for note in data_notes(result.data)),
    ]


def _opinion(second: SecondOpinion) -> str:
    if second.change is None:
        return f"{second.judge} scored no case for both sides"
    change = _interval(second.change.low, second.change.high)
    return (
        f"{_arrow(second.mean_S_before, second.mean_S_after)} (by {second.judge}, which "
        f"{VERDICTS[second.verdict]}: {second.num_cases} cases, change {change})"
    )


def _since(since: SinceFirstCycle) -> str:
    change = _interval(since.ci_low, since.ci_high)
    return (
        f"{_arrow(since.mean_S_start, since.mean_S_now)} (mean S of {since.num_cases} cases, "
        f"change {change})"
    )


def _measured(check: Check, by_what: str) -> str:
    change = _interval(check.ci_low, check.ci_high)
    return (
        f"{_arrow(check.mean_S_before, check.mean_S_after)} ({by_what}: mean S of the same "
        f"reports, {check.num_cases} cases, change {change})"
    )


def _arrow(before: float | None, after: float | None) -> str:
    return f"{number(before, 3)} → {number(after, 3)}"


def _interval(low: float | None, high: float | None) -> str:
    return f"[{number(low, 3)}, {number(high, 3)}]"


def _categories(result: CycleResult) -> Table:
    """The candidate's own column, promoted or not."""
    table = Table(box=None, pad_edge=False, padding=(0, 2))
    table.add_column("  mean severity")
    table.add_column("parent", justify="right")
    table.add_column("candidate", justify="right")
    for category in taxonomy():
        change = result.per_category[category.name]
        table.add_row(
            f"  {category.id} {category.name}",
            number(change.before, 3),
            number(change.candidate, 3),
        )
    table.add_row(
        "  reports with a severe error",
        number(result.severe_rate_before, 3),
        number(result.severe_rate_candidate, 3),
    )
    return table
