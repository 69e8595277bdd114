"""``negalign cycle``: one feedback cycle, or several, with a summary at a glance."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from negalign_train.commands.support.common import (
    DEFAULT_WORKSPACE,
    DatabaseUrlOption,
    JsonOption,
    WorkspaceOption,
    open_engine,
    print_table,
)
from negalign_train.commands.support.cycle_notes import data_notes
from negalign_train.quiet import quieten
from negalign_train.recipe.candidate import MAX_SEED
from negalign_train.recipe.cycle import CycleRecipe, load_yaml
from negalign_train.storage.workspace import Workspace
from negalign_train.vocabulary.taxonomy import taxonomy

_MAX_REASONS = 4
"""Reasons that are printed; a small log leaves most criteria open, and says so of each."""
_COLOURS = {"promoted": "green", "rejected": "red", "inconclusive": "yellow"}


def cycle(
    config: Annotated[Path, typer.Option("--config", "-c", help="Recipe of the cycle (YAML).")],
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    seed: Annotated[
        int,
        typer.Option(min=0, max=MAX_SEED, help="Seed of cases, readers, training and bootstrap."),
    ] = 1,
    cycles: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Bring the workspace to this many cycles. Default: finish the unfinished cycle, "
            "or run one new one.",
        ),
    ] = None,
    database_url: DatabaseUrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Turn graded feedback into the next adapter, gate it, and promote it if it is better.

    A cycle that was stopped goes on after its last whole step when the same command is run again.
    With **--json**, one JSON object per cycle goes to standard output, one per line.

    Example: `negalign cycle --config my-cycle.yaml --workspace my-workspace`
    """
    recipe = load_yaml(config, CycleRecipe)
    quieten()
    # Heavy: only once the recipe is known to be one.
    from negalign_train.cycle.opening.plan import LocatedRecipe
    from negalign_train.cycle.run import run_cycles

    located = LocatedRecipe(recipe, config)
    # A cycle on a log needs what was imported: a mistyped folder is no new workspace.
    engine = open_engine(workspace, database_url, create=recipe.feedback.source != "log")
    console = Console(stderr=True, soft_wrap=True)
    with console.status("starting") if console.is_terminal else _Quiet() as status:

        def progress(what: str) -> None:
            if console.is_terminal:
                status.update(what)
            console.print(f"[dim]· {what}[/dim]", highlight=False)

        place = Workspace(workspace)
        try:
            for summary in run_cycles(place, engine, located, seed, progress, cycles):
                if as_json:
                    typer.echo(json.dumps(summary, ensure_ascii=False, allow_nan=False))
                    sys.stdout.flush()
                else:
                    show(summary, place)
        except KeyboardInterrupt:
            console.print("stopped; the same command goes on after the last whole step")
            raise typer.Exit(130) from None


class _Quiet:
    """Stands in for rich's status where there is no terminal."""

    def __enter__(self) -> _Quiet:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def update(self, _: str) -> None:
        return None


def _number(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def show(summary: dict[str, Any], workspace: Workspace) -> None:
    """The summary as a person reads it: decision, champion, S, categories, reasons."""
    console = Console(soft_wrap=True)
    decision = summary["decision"]
    console.print()
    console.print(
        f"[bold]Cycle {summary['cycle']}[/bold]  "
        f"[bold {_COLOURS[decision]}]{decision.upper()}[/bold {_COLOURS[decision]}]  "
        f"candidate {summary['candidate']}, {summary['num_cases']} of {summary['num_held_out']} "
        "held-out cases scored for parent and candidate, "
        f"{summary['seconds']:.0f} s",
        highlight=False,
    )
    console.print(
        f"  champion  {summary['parent'] or 'base model'} → {summary['champion'] or 'base model'}",
        highlight=False,
    )
    print_line = partial(console.print, highlight=False, markup=False)
    sure = f"each end {100 * (1 - summary['level']):.3g} % sure"
    before, after = _number(summary["mean_S_before"]), _number(summary["mean_S_candidate"])
    print_line(f"  mean S    {before} → {after} (change {_interval(summary)}, {sure})")
    overall = summary["since_first_cycle"]
    if overall is not None and summary["cycle"] > 1:
        start, now = _number(overall["mean_S_start"]), _number(overall["mean_S_now"])
        print_line(
            f"  in all    {start} → {now} since the first cycle started "
            f"({_interval(overall)}, {overall['num_cases']} cases)"
        )
    check = summary["readers_check"]
    if check is not None:
        what = "the same reports by the simulation's ground truth"
        print_line(f"  truth     {_change(check)} ({what}, {_interval(check)})")
    if (scaled := summary["calibrated_check"]) is not None:
        what = "the scorer at its readers' scale"
        print_line(f"  scale     {_change(scaled)} ({what}, {_interval(scaled)})")
    print_line(f"  scorer    {summary['scorer']['reason']}")
    reasons = summary["reasons"]
    for reason in reasons[:_MAX_REASONS]:
        print_line(f"  because   {reason}")
    if len(reasons) > _MAX_REASONS:
        print_line(
            f"  because   of {len(reasons) - _MAX_REASONS} more criteria; the page lists all"
        )
    candidate = next(c for c in summary["candidates"] if c["name"] == summary["candidate"])
    for name, reason in candidate["not_applied"].items():
        print_line(f"  note      {name} was not applied: {reason}")
    for note in data_notes(summary["data"]):
        print_line(f"  note      {note}")
    print_table(_categories(summary))
    folder = workspace.cycle_dir(summary["cycle"])
    console.print(f"  page      {folder / 'report.html'}", highlight=False)


def _interval(found: Mapping[str, Any]) -> str:
    return f"[{_number(found['ci_low'])}, {_number(found['ci_high'])}]"


def _change(found: Mapping[str, Any]) -> str:
    return f"{_number(found['mean_S_before'])} → {_number(found['mean_S_after'])}"


def _categories(summary: dict[str, Any]) -> Table:
    """The candidate's own column, promoted or not."""
    table = Table(box=None, pad_edge=False, padding=(0, 2))
    table.add_column("  category")
    table.add_column("parent", justify="right")
    table.add_column("candidate", justify="right")
    for category in taxonomy():
        values = summary["per_category"][category.name]
        before, after = _number(values["before"]), _number(values["candidate"])
        table.add_row(f"  {category.id} {category.name}", before, after)
    table.add_row(
        "  severe-error rate",
        _number(summary["severe_rate_before"]),
        _number(summary["severe_rate_candidate"]),
    )
    return table
