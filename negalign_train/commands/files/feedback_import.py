"""What `negalign feedback import` says: progress, the account of an import, and the dry run."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import reduce
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

from negalign_train.commands.support.output import print_json, print_table
from negalign_train.feedback.entries import Entry, ImportReport
from negalign_train.feedback.importers.radpeer import RADPEER, review_of
from negalign_train.feedback.importers.run import Export, Survey
from negalign_train.feedback.schema import event_to_dict
from negalign_train.feedback.store import FeedbackStore
from negalign_train.vocabulary.errors import FeedbackError
from negalign_train.vocabulary.records import Event

_MANY_LOST = 0.1
"""A larger share of a file's lines in quarantine is said aloud."""
_TOP_REASONS = 3
_SHOWN_CHARACTERS = 40
_QUIET_SECONDS = 2.0
_EVERY_SECONDS = 5.0
"""Between two lines of progress where there is no terminal."""
_MANY_READERS = 20


def import_exports(
    store: FeedbackStore,
    exports: Sequence[Export],
    records: Sequence[int],
    *,
    strict: bool,
    as_json: bool,
) -> None:
    """Imports the exports and gives account; ``records`` is how many each holds.

    Raises:
        FeedbackError: no line could be read, or ``strict`` and a line was quarantined.
    """
    try:
        reports = [_imported(store, e, n) for e, n in zip(exports, records, strict=True)]
    except KeyboardInterrupt:
        typer.echo("stopped; what was imported stays, and the same command goes on", err=True)
        raise typer.Exit(130) from None
    report = reduce(ImportReport.plus, reports)
    if as_json:
        print_json(asdict(report))
    else:
        _print_report(report)
    for export, part in zip(exports, reports, strict=True):
        for warning in export.warnings:
            typer.echo(f"warning: {warning}", err=True)
        if part.quarantined > _MANY_LOST * part.read:
            typer.echo(_losses(export.name, part), err=True)
    if report.accepted + report.duplicate == 0:
        names = ", ".join(export.name for export in exports)
        raise FeedbackError(
            f"{names}: no line could be read as an event ({report.read} lines); see `negalign "
            "feedback quarantine` for the reasons, and docs/importing.md for what can be read"
        )
    if strict and report.quarantined:
        raise FeedbackError(
            f"--strict: {report.quarantined} of {report.read} lines were quarantined "
            f"({_top(report)}); the {report.accepted + report.duplicate} others are in the log. "
            "Correct the export and import it again: what is there is not added twice"
        )


def _imported(store: FeedbackStore, export: Export, records: int) -> ImportReport:
    if export.format is RADPEER:
        return _imported_reviews(store, export)
    report = ImportReport()
    with _progress(export.name, records) as advance:
        parts = store.import_entries(export.entries(), export.name, export.origins)
        for part in parts:
            report = report.plus(part)
            advance(part.read)
    unmapped = export.survey().unmapped if export.mapped else {}
    if unmapped:
        typer.echo(f"note: {export.name}: nothing was read from {_names(unmapped)}", err=True)
    return report


def _imported_reviews(store: FeedbackStore, export: Export) -> ImportReport:
    """Grades of readers; rows that are none go to quarantine like any other line."""
    good, bad = [], []
    for record in export.records():
        if record.problem is None:
            good.append(review_of(record))
        else:
            bad.append(Entry(problem=record.problem, place=record.place))
    new = store.append_reviews(good, export.name)
    report = ImportReport(read=len(good), accepted=new, duplicate=len(good) - new)
    typer.echo(
        f"{export.name}: {len(good)} RADPEER grades are statistics of readers (`negalign feedback "
        "stats`); without the reports nothing can be trained on them",
        err=True,
    )
    return reduce(ImportReport.plus, store.import_entries(bad, export.name, export.origins), report)


def _names(counts: Any) -> str:
    shown = [f"{name} ({count})" for name, count in counts.most_common(8)]
    more = len(counts) - len(shown)
    return ", ".join(shown) + (f" and {more} other fields" if more > 0 else "")


@contextmanager
def _progress(name: str, total: int) -> Iterator[Any]:
    """``advance(n)``: after two seconds a line with the share done and the time left."""
    console = Console(stderr=True, soft_wrap=True)
    start = last = time.monotonic()
    done = 0
    with console.status("") as status:

        def advance(count: int) -> None:
            nonlocal done, last
            done += count
            now = time.monotonic()
            if now - start < _QUIET_SECONDS or not total:
                return
            left = (now - start) / max(done, 1) * max(total - done, 0)
            words = f"{done} of {total} ({done / total:.0%}), about {left:.0f} s left"
            if console.is_terminal:
                status.update(words)
            elif now - last >= _EVERY_SECONDS:
                last = now
                typer.echo(f"{name}: {words}", err=True)

        yield advance


