"""The append-only feedback log: every revision of every event, in ingest order."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, Select, func, select

from negalign_train.feedback.batch import EVENTS, Importing, plan_batch, write_batch
from negalign_train.feedback.entries import Entry, ImportReport, entry_of_event
from negalign_train.feedback.peer_review import (
    PeerReview,
    PeerStats,
    append_reviews,
    peer_stats,
)
from negalign_train.feedback.quarantine import (
    QuarantinedLine,
    next_import,
    quarantined_lines,
    release_gone,
)
from negalign_train.feedback.schema import event_to_dict, parse_event
from negalign_train.storage.database import DatabaseError, open_database, reading, writing
from negalign_train.storage.workspace import replacing
from negalign_train.vocabulary.errors import FeedbackError
from negalign_train.vocabulary.records import Event

_BATCH_EVENTS = 2000
_BATCH_BYTES = 1 << 21
"""A batch ends at either bound: one event may hold thousands of marks."""
_READ_ROWS = 200


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

    def import_entries(
        self, entries: Iterable[Entry], origin: str, whole_files: Sequence[str] = ()
    ) -> Iterator[ImportReport]:
        """Appends the events of an export, batch by batch, each batch in one transaction, and
        reports each batch once it is on disk.

        An entry that cannot enter the log goes to quarantine with its place and reason. Importing
        an export twice adds nothing. What stands in quarantine from ``whole_files`` and is not
        among the entries leaves it at the end.

        Raises:
            FeedbackError: the export or the database cannot be used. Batches already imported stay;
                the same import then goes on from there.
        """
        importing = None
        for batch in _batches(entries):
            with self._writing() as connection:
                if importing is None:
                    importing = Importing(next_import(connection), origin, self._now())
                plan = plan_batch(connection, batch)
                written = write_batch(connection, plan, importing)
            yield written  # after the commit: nothing undone is reported
        with self._writing() as connection:
            number = next_import(connection) if importing is None else importing.number
            released = [release_gone(connection, file, number) for file in whole_files]
        yield ImportReport(released=sum(released))

    def append(self, events: Sequence[Event], source: str) -> ImportReport:
        """Appends events made in this process, all in one transaction or none.

        The log keeps what the reader said; a scorer's severities are not stored here.

        Raises:
            FeedbackError: an event breaks the schema, or its revision is there with other content.
        """
        with self._writing() as connection:
            return self.append_within(connection, events, source)

    def append_within(
        self, connection: Connection, events: Sequence[Event], source: str
    ) -> ImportReport:
        """As ``append``, in a writing transaction of the caller's on this store's database: what
        else it writes is kept or undone together with the events.

        Raises:
            FeedbackError: as ``append``.
        """
        entries = [entry_of_event(event) for event in events]
        plan = plan_batch(connection, entries)
        for item in plan.refused:
            problem = item.entry.problem
            raise FeedbackError(f"{problem}; nothing was appended") from problem
        importing = Importing(next_import(connection), source, self._now())
        return write_batch(connection, plan, importing)

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

    def quarantine(self, *, resolved_too: bool = False) -> list[QuarantinedLine]:
        """The lines in quarantine, in the order of arrival; with ``resolved_too`` those that have
        left it as well.
        """
        with self._reading() as connection:
            return quarantined_lines(connection, resolved_too=resolved_too)

    def append_reviews(self, reviews: Sequence[PeerReview], origin: str) -> int:
        """Appends grades that peers gave to readers; returns how many are new."""
        with self._writing() as connection:
            return append_reviews(connection, reviews, origin, self._now())

    def peer_stats(self) -> tuple[PeerStats, ...]:
        """Statistics of the readers whom peers have graded."""
        with self._reading() as connection:
            return peer_stats(connection)

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

    def _now(self) -> str:
        return self._clock().isoformat()

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with _as_feedback_error(), reading(self._engine) as connection:
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        with _as_feedback_error(), writing(self._engine) as connection:
            yield connection


def _batches(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    batch: list[Entry] = []
    num_bytes = 0
    for entry in entries:
        batch.append(entry)
        num_bytes += entry.num_bytes
        if len(batch) >= _BATCH_EVENTS or num_bytes >= _BATCH_BYTES:
            yield batch
            batch, num_bytes = [], 0
    if batch:
        yield batch


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
    rows = connection.execution_options(yield_per=_READ_ROWS).execute(
        query.order_by(EVENTS.c.sequence)
    )
    for sequence, text in rows:
        yield int(sequence), parse_event(json.loads(text))
