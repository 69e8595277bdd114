"""One batch of an import: which events are new, which are known, which go to quarantine."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import BigInteger, Connection, Integer, Text, column, select, table

from negalign_train.feedback.fields import QuarantineError
from negalign_train.feedback.lines import MAX_EVENT_BYTES, RawLine, parse_line
from negalign_train.feedback.schema import event_to_dict, parse_event
from negalign_train.storage.chain import append_rows
from negalign_train.storage.fingerprint import canonical_json
from negalign_train.vocabulary.errors import FeedbackError
from negalign_train.vocabulary.records import Event
from negalign_train.vocabulary.special_tokens import SPECIAL_TOKEN, without_special_tokens

EVENTS = table(
    "events",
    column("sequence", BigInteger),
    column("event_id", Text),
    column("revision", Integer),
    column("case_id", Text),
    column("reader_id", Text),
    column("grade", Text),
    column("fingerprint", Text),
    column("event", Text),
    column("origin", Text),
    column("line_number", Integer),
    column("byte_offset", BigInteger),
    column("ingested_at", Text),
    column("chain", Text),
)
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


@dataclass(frozen=True)
class ImportReport:
    """Where every line went: ``read = accepted + duplicate + quarantined + incomplete``.

    ``reasons`` counts the quarantined lines by code; ``newly_quarantined`` of them were not in
    quarantine before. ``new_readers`` had no event in the log until now.
    """

    read: int = 0
    accepted: int = 0
    duplicate: int = 0
    quarantined: int = 0
    incomplete: int = 0
    newly_quarantined: int = 0
    reasons: Mapping[str, int] = field(default_factory=dict)
    new_readers: tuple[str, ...] = ()

    def plus(self, other: ImportReport) -> ImportReport:
        return ImportReport(
            read=self.read + other.read,
            accepted=self.accepted + other.accepted,
            duplicate=self.duplicate + other.duplicate,
            quarantined=self.quarantined + other.quarantined,
            incomplete=self.incomplete + other.incomplete,
            newly_quarantined=self.newly_quarantined + other.newly_quarantined,
            reasons=dict(Counter(self.reasons) + Counter(other.reasons)),
            new_readers=self.new_readers + other.new_readers,
        )


@dataclass(frozen=True)
class Entry:
    """A line or an event: ``event`` is set, or ``problem``, or neither (incomplete)."""

    event: Event | None = None
    problem: QuarantineError | None = None
    line: RawLine | None = None


@dataclass(frozen=True)
class NewEvent:
    """An event that enters the log: ``content`` is its canonical JSON, with its fingerprint."""

    event: Event
    line: RawLine | None
    content: str
    fingerprint: str


@dataclass(frozen=True)
class BatchPlan:
    """What a batch will change."""

    accepted: tuple[NewEvent, ...]
    quarantined: tuple[Entry, ...]
    duplicate: int
    incomplete: int


def entry_of_line(line: RawLine) -> Entry:
    """Reads a line. One without newline that is not JSON is incomplete, not wrong."""
    if line.content is None:
        problem = QuarantineError("line_too_long", f"more than {MAX_EVENT_BYTES} bytes")
        return Entry(problem=problem, line=line)
    try:
        event = parse_line(line.content)
        _refuse_special_tokens(event)
        return Entry(event=event, line=line)
    except QuarantineError as problem:
        torn = not line.ended and problem.code in ("not_utf8", "not_json")
        return Entry(problem=None if torn else problem, line=line)


def _refuse_special_tokens(event: Event) -> None:
    if not without_special_tokens([event]):
        raise QuarantineError(
            SPECIAL_TOKEN,
            "prompt, completion or edited holds a control token of a language model (such as "
            "<|eot_id|> or </s>), which would end or open a turn there; take it out of the export",
        )


def entry_of_event(event: Event) -> Entry:
    """Checks an event made in this process against the schema.

    Raises:
        FeedbackError: it breaks the schema.
    """
    try:
        return Entry(event=parse_event(event_to_dict(event)))
    except QuarantineError as error:
        raise FeedbackError(f"event {event.event_id}: {error}; nothing was appended") from error


def plan_batch(connection: Connection, entries: Sequence[Entry]) -> BatchPlan:
    """Compares a batch with the log, and its entries with each other, in order."""
    known = _known_fingerprints(connection, entries)
    accepted: list[NewEvent] = []
    quarantined = [entry for entry in entries if entry.problem is not None]
    duplicate = incomplete = 0
    for entry in entries:
        event = entry.event
        if event is None:
            incomplete += entry.problem is None
            continue
        content = canonical_json(event_to_dict(event))
        fingerprint = hashlib.sha256(content.encode()).hexdigest()
        stored = known.get((event.event_id, event.revision))
        if stored is None:
            known[event.event_id, event.revision] = fingerprint
            accepted.append(NewEvent(event, entry.line, content, fingerprint))
        elif stored == fingerprint:
            duplicate += 1
        else:
            quarantined.append(replace(entry, problem=_conflict(event)))
    return BatchPlan(tuple(accepted), tuple(quarantined), duplicate, incomplete)


def write_batch(
    connection: Connection, plan: BatchPlan, origin: str, ingested_at: str
) -> ImportReport:
    """Writes what ``plan`` says. A line that is in quarantine already is not added again."""
    new_readers = _new_readers(connection, [item.event for item in plan.accepted])
    rows = [_event_row(item, origin, ingested_at) for item in plan.accepted]
    append_rows(connection, EVENTS, rows)
    reasons = Counter(entry.problem.code for entry in plan.quarantined if entry.problem)
    return ImportReport(
        read=len(plan.accepted) + plan.duplicate + len(plan.quarantined) + plan.incomplete,
        accepted=len(plan.accepted),
        duplicate=plan.duplicate,
        quarantined=len(plan.quarantined),
        incomplete=plan.incomplete,
        newly_quarantined=_quarantine(connection, plan.quarantined, origin, ingested_at),
        reasons=dict(reasons),
        new_readers=new_readers,
    )


def _conflict(event: Event) -> QuarantineError:
    return QuarantineError(
        "revision_conflict",
        f"revision {event.revision} of event {event.event_id} is in the log with other content; "
        "export the change as a higher revision",
    )


def _known_fingerprints(
    connection: Connection, entries: Sequence[Entry]
) -> dict[tuple[str, int], str]:
    ids = {entry.event.event_id for entry in entries if entry.event is not None}
    columns = EVENTS.c
    query = select(columns.event_id, columns.revision, columns.fingerprint)
    rows = connection.execute(query.where(columns.event_id.in_(ids)))
    return {(event_id, revision): content for event_id, revision, content in rows}


def _new_readers(connection: Connection, events: Sequence[Event]) -> tuple[str, ...]:
    ids = list(dict.fromkeys(event.reader.id for event in events))
    query = select(EVENTS.c.reader_id).where(EVENTS.c.reader_id.in_(ids)).distinct()
    known = set(connection.execute(query).scalars())
    return tuple(reader for reader in ids if reader not in known)


def _event_row(item: NewEvent, origin: str, ingested_at: str) -> dict[str, Any]:
    return {
        "event_id": item.event.event_id,
        "revision": item.event.revision,
        "case_id": item.event.case_id,
        "reader_id": item.event.reader.id,
        "grade": item.event.grade,
        "fingerprint": item.fingerprint,
        "event": item.content,
        "origin": origin,
        "line_number": None if item.line is None else item.line.number,
        "byte_offset": None if item.line is None else item.line.offset,
        "ingested_at": ingested_at,
    }


def _quarantine(
    connection: Connection, entries: Sequence[Entry], origin: str, ingested_at: str
) -> int:
    """Inserts the rows that are not there yet; returns how many."""
    rows = [
        {
            "origin": origin,
            "line_number": entry.line.number,
            "byte_offset": entry.line.offset,
            "reason": entry.problem.code,
            "raw_sha256": entry.line.sha256,
            "message": entry.problem.message,
            "ingested_at": ingested_at,
        }
        for entry in entries
        if entry.line is not None and entry.problem is not None
    ]
    columns = QUARANTINE.c
    offsets = [row["byte_offset"] for row in rows]
    query = select(columns.byte_offset, columns.raw_sha256, columns.reason).where(
        columns.origin == origin, columns.byte_offset.in_(offsets)
    )
    known = {tuple(row) for row in connection.execute(query)}
    fresh = [
        row for row in rows if (row["byte_offset"], row["raw_sha256"], row["reason"]) not in known
    ]
    append_rows(connection, QUARANTINE, fresh)
    return len(fresh)
