"""One batch of an import: which events are new, which are known, which go to quarantine."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import BigInteger, Connection, Integer, Text, column, select, table

from negalign_train.feedback.entries import Entry, ImportReport
from negalign_train.feedback.fields import QuarantineError
from negalign_train.feedback.quarantine import Refused, quarantine_entries, release_events
from negalign_train.feedback.schema import event_to_dict
from negalign_train.storage.chain import append_rows
from negalign_train.storage.fingerprint import canonical_json
from negalign_train.vocabulary.records import Event

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


@dataclass(frozen=True)
class NewEvent:
    """An event that enters the log: ``content`` is its canonical JSON, with its fingerprint."""

    event: Event
    entry: Entry
    content: str
    fingerprint: str


@dataclass
class BatchPlan:
    """What a batch will change."""

    accepted: list[NewEvent] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    duplicate: int = 0
    incomplete: int = 0


@dataclass
class Importing:
    """One import while it runs: its number, and the readers it has met so far."""

    number: int
    origin: str
    now: str
    readers: set[str] = field(default_factory=set)


def plan_batch(connection: Connection, entries: Sequence[Entry]) -> BatchPlan:
    """Compares a batch with the log, and its entries with each other, in order."""
    log = _LogPart(connection, entries)
    plan = BatchPlan()
    for entry in entries:
        if entry.problem is not None:
            plan.refused.append(Refused(entry))
        elif entry.event is None:
            plan.incomplete += 1
        else:
            try:
                new = log.compare(entry, entry.event)
            except QuarantineError as problem:
                refused = replace(entry, problem=problem, event_id=entry.event.event_id)
                plan.refused.append(Refused(refused))
                continue
            if new is None:
                plan.duplicate += 1
            else:
                plan.accepted.append(new)
                plan.refused = _mended_by(new.event, plan.refused)
    return plan


def _mended_by(event: Event, refused: list[Refused]) -> list[Refused]:
    if not any(item.entry.event_id == event.event_id for item in refused):
        return refused
    return [
        replace(item, mended=item.mended or item.entry.event_id == event.event_id)
        for item in refused
    ]


class _LogPart:
    """What the log holds of the events of one batch, and what the batch has added so far."""

    def __init__(self, connection: Connection, entries: Sequence[Entry]) -> None:
        self._connection = connection
        self._fingerprints: dict[str, dict[int, str]] = defaultdict(dict)
        self._added: dict[str, list[str]] = defaultdict(list)
        ids = {entry.event.event_id for entry in entries if entry.event is not None}
        columns = EVENTS.c
        query = select(columns.event_id, columns.revision, columns.fingerprint)
        for event_id, revision, digest in connection.execute(
            query.where(columns.event_id.in_(ids))
        ):
            self._fingerprints[event_id][revision] = digest

    def compare(self, entry: Entry, event: Event) -> NewEvent | None:
        """The event as it enters the log; None where it is there.

        Raises:
            QuarantineError: the id stands for another event: another reader's or system's
                (``event_of_another``), or this revision's other content (``revision_conflict``).
        """
        new = _new_event(entry, event)
        revisions = self._fingerprints[event.event_id]
        if revisions.get(event.revision) == new.fingerprint:
            return None
        if revisions:
            stored = self._stored(event.event_id)
            _check_owner(event, stored[0])
            if not entry.counts_revisions:
                if any(_unnumbered(each) == _unnumbered(new.content) for each in stored):
                    return None
                new = _new_event(entry, replace(event, revision=max(revisions) + 1))
            elif event.revision in revisions:
                raise QuarantineError(
                    "revision_conflict",
                    f"revision {event.revision} of event {event.event_id} is in the log with other "
                    "content; export the change as a higher revision",
                )
        revisions[new.event.revision] = new.fingerprint
        self._added[event.event_id].append(new.content)
        return new

    def _stored(self, event_id: str) -> list[str]:
        """Every revision of an event as JSON, at least one."""
        query = select(EVENTS.c.event).where(EVENTS.c.event_id == event_id)
        return [*self._connection.execute(query).scalars(), *self._added[event_id]]


def _new_event(entry: Entry, event: Event) -> NewEvent:
    content = canonical_json(event_to_dict(event))
    return NewEvent(event, entry, content, hashlib.sha256(content.encode()).hexdigest())


def _check_owner(event: Event, stored: str) -> None:
    """An id belongs to the system and the reader that used it first: nobody else can revise it."""
    first = json.loads(stored)
    if (first["source"]["system"], first["reader"]["id"]) != (event.source.system, event.reader.id):
        raise QuarantineError(
            "event_of_another",
            f"event {event.event_id} is in the log from another reader or another system; give "
            "events of different readers and systems different ids, such as the system's name "
            "before the number",
        )


def _unnumbered(content: str) -> str:
    return canonical_json(json.loads(content) | {"revision": 1})


def write_batch(connection: Connection, plan: BatchPlan, importing: Importing) -> ImportReport:
    """Writes what ``plan`` says. A line that is in quarantine already is not added again."""
    events = [item.event for item in plan.accepted]
    new_readers = _new_readers(connection, events, importing.readers)
    append_rows(connection, EVENTS, [_event_row(item, importing) for item in plan.accepted])
    released = release_events(connection, {event.event_id for event in events})
    newly = quarantine_entries(connection, plan.refused, importing.number, importing.now)
    problems = [item.entry.problem for item in plan.refused]
    return ImportReport(
        read=len(plan.accepted) + plan.duplicate + len(plan.refused) + plan.incomplete,
        accepted=len(plan.accepted),
        duplicate=plan.duplicate,
        quarantined=len(plan.refused),
        incomplete=plan.incomplete,
        newly_quarantined=newly,
        released=released,
        reasons=dict(Counter(problem.code for problem in problems if problem is not None)),
        new_readers=new_readers,
    )


def _new_readers(connection: Connection, events: Sequence[Event], met: set[str]) -> tuple[str, ...]:
    """Who has no event in the log; each reader is looked up once in an import."""
    unmet = [name for name in dict.fromkeys(e.reader.id for e in events) if name not in met]
    query = select(EVENTS.c.sequence).limit(1)
    new = [
        name
        for name in unmet
        if connection.execute(query.where(EVENTS.c.reader_id == name)).first() is None
    ]
    met.update(unmet)
    return tuple(new)


def _event_row(item: NewEvent, importing: Importing) -> dict[str, Any]:
    place = item.entry.place
    return {
        "event_id": item.event.event_id,
        "revision": item.event.revision,
        "case_id": item.event.case_id,
        "reader_id": item.event.reader.id,
        "grade": item.event.grade,
        "fingerprint": item.fingerprint,
        "event": item.content,
        "origin": importing.origin if place is None else place.origin,
        "line_number": None if place is None else place.number,
        "byte_offset": None if place is None else place.offset,
        "ingested_at": importing.now,
    }
