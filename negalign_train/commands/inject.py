"""``negalign inject``: a labelled data set of erroneous reports, made from right ones."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from negalign_train.cases.report_files import SourceReport
from negalign_train.commands.support.injected_files import Handle, InjectionCounts, write_data_set
from negalign_train.commands.support.output import JsonOption, print_json, print_table
from negalign_train.commands.support.score_files import STANDARD
from negalign_train.recipe.candidate import MAX_SEED
from negalign_train.simulate.injection.data_set import (
    InjectionSettings,
    Labeller,
    NotLabelled,
    injected_line,
    parse_operations,
)
from negalign_train.simulate.injection.reports import OPERATIONS
from negalign_train.vocabulary.errors import UsageError


def inject(
    reports: Annotated[
        Path,
        typer.Argument(help="Right reports: a JSONL or CSV file, or the OpenI CSV; - is stdin."),
    ],
    out: Annotated[Path, typer.Option(help="JSONL file to write; - is standard output.")],
    operations: Annotated[
        str,
        typer.Option(help="Operations or categories (R1 to R9), comma-separated. Default: all."),
    ] = ",".join(OPERATIONS),
    errors: Annotated[
        int, typer.Option(min=1, help="Errors in each erroneous report, each of another operation.")
    ] = 1,
    untouched: Annotated[
        float, typer.Option(min=0, max=1, help="Share of the reports left as they are: controls.")
    ] = 0.1,
    reworded: Annotated[
        float, typer.Option(min=0, max=1, help="Share said in other words, with nothing wrong.")
    ] = 0.1,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Same seed, same file.")] = 0,
    column: Annotated[
        str | None,
        typer.Option(help="Key or column of the report. Default: reference, report or text."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Put labelled errors into right reports: material to train judges on, and to measure them.

    Each line holds the report as reference, the erroneous one as candidate, its nine severities,
    and every error with operation, category, severity and span. What gives no line is counted.

    Exit codes: 0 written, 1 an error or lines that hold no report, 2 wrong usage, 130 interrupted.

    Example: `negalign inject reports.jsonl --out injected.jsonl --operations R2,R5 --errors 2`
    """
    settings = InjectionSettings(parse_operations(operations), errors, untouched, reworded, seed)
    if out == STANDARD and as_json:
        raise UsageError("--json prints the summary where --out - prints the data set; name a file")
    labeller = Labeller(settings)

    def handle(source: Iterator[SourceReport], counts: InjectionCounts) -> Iterator[dict[str, Any]]:
        for report in source:
            made = labeller.label(report)
            if isinstance(made, NotLabelled):
                counts.refuse(made.reason, report.number)
            else:
                yield injected_line(made, seed)

    counts = _written(reports, out, column, handle)
    by_operation = {
        name: {"made": labeller.made[name], "no_place": labeller.no_place[name]}
        for name in settings.operations
    }
    summary = {"out": str(out), "seed": seed, **counts.to_json(), "operations": by_operation}
    if as_json:
        print_json(summary)
    else:
        _show(summary, Console(stderr=out == STANDARD, soft_wrap=True))
        if out != STANDARD:
            print_table(_operations(summary))
    _exit_on_bad_lines(counts)


def _written(reports: Path, out: Path, column: str | None, handle: Handle) -> InjectionCounts:
    """The data set written, with a bar on the terminal."""
    console = Console(stderr=True, soft_wrap=True)
    size = reports.stat().st_size if reports.is_file() else None
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    try:
        with Progress(
            *columns, console=console, transient=True, disable=not console.is_terminal,
            redirect_stdout=False, redirect_stderr=False,
        ) as bars:  # fmt: skip
            task = bars.add_task("reports", total=size)
            return write_data_set(
                reports, out, column, handle, lambda position: bars.update(task, completed=position)
            )
    except KeyboardInterrupt:
        console.print(f"stopped; nothing was written to {out}", markup=False, highlight=False)
        raise typer.Exit(130) from None
    except BrokenPipeError:
        # The reader of standard output has had enough (head): no error, and no second one at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(0) from None


def _exit_on_bad_lines(counts: InjectionCounts) -> None:
    if counts.bad_lines:
        console = Console(stderr=True, soft_wrap=True)
        console.print(
            f"error: {counts.bad_lines} lines hold no report and were passed over; mend them, or "
            "name their report with --column",
            style="red", markup=False, highlight=False,
        )  # fmt: skip
        raise typer.Exit(1)


def _show(summary: dict[str, Any], console: Console) -> None:
    written = ", ".join(f"{n} {label}" for label, n in sorted(summary["written"].items()))
    console.print(f"{summary['read']} reports read; written to {summary['out']}: {written}")
    for code, unused in summary["unused"].items():
        console.print(
            f"not used: {unused['count']} {code.replace('_', ' ')} (first in line "
            f"{unused['first_line']})"
        )


def _operations(summary: dict[str, Any]) -> Table:
    table = Table("operation", "category", "made", "no place for it")
    for name, counted in summary["operations"].items():
        table.add_row(
            name, OPERATIONS[name].category, str(counted["made"]), str(counted["no_place"])
        )
    return table
