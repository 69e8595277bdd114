"""What an import reads one record as, and the account it gives of all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from negalign_train.feedback.fields import QuarantineError
from negalign_train.feedback.lines import RecordPlace
from negalign_train.feedback.schema import event_to_dict, parse_event
from negalign_train.vocabulary.errors import FeedbackError
from negalign_train.vocabulary.records import Event
from negalign_train.vocabulary.special_tokens import SPECIAL_TOKEN, without_special_tokens


@dataclass(frozen=True)
class ImportReport:
    """Where every line went: ``read = accepted + duplicate + quarantined + incomplete``.

    ``reasons`` counts the quarantined lines by code; ``newly_quarantined`` of them were not in
    quarantine before, and ``released`` older ones left it, mended. ``new_readers`` had no event in
    the log until now.
    """

    read: int = 0
    accepted: int = 0
    duplicate: int = 0
    quarantined: int = 0
    incomplete: int = 0
    newly_quarantined: int = 0
    released: int = 0
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
            released=self.released + other.released,
            reasons=dict(Counter(self.reasons) + Counter(other.reasons)),
            new_readers=self.new_readers + other.new_readers,
        )


@dataclass(frozen=True)
class Entry:
    """A record of an export as an event: ``event`` is set, or ``problem``, or neither (incomplete).

    ``num_bytes`` is what the record takes, so that batches stay small. ``counts_revisions`` is
    False where the source numbers no revisions: other content under a known id is then the next
    one. ``event_id`` is that of a refused record, where it could be read.
    """

    event: Event | None = None
    problem: QuarantineError | None = None
    place: RecordPlace | None = None
    event_id: str | None = None
    num_bytes: int = 0
    counts_revisions: bool = True


def entry_of_event(event: Event) -> Entry:
    """Checks an event made in this process against the schema.

    Raises:
        FeedbackError: it breaks the schema.
    """
    try:
        return Entry(event=parse_event(event_to_dict(event)))
    except QuarantineError as error:
        raise FeedbackError(f"event {event.event_id}: {error}; nothing was appended") from error


def checked_event(value: Any) -> Event:
    """A JSON value as an event in whose texts no control token stands.

    Raises:
        QuarantineError: with the codes of ``parse_event``, or ``special_token``.
    """
    event = parse_event(value)
    if not without_special_tokens([event]):
        raise QuarantineError(
            SPECIAL_TOKEN,
            "prompt, completion or edited holds a control token of a language model (such as "
            "<|eot_id|> or </s>), which would end or open a turn there; take it out of the export",
        )
    return event