def _losses(name: str, report: ImportReport) -> str:
    share = report.quarantined / report.read
    return (
        f"warning: {name}: {report.quarantined} of {report.read} lines ({share:.0%}) did not enter "
        f"the log: {_top(report)}; `negalign feedback quarantine` lists each with its place"
    )


def _top(report: ImportReport) -> str:
    """The most frequent reasons of the quarantine, most frequent first."""
    ordered = sorted(report.reasons.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{reason} {count}" for reason, count in ordered[:_TOP_REASONS])


def _print_report(report: ImportReport) -> None:
    typer.echo(
        f"read {report.read} = accepted {report.accepted} + duplicate {report.duplicate} "
        f"+ quarantined {report.quarantined} + incomplete {report.incomplete}"
    )
    for reason, count in sorted(report.reasons.items()):
        typer.echo(f"  {reason}: {count}")
    if report.incomplete:
        typer.echo("  the last line was not complete yet; import the file again later")
    if report.released:
        typer.echo(f"{report.released} lines left the quarantine: mended, or gone from their file")
    if report.new_readers:
        more = len(report.new_readers) - _MANY_READERS
        names = ", ".join(report.new_readers[:_MANY_READERS])
        typer.echo(f"new readers: {names}{f' and {more} more' if more > 0 else ''}")


def show_previews(exports: Sequence[Export], *, show_text: bool, as_json: bool) -> None:
    """What an import of the exports would do: outcomes, five events, fields that nothing is read
    from.
    """
    previews = [(export, export.preview()) for export in exports]
    if as_json:
        print_json([_preview_json(export, survey, show_text) for export, survey in previews])
        return
    for export, survey in previews:
        typer.echo(f"{export.name}: {export.format.name} ({export.format.title})")
        outcomes = ", ".join(f"{name} {n}" for name, n in survey.outcomes.most_common())
        typer.echo(f"records {survey.records}: {outcomes or 'none'}")
        for warning in export.warnings:
            typer.echo(f"warning: {warning}", err=True)
        if survey.events:
            print_table(_events_table(survey.events, show_text))
        if export.mapped and export.format is not RADPEER:
            unmapped = _names(survey.unmapped) if survey.unmapped else "none"
            typer.echo(f"fields that nothing is read from: {unmapped}")
    typer.echo("dry run: nothing was imported")


def _events_table(events: Sequence[Event], show_text: bool) -> Table:
    """A row for each field, a column for each event."""
    rows = [_flat(event, show_text) for event in events]
    table = Table("Field", *(f"Event {number}" for number in range(1, len(rows) + 1)))
    for name in rows[0]:
        table.add_row(name, *(row[name] for row in rows))
    return table


def _flat(event: Event, show_text: bool) -> dict[str, str]:
    value = event_to_dict(event)
    flat: dict[str, str] = {}
    for name, each in value.items():
        if isinstance(each, dict):
            flat |= {f"{name}.{inner}": _cell(deep) for inner, deep in each.items()}
        elif name in ("prompt", "completion", "edited"):
            flat[name] = _text_cell(each, show_text)
        elif name == "errors":
            flat[name] = "\n".join(_mark_cell(mark) for mark in each) or "–"
        else:
            flat[name] = _cell(each)
    return {name: flat.get(name, "–") for name in (*flat, "study_id", "patient_id", "edit_type")}


def _cell(value: Any) -> str:
    return "–" if value is None else str(value)


def _mark_cell(mark: dict[str, Any]) -> str:
    return f"{mark['category']} {_cell(mark['severity'])} {_cell(mark['span'])}"


def _text_cell(value: Any, show_text: bool) -> str:
    if value is None:
        return "–"
    if not isinstance(value, str):
        return f"{len(value)} messages"
    if not show_text:
        return f"{len(value)} characters"
    more = "…" if len(value) > _SHOWN_CHARACTERS else ""
    return value[:_SHOWN_CHARACTERS].replace("\n", " ") + more


def _preview_json(export: Export, survey: Survey, show_text: bool) -> dict[str, Any]:
    return {
        "files": [str(source.path) for source in export.sources],
        "format": export.format.name,
        "records": survey.records,
        "outcomes": dict(survey.outcomes),
        "unmapped": dict(survey.unmapped),
        "warnings": list(export.warnings),
        "events": [_flat(event, show_text) for event in survey.events],
    }
