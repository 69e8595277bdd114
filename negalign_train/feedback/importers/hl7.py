"""HL7 v2 ORU messages of radiology reports: wet read, preliminary and final versions.

Two versions of one report are an event (``versions``). Read are messages framed as MLLP, or as
interface engines log them. Ids of patients, readers and reports become pseudonyms.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from negalign_train.feedback.documents import RawRecord
from negalign_train.feedback.fields import QuarantineError
from negalign_train.feedback.importers.mapping.apply import FieldMapping
from negalign_train.feedback.importers.record import (
    Format,
    ReadingRules,
    Record,
    Sample,
    record_of,
)
from negalign_train.feedback.importers.text import split_report
from negalign_train.feedback.importers.versions import Version, version_records

_STATUSES = {
    "f": "final", "final": "final", "p": "preliminary", "prelim": "preliminary",
    "preliminary": "preliminary", "r": "wet read", "wet read": "wet read", "s": "preliminary",
    "c": "corrected", "corrected": "corrected", "a": "appended", "addendum": "appended",
    "amended": "amended",
}  # fmt: skip
"""OBR-25 and OBX-11 (tables 0123 and 0085), and the words that systems write there."""
_TEXT_TYPES = ("TX", "FT", "ST")
_TECHNOLOGIST = "&TCM"
_SEGMENT = re.compile(r"^[A-Z][A-Z0-9]{2}\|")
_LINE_END = re.compile(r"(?:<R>|\r)+\s*$")
_TIME = re.compile(r"(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)?(?:\.\d+)?([+-]\d{4})?$")
_ESCAPE = re.compile(r"\\(\.br|\.sp\d*|\.in[+-]?\d+|\.ti[+-]?\d+|\.ce|[FSTRE]|H|N|X[0-9A-Fa-f]+)\\")


def _records(items: Iterable[RawRecord], reading: ReadingRules) -> Iterator[Record]:
    """A record for each step between two versions of a report."""
    versions: list[Version] = []
    for item in items:
        made = _version(item, reading)
        if isinstance(made, Version):
            versions.append(made)
        else:
            yield record_of(item, {"message": item.number}, made)
    yield from version_records(versions)


Segment = list[str]


def _segments(message: str) -> list[Segment]:
    """The segments of a message as fields; of MSH, field n stands at n, as in the others."""
    segments = []
    for line in message.split("\n"):
        if not _SEGMENT.match(line):
            continue
        cells = _LINE_END.sub("", line).split("|")
        segments.append(["MSH", "|", *cells[1:]] if cells[0] == "MSH" else cells)
    return segments


def _cell(segment: Segment | None, number: int) -> str:
    return segment[number].strip() if segment is not None and number < len(segment) else ""


def _first(segments: list[Segment], name: str) -> Segment | None:
    return next((segment for segment in segments if segment[0] == name), None)


def _id(cell: str) -> str:
    """The first component of the first repetition."""
    return cell.partition("~")[0].partition("^")[0].strip()


def _version(item: RawRecord, reading: ReadingRules) -> Version | QuarantineError:
    segments = _segments(item.value)
    header, order = _first(segments, "MSH"), _first(segments, "OBR")
    if not _cell(header, 9).startswith("ORU"):
        return QuarantineError("not_a_report", "the message is no ORU (observation result)")
    if order is None:
        return QuarantineError("missing_key", "the message lacks its OBR segment: it was cut off")
    observations = [s for s in segments if s[0] == "OBX" and _cell(s, 2) in _TEXT_TYPES]
    spoken = [s for s in observations if not _cell(s, 3).endswith(_TECHNOLOGIST)]
    text = "\n".join(_unescaped(_cell(segment, 5)) for segment in spoken)
    if not text.strip():
        return QuarantineError("no_text", "no OBX segment holds report text")
    status = _status(order, spoken)
    if status is None:
        return QuarantineError(
            "unknown_status", "neither OBR-25 nor OBX-11 says preliminary, final or the like"
        )
    key = _id(_cell(order, 3)) or _id(_cell(_first(segments, "ORC"), 3))
    if not key:
        return QuarantineError("missing_key", "neither OBR-3 nor ORC-3 names the report")
    parts = split_report(text)
    patient = _id(_cell(_first(segments, "PID"), 3))
    reader = _id(_cell(order, 32)) or next(
        (found for s in spoken if (found := _id(_cell(s, 16)))), ""
    )
    return Version(
        item=item,
        key=reading.pseudonym("report", key),
        status=status,
        time=_time(_cell(header, 7)),
        question=_question(order, parts.question),
        report=parts.report,
        more={
            "patient": reading.pseudonym("patient", patient) if patient else None,
            "reader": reading.pseudonym("reader", reader) if reader else None,
        },
    )


def _status(order: Segment, spoken: list[Segment]) -> str | None:
    for word in (_cell(order, 25), *(_cell(segment, 11) for segment in spoken)):
        if word.casefold() in _STATUSES:
            return _STATUSES[word.casefold()]
    return None


def _question(order: Segment, own: str) -> str:
    """What was asked: the examination of the order, its reason, and the report's own head."""
    code = _cell(order, 4).split("^")
    name = next((part.strip() for part in (*code[4:5], *code[1:2]) if part.strip()), "")
    reason = [part.strip() for part in _cell(order, 31).split("^") if part.strip()]
    lines = [
        f"Examination: {_unescaped(name)}" if name else "",
        f"Indication: {_unescaped(reason[-1])}" if reason else "",
        own,
    ]
    return "\n".join(line for line in lines if line)


def _unescaped(cell: str) -> str:
    """Text of a field: repetitions are lines, escape sequences characters."""
    return _ESCAPE.sub(_character, cell.replace("~", "\n"))


def _character(match: re.Match[str]) -> str:
    code = match[1]
    if code.startswith((".br", ".sp")):
        return "\n"
    if code[0] == "X":
        digits = code[1:]
        return bytes.fromhex(digits).decode("latin-1") if len(digits) % 2 == 0 else match[0]
    plain: dict[str, Any] = {"F": "|", "S": "^", "T": "&", "R": "~", "E": "\\"}
    return str(plain.get(code, ""))


def _time(stamp: str) -> str:
    """ISO 8601; without a zone where the message names none."""
    match = _TIME.match(stamp)
    if match is None:
        return stamp
    year, month, day, hour, minute, second, zone = match.groups()
    offset = f"{zone[:3]}:{zone[3:]}" if zone else ""
    return f"{year}-{month}-{day}T{hour}:{minute}:{second or '00'}{offset}"


def _is_hl7(sample: Sample) -> bool:
    return sample.shape == "hl7"


HL7 = Format(
    name="hl7",
    title="HL7 v2 ORU: wet read, preliminary and final versions",
    looks_like=_is_hl7,
    records=_records,
    mapping=FieldMapping(
        fields={
            "event_id": "hl7-{key}-{to}",
            "case_id": "key",
            "study_id": "key",
            "patient_id": "patient",
            "created_at": "time",
            "prompt": "question",
            "completion": "preliminary",
            "edited": "final",
            "edit_type": "edit_type",
            "grade": "grade",
            "reader.id": "reader",
            "source.ref": "{from} to {to}",
        },
        constants={"source.system": "hl7"},
    ),
    joins_files=True,
)
