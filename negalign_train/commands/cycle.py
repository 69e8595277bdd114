"""``negalign cycle``: one feedback cycle, or several, with a summary at a glance."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from negalign_train.commands.common import (
    DEFAULT_WORKSPACE,
    DatabaseUrlOption,
    JsonOption,
    WorkspaceOption,
    open_engine,
    print_table,
)
from negalign_train.commands.cycle_notes import data_notes
from negalign_train.quiet import quieten
from negalign_train.recipe import CycleRecipe, load_yaml
from negalign_train.recipe_candidate import MAX_SEED
from negalign_train.severity.taxonomy import taxonomy
from negalign_train.workspace import Workspace

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
    from negalign_train.cycle.plan import LocatedRecipe
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
        f"candidate {summary['candidate']}, {summary['num_cases']} held-out cases, "
        f"{summary['seconds']:.0f} s",
        highlight=False,
    )
    console.print(
        f"  champion  {summary['parent'] or 'base model'} → {summary['champion'] or 'base model'}",
        highlight=False,
    )
    candidate = next(c for c in summary["candidates"] if c["name"] == summary["candidate"])
    change = f"[{_number(summary['ci_low'])}, {_number(summary['ci_high'])}]"
    console.print(
        f"  mean S    {_number(summary['mean_S_before'])} → {_number(candidate['mean_S'])} "
        f"(95 % interval of the difference {change})",
        highlight=False, markup=False,
    )  # fmt: skip
    overall = summary["since_first_cycle"]
    if overall is not None and summary["cycle"] > 1:
        console.print(
            f"  in all    {_number(overall['mean_S_start'])} → {_number(candidate['mean_S'])} "
            "since the first cycle started "
            f"([{_number(overall['ci_low'])}, {_number(overall['ci_high'])}])",
            highlight=False, markup=False,
        )  # fmt: skip
    check = summary["readers_check"]
    if check is not None:
        console.print(
            f"  readers   {_number(check['mean_S_before'])} → {_number(check['mean_S_after'])} "
            f"(the same reports as simulated readers see them, "
            f"[{_number(check['ci_low'])}, {_number(check['ci_high'])}])",
            highlight=False, markup=False,
        )  # fmt: skip
    # Summaries of the first release hold neither of these two.
    if (scaled := summary.get("calibrated_check")) is not None:
        console.print(
            f"  scale     {_number(scaled['mean_S_before'])} → {_number(scaled['mean_S_after'])} "
            f"(the scorer at its readers' scale, [{_number(scaled['ci_low'])}, "
            f"{_number(scaled['ci_high'])}])",
            highlight=False, markup=False,
        )  # fmt: skip
    if "scorer" in summary:
        reason = summary["scorer"]["reason"]
        console.print(f"  scorer    {reason}", highlight=False, markup=False)
    for reason in summary["reasons"]:
        console.print(f"  because   {reason}", highlight=False, markup=False)
    for note in data_notes(summary["data"]):
        console.print(f"  note      {note}", highlight=False, markup=False)
    print_table(_categories(summary))
    folder = workspace.cycle_dir(summary["cycle"])
    console.print(f"  page      {folder / 'report.html'}", highlight=False)


def _categories(summary: dict[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2))
    table.add_column("  category")
    table.add_column("before", justify="right")
    table.add_column("champion", justify="right")
    for category in taxonomy():
        values = summary["per_category"][category.name]
        before, after = _number(values["before"]), _number(values["after"])
        table.add_row(f"  {category.id} {category.name}", before, after)
    table.add_row(
        "  severe-error rate",
        _number(summary["severe_rate_before"]),
        _number(summary["severe_rate_after"]),
    )
    return table
