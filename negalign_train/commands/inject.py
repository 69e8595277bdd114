"""``negalign inject``: a labelled data set of erroneous reports, made from right ones."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from negalign_train.cases.report_files import SourceReport
from negalign_train.commands.files.injected_files import Handle, InjectionCounts, write_data_set
from negalign_train.commands.files.score_files import STANDARD
from negalign_train.commands.support.output import JsonOption, print_json, print_table
from negalign_train.progress import no_tick, now_and_then, time_left
from negalign_train.recipe.candidate import MAX_SEED
from negalign_train.simulate.injection.data_set import (
    InjectionSettings,
    Labeller,
    NotLabelled,
    categories_of,
    injected_line,
    parse_operations,
)
from negalign_train.simulate.injection.reports import OPERATIONS
from negalign_train.vocabulary.errors import UsageError
from negalign_train.vocabulary.taxonomy import taxonomy


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
    from_model: Annotated[
        str | None,
        typer.Option(help="Let a model make the errors: DIR, DIR#ADAPTER, embedded or URL#MODEL."),
    ] = None,
    verified_only: Annotated[
        bool, typer.Option(help="Keep of a model's errors those that the rules see.")
    ] = False,
    temperature: Annotated[
        float, typer.Option(min=0, max=5, help="Of the model; 0 is greedy.")
    ] = 0.8,
    max_new_tokens: Annotated[
        int, typer.Option(min=1, help="Longest answer of the model, in tokens.")
    ] = 256,
    batch_size: Annotated[int, typer.Option(min=1, help="Questions answered together.")] = 8,
    as_json: JsonOption = False,
) -> None:
    """Put labelled errors into right reports: material to train judges on, and to measure them.

    Each line holds the report as reference, the erroneous one as candidate, its nine severities,
    and every error with operation, category, severity and span. What gives no line is counted.

    With **--from-model** a model is asked for one error of one category in each report. Its answer
    must be a report that differs, and the line says whether the rules see the error.

    Exit codes: 0 written, 1 an error or lines that hold no report, 2 wrong usage, 130 interrupted.

    Example: `negalign inject reports.jsonl --out injected.jsonl --operations R2,R5 --errors 2`
    """
    settings = InjectionSettings(parse_operations(operations), errors, untouched, reworded, seed)
    if out == STANDARD and as_json:
        raise UsageError("--json prints the summary where --out - prints the data set; name a file")
    labeller = Labeller(settings)
    if from_model is None:
        if verified_only:
            raise UsageError("--verified-only goes with --from-model; injected errors are known")
        counts = _written(reports, out, column, _injecting(labeller), settings)
        rows = _injected_rows(labeller)
    else:
        if errors != 1:
            raise UsageError("a model is asked for one error a report; leave out --errors")
        asked = _Asked(from_model, verified_only, temperature, max_new_tokens, batch_size)
        counts, rows = _elicited(asked, labeller, reports, out, column)
    by = "operations" if from_model is None else "categories"
    summary = {"out": str(out), "seed": seed, **counts.to_json(), by: rows}
    if as_json:
        print_json(summary)
    else:
        _show(summary, Console(stderr=out == STANDARD, soft_wrap=True))
        if out != STANDARD:
            print_table(_table(rows))
    _exit_on_bad_lines(counts)


@dataclass(frozen=True)
class _Asked:
    """The options of ``--from-model``."""

    spec: str
    verified_only: bool
    temperature: float
    max_new_tokens: int
    batch_size: int


Rows = Mapping[str, Mapping[str, int]]


def _elicited(
    asked: _Asked, labeller: Labeller, reports: Path, out: Path, column: str | None
) -> tuple[InjectionCounts, Rows]:
    from negalign_train.quiet import quieten

    quieten()
    # Heavy: torch and transformers.
    from negalign_train.commands.files.elicited import Elicitor, open_asker
    from negalign_train.generation.askers import AskSettings

    ask = AskSettings(asked.max_new_tokens, asked.temperature, asked.batch_size)
    settings = labeller.settings
    elicitor = Elicitor(
        open_asker(asked.spec, ask),
        categories_of(settings.operations),
        settings.seed,
        asked.batch_size,
        asked.verified_only,
    )

    def handle(source: Iterator[SourceReport], counts: InjectionCounts) -> Iterator[dict[str, Any]]:
        return elicitor.lines(source, counts, labeller)

    return _written(reports, out, column, handle, settings), elicitor.summary()


def _injecting(labeller: Labeller) -> Handle:
    def handle(source: Iterator[SourceReport], counts: InjectionCounts) -> Iterator[dict[str, Any]]:
        for report in source:
            made = labeller.label(report)
            if isinstance(made, NotLabelled):
                counts.refuse(made.reason, report.number)
            else:
                yield injected_line(made, labeller.settings.seed)

    return handle


def _injected_rows(labeller: Labeller) -> Rows:
    return {
        name: {"made": labeller.made[name], "no_place": labeller.no_place[name]}
        for name in labeller.settings.operations
    }


def _written(
    reports: Path, out: Path, column: str | None, handle: Handle, settings: InjectionSettings
) -> InjectionCounts:
    """The data set written, with a bar on the terminal."""
    console = Console(stderr=True, soft_wrap=True)
    size = reports.stat().st_size if reports.is_file() else 0
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    log = now_and_then(lambda line: console.print(line, markup=False, highlight=False))
    tick = no_tick if console.is_terminal or not size else time_left("reports", log)
    try:
        with Progress(
            *columns, console=console, transient=True, disable=not console.is_terminal,
            redirect_stdout=False, redirect_stderr=False,
        ) as bars:  # fmt: skip
            task = bars.add_task("reports", total=size or None)

            def progress(position: int) -> None:
                bars.update(task, completed=position)
                tick(position, size)

            only_controls = settings.untouched + settings.reworded == 1
            return write_data_set(
                reports, out, column, handle, progress, only_controls=only_controls
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


def _table(rows: Rows) -> Table:
    names = {category.id: category.name for category in taxonomy()}
    columns = list(next(iter(rows.values())))
    table = Table("error", "category", *(column.replace("_", " ") for column in columns))
    for name, counted in rows.items():
        category = names[name] if name in names else OPERATIONS[name].category
        table.add_row(name, category, *(str(counted[column]) for column in columns))
    return table
