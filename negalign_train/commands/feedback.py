"""``negalign feedback``: the log of graded reports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from negalign_train.commands.files.feedback_export import EXPORT_FORMATS, export_events
from negalign_train.commands.files.feedback_import import import_exports, show_previews
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
from negalign_train.feedback.importers.formats import AUTO, FORMATS
from negalign_train.feedback.importers.mapping.apply import FieldMapping
from negalign_train.feedback.importers.mapping.file import read_mapping, set_mapping
from negalign_train.feedback.importers.run import open_exports
from negalign_train.feedback.json_schema import event_json_schema
from negalign_train.feedback.peer_review import RADPEER_SCORES, PeerStats
from negalign_train.feedback.stats import GRADES, LogStats, log_stats
from negalign_train.feedback.store import FeedbackStore
from negalign_train.storage.database import open_for_reading
from negalign_train.storage.pseudonyms import workspace_pseudonyms
from negalign_train.vocabulary.errors import UsageError

app = typer.Typer(
    help="The feedback log: import, look at, export; the schema of an event.", no_args_is_help=True
)


@app.command("import")
def import_(
    files: Annotated[
        list[Path],
        typer.Argument(help="Exports, plain or gzip; - for standard input; an Argilla folder."),
    ],
    format_name: Annotated[
        str, typer.Option("--format", help=f"{AUTO}, {', '.join(FORMATS)}.")
    ] = AUTO,
    map_file: Annotated[
        Path | None,
        typer.Option("--map", help="YAML file that says which field is which (docs/importing.md)."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="NAME=VALUE for the whole file; may be given several times."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be imported, and import nothing.")
    ] = False,
    show_text: Annotated[
        bool, typer.Option("--show-text", help="With --dry-run: show how the texts begin.")
    ] = False,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    database_url: DatabaseUrlOption = None,
    strict: Annotated[
        bool,
        typer.Option("--strict", help="Exit with 1 if any line was quarantined; the others stay."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Append graded reports to the log; the workspace is made if there is none.

    Reads its own JSON Lines and what other systems export; the format is recognised. Importing a
    file twice adds nothing. Lines that cannot enter the log are quarantined with their place and
    reason (`negalign feedback quarantine`) and do not fail the import, but with **--strict**; they
    leave the quarantine when the mended file is imported.

    Example: `negalign feedback import data/sample_feedback.jsonl --workspace my-workspace`
    """
    if format_name not in (AUTO, *FORMATS):
        raise UsageError(f"--format {format_name}: give {AUTO} or one of {', '.join(FORMATS)}")
    changes = FieldMapping() if map_file is None else read_mapping(map_file)
    changes = changes.changed_by(set_mapping(settings or []))
    pseudonym = workspace_pseudonyms(workspace, create=not dry_run)
    exports = open_exports(files, format_name, changes, pseudonym)
    if dry_run:
        show_previews(exports, show_text=show_text, as_json=as_json)
        return
    records = [export.survey().records for export in exports]  # refuses before anything is written
    store = FeedbackStore(open_engine(workspace, database_url, create=True))
    import_exports(store, exports, records, strict=strict, as_json=as_json)


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
    peers = store.peer_stats()
    if as_json:
        print_json(asdict(statistics) | {"peer_reviews": [asdict(each) for each in peers]})
        return
    _print_stats(statistics)
    if peers:
        _print_peers(peers)


@app.command()
def quarantine(
    resolved: Annotated[
        bool,
        typer.Option("--resolved", help="Also those that left it: mended, or gone from the file."),
    ] = False,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    database_url: DatabaseUrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the lines that did not enter the log, each with its place and reason. A line leaves the
    list when its event enters the log, or when its file is imported again without it.

    Example: `negalign feedback quarantine --workspace my-workspace`
    """
    store = FeedbackStore(open_engine(workspace, database_url, opened=open_for_reading))
    lines = store.quarantine(resolved_too=resolved)
    if as_json:
        print_json([asdict(line) for line in lines])
        return
    table = Table("File", "Line", "Byte", "Reason", "What is wrong", "SHA-256")
    if resolved:
        table.add_column("Now")
    for line in lines:
        cells = [
            line.origin,
            str(line.line_number),
            str(line.byte_offset),
            line.reason,
            line.message,
            line.raw_sha256[:12],
        ]
        table.add_row(*cells, *([line.resolution or "stands"] if resolved else []))
    print_table(table)


@app.command()
def export(
    path: Annotated[
        Path,
        typer.Argument(help="File to write (argilla: a folder); replaced if it exists."),
    ],
    format_name: Annotated[
        str, typer.Option("--format", help=f"{', '.join(EXPORT_FORMATS)}.")
    ] = EXPORT_FORMATS[0],
    newest: Annotated[
        bool,
        typer.Option("--newest", help="jsonl: only the newest revision of each event."),
    ] = False,
    without_answers: Annotated[
        bool,
        typer.Option(
            "--without-answers", help="label-studio, argilla: the reports without their grades."
        ),
    ] = False,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    database_url: DatabaseUrlOption = None,
) -> None:
    """Write the log for another system.

    **jsonl** is what `negalign feedback import` reads back. **trl-preference** and **trl-kto** are
    chat messages that TRL's trainers take as they are, as JSON Lines, or Parquet where the file's
    name says so. **label-studio** and **argilla** are tasks with the readers' answers as
    pre-annotations, and the labelling configuration that fits them.

    Example: `negalign feedback export log.jsonl --newest --workspace my-workspace`
    """
    if format_name not in EXPORT_FORMATS:
        raise UsageError(f"--format {format_name}: give one of {', '.join(EXPORT_FORMATS)}")
    store = FeedbackStore(open_engine(workspace, database_url, opened=open_for_reading))
    if format_name == "jsonl":
        count = store.export_jsonl(path, newest_only=newest)
        typer.echo(f"{count} events written to {path}")
        return
    events = [event for _, event in store.events()]
    for line in export_events(path, format_name, events, with_answers=not without_answers):
        typer.echo(line)


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


def _print_stats(statistics: LogStats) -> None:
    typer.echo(
        f"{statistics.events} events on {statistics.cases} cases, {statistics.threads} threads, "
        f"{statistics.edited} with an edit{_edit_types(statistics)}"
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


def _edit_types(statistics: LogStats) -> str:
    kinds = ", ".join(f"{name} {n}" for name, n in statistics.edit_types.items())
    return f" ({kinds})" if kinds else ""


def _print_peers(peers: Sequence[PeerStats]) -> None:
    typer.echo("RADPEER grades that peers gave (not trained on):")
    table = Table("Reader", "Reviews", *RADPEER_SCORES, "Discrepant", "Significant")
    for peer in peers:
        table.add_row(
            peer.reader_id,
            str(peer.reviews),
            *(str(peer.grades.get(score, 0)) for score in RADPEER_SCORES),
            f"{peer.discrepant / peer.reviews:.0%}",
            f"{peer.significant / peer.reviews:.0%}",
        )
    print_table(table)
