"""The queue of drafts in the workspace's database: who reads which draft, and what was answered.

An answer becomes a feedback event in the transaction that takes its draft out of the queue, so
that a server which dies between the two cannot be.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Engine, func, insert, or_, select, update

from negalign_train.feedback.store import FeedbackStore
from negalign_train.review.drafts import (
    DRAFTS,
    Answer,
    QueuedDraft,
    QueueError,
    draft_of,
    event_id_of,
    row_of,
)
from negalign_train.storage.database import reading, writing
from negalign_train.storage.fingerprint import fingerprint
from negalign_train.vocabulary.records import Event, Reader, Source

LOCK_SECONDS = 1800.0
"""How long a draft waits for the reader who has it before another one may have it."""
SYSTEM = "negalign-review"
"""What events from the queue name as their source."""


@dataclass(frozen=True)
class Added:
    """How many drafts entered the queue, and how many were there."""

    queued: int
    known: int


@dataclass(frozen=True)
class Taken:
    """The event that an answer became; ``new`` is False where the same answer came before."""

    event_id: str
    revision: int
    new: bool


@dataclass(frozen=True)
class QueueState:
    """How many drafts wait, how many of them are locked for a reader, how many are answered."""

    waiting: int
    locked: int
    answered: int


class DraftQueue:
    """The drafts of one workspace.

    Args:
        engine: an open database, that of the feedback log.
        clock: gives the aware time.
    """

    def __init__(
        self, engine: Engine, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._log = FeedbackStore(engine, clock)

    def add(self, drafts: Iterable[QueuedDraft]) -> Added:
        """Queues drafts, all of them or none; one that was queued before stays as it is."""
        queued = known = 0
        with writing(self._engine) as connection:
            for draft in drafts:
                if _row(connection, draft.draft_id) is not None:
                    known += 1
                    continue
                row = row_of(draft, self._clock().isoformat())
                connection.execute(insert(DRAFTS), row)
                queued += 1
        return Added(queued, known)

    def known(self, draft_ids: Collection[str]) -> frozenset[str]:
        """Those of ``draft_ids`` that are or were in the queue."""
        with reading(self._engine) as connection:
            return frozenset(each for each in draft_ids if _row(connection, each) is not None)

    def claim(self, reader_id: str) -> QueuedDraft | None:
        """The draft this reader is at, or else the next one, locked for them; None where nothing
        waits. A repeat waits until the draft it is a copy of is answered.
        """
        now = self._clock().timestamp()
        columns = DRAFTS.c
        original = DRAFTS.alias()
        unanswered = (
            select(original.c.draft_id)
            .where(original.c.draft_id == columns.same_as, original.c.state == "waiting")
            .exists()
        )
        mine = (columns.reader_id == reader_id) & (columns.locked_until > now)
        free = or_(columns.locked_until.is_(None), columns.locked_until <= now)
        # An answer that was taken back belongs to its reader: the event has their name.
        own = or_(columns.revision == 0, columns.reader_id == reader_id)
        waiting = select(DRAFTS).where(columns.state == "waiting")
        order = (columns.priority.desc(), columns.draft_id)
        with writing(self._engine) as connection:
            row = (
                connection.execute(waiting.where(mine).order_by(*order).limit(1)).mappings().first()
            )
            if row is None:
                query = waiting.where(free, own, ~unanswered).order_by(*order).limit(1)
                row = connection.execute(query).mappings().first()
            if row is None:
                return None
            same = row["reader_id"] == reader_id and row["shown_at"] is not None
            _set(
                connection,
                row["draft_id"],
                reader_id=reader_id,
                locked_until=now + LOCK_SECONDS,
                shown_at=row["shown_at"] if same else now,
            )
            return draft_of(dict(row))

    def answer(self, draft_id: str, reader_id: str, answer: Answer) -> Taken:
        """Puts an answer into the feedback log and its draft out of the queue, both or neither.

        Raises:
            QueueError: no such draft, another reader has it, or it was answered otherwise.
            FeedbackError: the answer is no legal event; nothing was changed.
        """
        digest = fingerprint([reader_id, asdict(answer)])
        with writing(self._engine) as connection:
            row = _known_row(connection, draft_id)
            if row["state"] == "answered":
                if row["answer_sha256"] != digest:
                    raise QueueError(
                        f"draft {draft_id} has another answer already; go back to it to change it"
                    )
                return Taken(event_id_of(draft_id), row["revision"], new=False)
            if row["reader_id"] != reader_id:
                raise QueueError(
                    f"draft {draft_id} is not with reader {reader_id}: the lock ran out and "
                    "another reader has it, or it was never given out; ask for the next draft"
                )
            event = self._event(row, reader_id, answer)
            self._log.append_within(connection, [event], SYSTEM)
            _set(
                connection,
                draft_id,
                state="answered",
                revision=event.revision,
                locked_until=None,
                answer_sha256=digest,
            )
            return Taken(event.event_id, event.revision, new=True)

    def _event(self, row: Mapping[str, Any], reader_id: str, answer: Answer) -> Event:
        now = self._clock()
        seconds = answer.seconds
        if seconds is None:
            seconds = round(max(now.timestamp() - row["shown_at"], 0.0), 1)
        draft = draft_of(row)
        return Event(
            event_id=event_id_of(draft.draft_id),
            revision=row["revision"] + 1,
            case_id=draft.case_id,
            created_at=now.isoformat(),
            prompt=draft.prompt,
            completion=draft.draft,
            grade=answer.grade,
            reader=Reader(reader_id, seconds=seconds, saw_ai=answer.saw_ai),
            generator=draft.generator,
            source=Source(SYSTEM, draft.draft_id),
            errors=answer.errors,
            edited=answer.edited,
            thread_id=draft.thread_id,
            turn=draft.turn,
        )

    def reopen(self, draft_id: str, reader_id: str) -> None:
        """Gives a reader an answered draft back. The answer stands in the log until the next one,
        which is its event's next revision.

        Raises:
            QueueError: no such draft, not answered, or answered by somebody else.
        """
        now = self._clock().timestamp()
        with writing(self._engine) as connection:
            row = _known_row(connection, draft_id)
            if row["state"] != "answered" or row["reader_id"] != reader_id:
                raise QueueError(f"draft {draft_id} has no answer of reader {reader_id} to go to")
            _set(
                connection,
                draft_id,
                state="waiting",
                locked_until=now + LOCK_SECONDS,
                shown_at=now,
                answer_sha256=None,
            )

    def release(self, reader_id: str) -> int:
        """Unlocks what a reader has and did not answer; returns how many drafts that were."""
        columns = DRAFTS.c
        with writing(self._engine) as connection:
            done = connection.execute(
                update(DRAFTS)
                .where(columns.reader_id == reader_id, columns.state == "waiting")
                .values(locked_until=None, shown_at=None)
            )
            return int(done.rowcount)

    def state(self) -> QueueState:
        now = self._clock().timestamp()
        columns = DRAFTS.c
        waiting = columns.state == "waiting"
        with reading(self._engine) as connection:

            def count(*conditions: Any) -> int:
                query = select(func.count()).select_from(DRAFTS).where(*conditions)
                return int(connection.execute(query).scalar_one())

            return QueueState(
                waiting=count(waiting),
                locked=count(waiting, columns.locked_until > now),
                answered=count(columns.state == "answered"),
            )


def _row(connection: Connection, draft_id: str) -> Mapping[str, Any] | None:
    query = select(DRAFTS).where(DRAFTS.c.draft_id == draft_id)
    row = connection.execute(query).mappings().first()
    return None if row is None else dict(row)


def _known_row(connection: Connection, draft_id: str) -> Mapping[str, Any]:
    row = _row(connection, draft_id)
    if row is None:
        raise QueueError(f"draft {draft_id} is not in the queue; ask for the next draft")
    return row


def _set(connection: Connection, draft_id: str, **values: Any) -> None:
    connection.execute(update(DRAFTS).where(DRAFTS.c.draft_id == draft_id).values(**values))
