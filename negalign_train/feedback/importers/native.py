"""Our own events, as JSON in any layout or as a table with a column for each field.

Also any other file, with a mapping that says where everything is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from negalign_train.feedback.documents import RawRecord
from negalign_train.feedback.entries import Entry, checked_event
from negalign_train.feedback.fields import QuarantineError
from negalign_train.feedback.importers.mapping.apply import TARGETS, FieldMapping
from negalign_train.feedback.importers.mapping.checks import MarkSurvey
from negalign_train.feedback.importers.mapping.values import id_value, loosened
from negalign_train.feedback.importers.record import (
    Format,
    ReadingRules,
    Record,
    Sample,
    malformed,
    record_of,
    undecoded,
)
from negalign_train.feedback.lines import RawLine, decode_line, read_lines
from negalign_train.feedback.schema import EVENT_SCHEMA
from negalign_train.feedback.source import InputFile

_SEVERITY = re.compile(rb'severity"\s*:\s*(-?[\d.]+(?:[eE][+-]?\d+)?)')
_MARKED_EVENTS_READ = 200
"""Of a file's events, how many are looked at for what their spans count."""


def _records(items: Iterable[RawRecord], reading: ReadingRules) -> Iterator[Record]:
    """Each object of the file, for a mapping to read."""
    for item in items:
        if item.problem is not None:
            yield undecoded(item)
        elif isinstance(item.value, dict):
            yield record_of(item, item.value)
        else:
            raise malformed(item, "a record must be an object")


def _is_native(sample: Sample) -> bool:
    first = sample.first
    if isinstance(first, dict) and isinstance(first.get("schema"), str):
        return True
    return {"event_id", "completion", "grade"} <= sample.keys


NATIVE = Format(
    name="negalign",
    title=f"{EVENT_SCHEMA}: JSON Lines, a JSON list, or a table",
    looks_like=_is_native,
    records=_records,
    mapping=FieldMapping(fields={name: name for name in TARGETS}, ignored=("schema",)),
)


def native_entries(source: InputFile) -> Iterator[Entry]:
    """The events of a JSON Lines log. A last line without newline that is no JSON yet is
    incomplete, not wrong: its writer may still be busy.
    """
    for line in read_lines(source):
        yield entry_of_line(line)


def entry_of_line(line: RawLine) -> Entry:
    """One line of a log as an entry."""
    value = None
    try:
        value = decode_line(line)
        return _entry(value, line)
    except QuarantineError as problem:
        if not line.ended and problem.code in ("not_utf8", "not_json"):
            return Entry()
        return Entry(
            problem=problem, place=line.place, event_id=readable_id(value), num_bytes=line.length
        )


def _entry(value: object, line: RawLine) -> Entry:
    try:
        event = checked_event(value)
    except QuarantineError:
        if not isinstance(value, dict):
            raise
        event = checked_event(loosened(value))
    return Entry(event, place=line.place, num_bytes=line.length)


def native_entry(item: RawRecord) -> Entry:
    """One of our events from a JSON list, or from objects written over several lines."""
    record = undecoded(item) if item.problem is not None else record_of(item, item.value)
    place, num_bytes = record.place, record.num_bytes
    try:
        if item.problem is not None:
            raise item.problem
        value = loosened(item.value) if isinstance(item.value, dict) else item.value
        return Entry(checked_event(value), place=place, num_bytes=num_bytes)
    except QuarantineError as problem:
        name = readable_id(item.value)
        return Entry(problem=problem, place=place, event_id=name, num_bytes=num_bytes)


def readable_id(value: object) -> str | None:
    """The event id of a record that was refused, where it can be read."""
    name = id_value(value.get("event_id")) if isinstance(value, dict) else None
    return name if isinstance(name, str) else None


def survey_lines(source: InputFile, *, check_spans: bool) -> int:
    """Looks through a log before it is imported; returns the number of its lines.

    Raises:
        FeedbackError: its severities are of another scale, or its spans count words.
    """
    survey, marked, lines = MarkSurvey(), 0, 0
    for line in read_lines(source):
        lines += 1
        numbers = _SEVERITY.findall(line.content or b"")
        if not numbers:
            continue
        for number in numbers:
            survey.add_severity(float(number))
        if marked < _MARKED_EVENTS_READ:
            marked += 1
            _add_spans(survey, line)
    survey.refuse_other_scale(str(source.path))
    if check_spans:
        survey.refuse_word_spans(str(source.path))
    return lines


def _add_spans(survey: MarkSurvey, line: RawLine) -> None:
    try:
        event = decode_line(line)
    except QuarantineError:
        return  # the import itself says so
    if isinstance(event, dict):
        survey.add_spans(event)
