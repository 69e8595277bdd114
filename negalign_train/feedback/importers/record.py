"""What a format makes of a file: records, which the mapping turns into events."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from negalign_train.feedback.documents import RawRecord, Shape
from negalign_train.feedback.fields import QuarantineError, kind_of
from negalign_train.feedback.importers.mapping.apply import FieldMapping
from negalign_train.feedback.lines import RecordPlace
from negalign_train.storage.fingerprint import canonical_json
from negalign_train.vocabulary.errors import FeedbackError


@dataclass(frozen=True)
class Record:
    """One graded report of an export, in the export's own words; or why it is none.

    ``num_bytes`` is about what it takes in memory.
    """

    place: RecordPlace
    fields: Mapping[str, Any] = field(default_factory=dict)
    problem: QuarantineError | None = None
    num_bytes: int = 0


@dataclass(frozen=True)
class ReadingRules:
    """How an export is read: the mapping, and ``pseudonym(kind, id)`` for ids that name people."""

    mapping: FieldMapping
    pseudonym: Callable[[str, str], str]


@dataclass(frozen=True)
class Sample:
    """The beginning of a file, for telling formats apart. ``keys`` are the first record's."""

    shape: Shape
    first: Any
    head: str

    @property
    def keys(self) -> frozenset[str]:
        first = self.first
        return frozenset(map(str, first)) if isinstance(first, Mapping) else frozenset()


@dataclass(frozen=True)
class Format:
    """One format of export.

    ``looks_like`` says whether a file is of it, ``records`` reads it, ``mapping`` says where its
    fields stand. ``joins_files``: records of several files belong together. ``gives_events`` is
    False where the records say nothing about a report.
    """

    name: str
    title: str
    looks_like: Callable[[Sample], bool]
    records: Callable[[Iterable[RawRecord], ReadingRules], Iterator[Record]]
    mapping: FieldMapping
    joins_files: bool = False
    gives_events: bool = True
    warning: Callable[[Sample], str | None] = lambda _: None


def record_of(
    item: RawRecord, fields: Mapping[str, Any], problem: QuarantineError | None = None
) -> Record:
    """A record at the place of ``item``; an item may hold several, told apart by their content."""
    content = canonical_json(fields).encode("utf-8", "surrogatepass")
    digest = hashlib.sha256(content).hexdigest()
    place = RecordPlace(item.origin, item.number, item.offset, digest)
    return Record(place, fields, problem, len(content))


def undecoded(item: RawRecord) -> Record:
    """The record of an item that could not be decoded."""
    digest = hashlib.sha256(item.raw.removesuffix(b"\n")).hexdigest()
    return Record(RecordPlace(item.origin, item.number, item.offset, digest), {}, item.problem)


def malformed(item: RawRecord, what: str) -> FeedbackError:
    """An export that is not built as its format says; it is refused as a whole."""
    return FeedbackError(
        f"{item.origin}, record {item.number}: {what}; export it again, or give its --format. "
        "Nothing was imported"
    )


def object_of(item: RawRecord, kind: str) -> Mapping[str, Any]:
    """The item as an object.

    Raises:
        FeedbackError: it is none.
    """
    if not isinstance(item.value, Mapping):
        raise malformed(item, f"{kind} must be an object, not {kind_of(item.value)}")
    return item.value


def member(item: RawRecord, value: Mapping[str, Any], name: str, kind: type, where: str) -> Any:
    """A field that the format says is there.

    Raises:
        FeedbackError: it is missing or of another type.
    """
    if name not in value:
        raise malformed(item, f"{where} lacks {name!r}")
    found = value[name]
    if not isinstance(found, kind):
        raise malformed(
            item, f"{where}: {name!r} must be of type {kind.__name__}, not {kind_of(found)}"
        )
    return found
