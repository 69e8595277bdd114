"""The quarantine: records that did not enter the log, each with its place and reason.

The table of the refused records is append-only and chained, like the log. Which of them still stand
is kept beside it: one leaves the quarantine when its event enters the log, or when its file is
imported again and no longer holds it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import (
    BigInteger,
    Connection,
    Integer,
    Text,
    bindparam,
    case,
    column,
    func,
    insert,
    null,
    select,
    table,
    update,
)

from negalign_train.feedback.entries import Entry
from negalign_train.storage.chain import append_rows, newest

Resolution = Literal["mended", "gone"]
"""Why a record is no longer in quarantine: its event is in the log, or its file no longer holds
it.
"""

QUARANTINE = table(
    "quarantine",
    column("sequence", BigInteger),
    column("origin", Text),
    column("line_number", Integer),
    column("byte_offset", BigInteger),
    column("reason", Text),
    column("raw_sha256", Text),
    column("message", Text),
    column("ingested_at", Text),
    column("chain", Text),
)
_STATE = table(
    "quarantine_state",
    column("sequence", BigInteger),
    column("event_id", Text),
    column("last_import", BigInteger),
    column("resolution", Text),
)


@dataclass(frozen=True)
class QuarantinedLine:
    """One line that did not enter the log: its place, why, and the SHA-256 of its bytes.

    ``resolution`` is None while the line stands.
    """

    origin: str
    line_number: int
    byte_offset: int
    reason: str
    raw_sha256: str
    message: str
    resolution: Resolution | None = None


@dataclass(frozen=True)
class Refused:
    """An entry for the quarantine. ``mended``: its event came later in the same batch."""

    entry: Entry
    mended: bool = False


def next_import(connection: Connection) -> int:
    """The number of a new import: larger than that of any import that refused something."""
    last = connection.execute(select(func.max(_STATE.c.last_import))).scalar()
    return int(last or 0) + 1


def quarantine_entries(
    connection: Connection, refused: Sequence[Refused], import_number: int, now: str
) -> int:
    """Inserts the entries that are not there yet; returns how many. Those that are there have been
    seen by this import, and stand again if they had gone.
    """
    rows = {}
    for item in refused:
        entry = item.entry
        assert entry.place is not None
        assert entry.problem is not None
        place = entry.place
        rows[place.origin, place.offset, place.sha256, entry.problem.code] = item
    known = _known_rows(connection, [key[:2] for key in rows])
    seen = [{"number": known[key]} for key in rows if key in known]
    if seen:
        connection.execute(
            update(_STATE)
            .where(_STATE.c.sequence == bindparam("number"))
            .values(
                last_import=import_number,
                resolution=case((_STATE.c.resolution == "gone", null()), else_=_STATE.c.resolution),
            ),
            seen,
        )
    fresh = [item for key, item in rows.items() if key not in known]
    first = newest(connection, QUARANTINE).sequence + 1
    append_rows(connection, QUARANTINE, [_row(item.entry, now) for item in fresh])
    if fresh:
        connection.execute(
            insert(_STATE),
            [
                {
                    "sequence": first + number,
                    "event_id": item.entry.event_id,
                    "last_import": import_number,
                    "resolution": "mended" if item.mended else None,
                }
                for number, item in enumerate(fresh)
            ],
        )
    return len(fresh)


def _row(entry: Entry, now: str) -> dict[str, object]:
    assert entry.place is not None
    assert entry.problem is not None
    return {
        "origin": entry.place.origin,
        "line_number": entry.place.number,
        "byte_offset": entry.place.offset,
        "reason": entry.problem.code,
        "raw_sha256": entry.place.sha256,
        "message": entry.problem.message,
        "ingested_at": now,
    }


def _known_rows(
    connection: Connection, places: Sequence[tuple[str, int]]
) -> dict[tuple[str, int, str, str], int]:
    columns = QUARANTINE.c
    query = select(
        columns.origin, columns.byte_offset, columns.raw_sha256, columns.reason, columns.sequence
    ).where(
        columns.origin.in_({origin for origin, _ in places}),
        columns.byte_offset.in_({offset for _, offset in places}),
    )
    return {tuple(row[:4]): row[4] for row in connection.execute(query)}


def release_events(connection: Connection, event_ids: Collection[str]) -> int:
    """Takes the refused records of these events out of quarantine; returns how many there were."""
    columns = _STATE.c
    standing = columns.resolution.is_(None) & columns.event_id.in_(event_ids)
    result = connection.execute(update(_STATE).where(standing).values(resolution="mended"))
    return int(result.rowcount)


def release_gone(connection: Connection, origin: str, import_number: int) -> int:
    """Takes out of quarantine what ``origin`` no longer held when this import read all of it."""
    columns = _STATE.c
    of_origin = select(QUARANTINE.c.sequence).where(QUARANTINE.c.origin == origin)
    result = connection.execute(
        update(_STATE)
        .where(
            columns.resolution.is_(None),
            columns.last_import < import_number,
            columns.sequence.in_(of_origin),
        )
        .values(resolution="gone")
    )
    return int(result.rowcount)


def quarantined_lines(connection: Connection, *, resolved_too: bool) -> list[QuarantinedLine]:
    """In the order of arrival; with ``resolved_too`` also those that are no longer there."""
    columns = QUARANTINE.c
    query = (
        select(
            columns.origin,
            columns.line_number,
            columns.byte_offset,
            columns.reason,
            columns.raw_sha256,
            columns.message,
            _STATE.c.resolution,
        )
        .select_from(QUARANTINE.outerjoin(_STATE, columns.sequence == _STATE.c.sequence))
        .order_by(columns.sequence)
    )
    if not resolved_too:
        query = query.where(_STATE.c.resolution.is_(None))
    return [QuarantinedLine(*row) for row in connection.execute(query)]
