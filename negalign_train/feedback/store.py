"""The append-only feedback log: every revision of every event, in ingest order."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, Select, func, select

from negalign_train.feedback.batch import (
    EVENTS,
    QUARANTINE,
    ImportReport,
    entry_of_event,
    entry_of_line,
    plan_batch,
    write_batch,
)
from negalign_train.feedback.lines import read_lines
from negalign_train.feedback.schema import event_to_dict, parse_event
from negalign_train.storage.database import DatabaseError, open_database, reading, writing
from negalign_train.storage.workspace import replacing
from negalign_train.vocabulary.errors import FeedbackError
from negalign_train.vocabulary.records import Event

_BATCH_LINES = 200
_QUARANTINE_COLUMNS = ("origin", "line_number", "byte_offset", "reason", "raw_sha256", "message")


@dataclass(frozen=True)
class QuarantinedLine:
    """One line that did not enter the log: its place, why, and the SHA-256 of its bytes."""

    origin: str
    line_number: int
    byte_offset: int
    reason: str
    raw_sha256: str
    message: str


class FeedbackStore:
    """The log of one workspace.

    Args:
        database: an open engine, or a URL that is opened (and created) here.
        clock: the time of ingest, with its time zone.
    """

    def __init__(
        self,
        database: Engine | str | URL,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        with _as_feedback_error():
            self._engine = database if isinstance(database, Engine) else open_database(database)
        self._clock = clock

    def import_jsonl(self, path: Path) -> ImportReport:
        """Appends the events of a JSONL file, batch by batch, each batch in one transaction.

        A line that cannot enter the log goes to quarantine with its place and reason. A last line
        without newline that is not JSON yet counts as incomplete: its writer may still be busy,
        and the next import reads it again. Importing a file twice adds nothing.

        Raises:
            FeedbackError: the file or the database cannot be used. Batches already imported stay;
                the same import then goes on from there.
        """
        origin = str(path.resolve())
        report = ImportReport()
        lines = read_lines(path)
        while batch := [entry_of_line(line) for line in islice(lines, _BATCH_LINES)]:
            with self._writing() as connection:
                plan = plan_batch(connection, batch)
                written = write_batch(connection, plan, origin, self._clock().isoformat())
            report = report.plus(written)  # after the commit: nothing undone is reported
        return report

    def append(self, events: Sequence[Event], source: str) -> ImportReport:
        """Appends events made in this process, all in one transaction or none.

        The log keeps what the reader said; a scorer's severities are not stored here.

        Raises:
            FeedbackError: an event breaks the schema, or its revision is there with other content.
        """
        entries = [entry_of_event(event) for event in events]
        with self._writing() as connection:
            plan = plan_batch(connection, entries)
            for entry in plan.quarantined:
                raise FeedbackError(f"{entry.problem}; nothing was appended") from entry.problem
            return write_batch(connection, plan, source, self._clock().isoformat())

    def events(self, after_sequence: int = 0) -> list[tuple[int, Event]]:
        """``(sequence, event)`` of the newest revision of each event, in ingest order.

        Only those whose newest revision came in after ``after_sequence``.
        """
        with self._reading() as connection:
            return list(_stream(connection, _newest().where(EVENTS.c.sequence > after_sequence)))

    def last_sequence(self) -> int:
        """Sequence number of the last row of the log; 0 when it is empty."""
        with self._reading() as connection:
            return int(connection.execute(select(func.max(EVENTS.c.sequence))).scalar() or 0)

    def reader_ids(self) -> frozenset[str]:
        """Everyone who graded something, in whichever revision."""
        with self._reading() as connection:
            return frozenset(connection.execute(select(EVENTS.c.reader_id).distinct()).scalars())

    def quarantine(self) -> list[QuarantinedLine]:
        """Every quarantined line, in the order of arrival."""
        query = select(*(QUARANTINE.c[name] for name in _QUARANTINE_COLUMNS))
        with self._reading() as connection:
            rows = connection.execute(query.order_by(QUARANTINE.c.sequence))
            return [QuarantinedLine(*row) for row in rows]

    def export_jsonl(self, path: Path, *, newest_only: bool = False) -> int:
        """Writes the log as JSONL, whole or not at all; returns the number of lines.

        All revisions in ingest order, so that importing the file elsewhere gives the same log;
        with ``newest_only`` the newest revision of each event.
        """
        query = _newest() if newest_only else select(EVENTS.c.sequence, EVENTS.c.event)
        count = 0
        try:
            with (
                self._reading() as connection,
                replacing(path) as temporary,
                temporary.open("w", encoding="utf-8", newline="\n") as stream,
            ):
                for _, event in _stream(connection, query):
                    stream.write(json.dumps(event_to_dict(event), ensure_ascii=False) + "\n")
                    count += 1
        except OSError as error:
            raise FeedbackError(
                f"{path}: cannot be written ({error.strerror}); nothing was changed there. "
                "Choose another path or free space"
            ) from error
        return count

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with _as_feedback_error(), reading(self._engine) as connection:
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        with _as_feedback_error(), writing(self._engine) as connection:
            yield connection


@contextmanager
def _as_feedback_error() -> Iterator[None]:
    try:
        yield
    except DatabaseError as error:
        raise FeedbackError(f"feedback log: {error}") from error


def _newest() -> Select[Any]:
    """Sequence and JSON of each event's newest revision; a late older revision changes nothing."""
    other = EVENTS.alias()
    newest = (
        select(func.max(other.c.revision))
        .where(other.c.event_id == EVENTS.c.event_id)
        .scalar_subquery()
    )
    return select(EVENTS.c.sequence, EVENTS.c.event).where(EVENTS.c.revision == newest)


def _stream(connection: Connection, query: Select[Any]) -> Iterator[tuple[int, Event]]:
    rows = connection.execution_options(yield_per=_BATCH_LINES).execute(
        query.order_by(EVENTS.c.sequence)
    )
    for sequence, text in rows:
        yield int(sequence), parse_event(json.loads(text))
