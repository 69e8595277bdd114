"""``negalign feedback``: the log of graded reports."""

from __future__ import annotations

from dataclasses import asdict
from functools import reduce
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from negalign_train.commands.reference_pages import feedback_page
from negalign_train.commands.support.common import (
    DEFAULT_WORKSPACE,
    DatabaseUrlOption,
    JsonOption,
    WorkspaceOption,
    number,
    open_engine,
    print_json,
    print_table,
)
from negalign_train.feedback.batch import ImportReport
from negalign_train.feedback.json_schema import event_json_schema
from negalign_train.feedback.stats import GRADES, LogStats, log_stats
from negalign_train.feedback.store import FeedbackStore
from negalign_train.storage.database import open_for_reading
from negalign_train.vocabulary.errors import FeedbackError

_MANY_LOST = 0.1
"""A larger share of a file's lines in quarantine is said aloud."""
_TOP_REASONS = 3

app = typer.Typer(
    help="The feedback log: import, look at, export; the schema of an event.", no_args_is_help=True
)


@app.command("import")
def import_(
    files: Annotated[
        list[Path], typer.Argument(help="JSONL files, one negalign.feedback/1 event per line.")
    ],
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    database_url: DatabaseUrlOption = None,
    strict: Annotated[
        bool,
        typer.Option("--strict", help="Exit with 1 if any line was quarantined; the others stay."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Append the events of JSONL files to the log; the workspace is made if there is none.

    Importing a file twice adds nothing. Lines that cannot enter the log are quarantined with their
    place and reason (`negalign feedback quarantine`) and do not fail the import, but with
    **--strict**. A file that loses more than a tenth of its lines is named on standard error.

    Example: `negalign feedback import data/sample_feedback.jsonl --workspace my-workspace`
    """
    for file in files:
        if not file.is_file():
            raise FeedbackError(f"{file}: no such file; nothing was imported")
    store = FeedbackStore(open_engine(workspace, database_url, create=True))
    reports = [store.import_jsonl(file) for file in files]
    report = reduce(ImportReport.plus, reports)
    if as_json:
        print_json(asdict(report))
    else:
        _print_import(report)
    for file, part in zip(files, reports, strict=True):
        if part.quarantined > _MANY_LOST * part.read:
            typer.echo(_losses(file, part), err=True)
    if report.accepted + report.duplicate == 0:
        names = ", ".join(str(file) for file in files)
        raise FeedbackError(
            f"{names}: no line could be read as an event ({report.read} lines); give JSONL of "
            "negalign.feedback/1, and see `negalign feedback quarantine` for the reasons"
        )
    if strict and report.quarantined:
        raise FeedbackError(
            f"--strict: {report.quarantined} of {report.read} lines were quarantined "
            f"({_top(report)}); the {report.accepted + report.duplicate} others are in the log. "
            "Correct the export and import it again: what is there is not added twice"
        )


def _losses(file: Path, report: ImportReport) -> str:
    share = report.quarantined / report.read
    return (
        f"warning: {file}: {report.quarantined} of {report.read} lines ({share:.0%}) did not enter "
        f"the log: {_top(report)}; `negalign feedback quarantine` lists each with its place"
    )


def _top(report: ImportReport) -> str:
    """The most frequent reasons of the quarantine, most frequent first."""
    ordered = sorted(report.reasons.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{reason} {count}" for reason, count in ordered[:_TOP_REASONS])


@app.command()
def stats(
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    database_url: DatabaseUrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show who graded what: grades, severities and times, per reader and category, and which
    models wrote the reports.

    Example: `negalign feedback stats --workspace my-workspace`
    """
    store = FeedbackStore(open_engine(workspace, database_url, opened=open_for_reading))
    statistics = log_stats([event for _, event in store.events()])
    if as_json:
        print_json(asdict(statistics))
    else:
        _print_stats(statistics)


@app.command()
def quarantine(
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    database_url: DatabaseUrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the lines that did not enter the log, each with its place and reason.

    Example: `negalign feedback quarantine --workspace my-workspace`
    """
    store = FeedbackStore(open_engine(workspace, database_url, opened=open_for_reading))
    lines = store.quarantine()
    if as_json:
        print_json([asdict(line) for line in lines])
        return
    table = Table("File", "Line", "Byte", "Reason", "What is wrong", "SHA-256")
    for line in lines:
        table.add_row(
            line.origin,
            str(line.line_number),
            str(line.byte_offset),
            line.reason,
            line.message,
            line.raw_sha256[:12],
        )
    print_table(table)


@app.command()
def export(
    path: Annotated[Path, typer.Argument(help="JSONL file to write; replaced if it exists.")],
    newest: Annotated[
        bool, typer.Option("--newest", help="Only the newest revision of each event.")
    ] = False,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    database_url: DatabaseUrlOption = None,
) -> None:
    """Write the log as JSONL that `negalign feedback import` reads back.

    Example: `negalign feedback export log.jsonl --newest --workspace my-workspace`
    """
    store = FeedbackStore(open_engine(workspace, database_url, opened=open_for_reading))
    count = store.export_jsonl(path, newest_only=newest)
    typer.echo(f"{count} events written to {path}")


@app.command()
def schema(
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print the page docs/feedback.md instead.")
    ] = False,
) -> None:
    """Print the JSON Schema of an event, to check an export before it is imported.

    Example: `negalign feedback schema > event.schema.json`
    """
    if markdown:
        typer.echo(feedback_page(), nl=False)
    else:
        print_json(event_json_schema())


def _print_import(report: ImportReport) -> None:
    typer.echo(
        f"read {report.read} = accepted {report.accepted} + duplicate {report.duplicate} "
        f"+ quarantined {report.quarantined} + incomplete {report.incomplete}"
    )
    for reason, count in sorted(report.reasons.items()):
        typer.echo(f"  {reason}: {count}")
    if report.incomplete:
        typer.echo("  the last line was not complete yet; import the file again later")
    if report.new_readers:
        typer.echo(f"new readers: {', '.join(report.new_readers)}")


def _print_stats(statistics: LogStats) -> None:
    typer.echo(
        f"{statistics.events} events on {statistics.cases} cases, {statistics.threads} threads, "
        f"{statistics.edited} with an edit"
    )
    scored = statistics.events - statistics.unscored
    typer.echo(
        f"mean S {number(statistics.mean_severity)} over {scored} events with severities"
        + (
            f"; the scorer prices the other {statistics.unscored} in a cycle"
            if statistics.unscored
            else ""
        )
    )
    readers = Table("Reader", "Events", "Share", *GRADES, "Mean S", "Median s", "Near-duplicates")
    for reader in statistics.readers:
        readers.add_row(
            reader.reader_id,
            str(reader.events),
            f"{reader.share:.0%}",
            *(str(reader.grades[grade]) for grade in GRADES),
            number(reader.mean_severity),
            number(reader.median_seconds, 1),
            str(reader.near_duplicates),
        )
    categories = Table("Category", "Events", f"Mean severity of {scored}")
    for category in statistics.categories:
        categories.add_row(
            category.category, str(category.events), number(category.mean_severity, 3)
        )
    generators = Table("Base model", "Adapter", "Events", "Share")
    for generator in statistics.generators:
        generators.add_row(
            generator.base,
            generator.adapter or "none",
            str(generator.events),
            f"{generator.share:.0%}",
        )
    print_table(readers)
    print_table(categories)
    print_table(generators)
