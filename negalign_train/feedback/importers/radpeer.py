"""RADPEER sheets: grades that peers gave to readers, without the reports.

They say something about readers and nothing about a text: they become reader statistics
(``feedback.peer_review``), never training data. A sheet that brings the reports as well is read by
a mapping with ``grades: radpeer``.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator

from negalign_train.feedback.documents import RawRecord
from negalign_train.feedback.fields import QuarantineError
from negalign_train.feedback.importers.mapping.apply import FieldMapping
from negalign_train.feedback.importers.mapping.columns import Synonyms, named_columns
from negalign_train.feedback.importers.record import (
    Format,
    ReadingRules,
    Record,
    Sample,
    malformed,
    object_of,
    record_of,
    undecoded,
)
from negalign_train.feedback.peer_review import RADPEER_SCORES, PeerReview
from negalign_train.storage.fingerprint import canonical_json

_COLUMNS: Synonyms = {
    "grade": ("radpeer", "radpeer score", "radpeer grade", "peer review score", "score"),
    "reader": ("reader", "reader id", "radiologist", "original reader", "interpreting radiologist",
               "original radiologist", "original interpreter"),
    "reviewer": ("reviewer", "reviewer id", "reviewing radiologist", "peer"),
    "date": ("date", "review date", "reviewed at", "created at"),
    "review": ("review id", "id", "accession", "accession number", "case", "case id", "exam id"),
}  # fmt: skip
_TEXTS = re.compile(r"report text|completion|findings|impression|preliminary|final report", re.I)


def _records(items: Iterable[RawRecord], reading: ReadingRules) -> Iterator[Record]:
    """One record a row: ``grade``, ``reader``, ``reviewer``, ``date``, ``review``."""
    for item in items:
        if item.problem is not None:
            yield undecoded(item)
            continue
        row = object_of(item, "a row")
        columns = named_columns(row, _COLUMNS)
        for name in ("grade", "reader"):
            if name not in columns:
                raise malformed(item, f"no column is named {name} or the like")
        fields = {name: str(row[column]).strip() for name, column in columns.items()}
        fields["grade"] = fields["grade"].lower()
        problem = None
        if fields["grade"] not in RADPEER_SCORES:
            problem = QuarantineError(
                "unknown_grade", f"a RADPEER grade is one of {', '.join(RADPEER_SCORES)}"
            )
        elif not fields["reader"]:
            problem = QuarantineError("bad_id", "the row names no reader")
        yield record_of(item, fields, problem)


def review_of(record: Record) -> PeerReview:
    """A record as a peer review. Rows of equal content are told apart by their number."""
    fields = record.fields
    content = canonical_json([dict(fields), record.place.number if "review" not in fields else 0])
    return PeerReview(
        review_id=hashlib.sha256(content.encode()).hexdigest()[:24],
        reader_id=fields["reader"],
        reviewer_id=fields.get("reviewer") or None,
        grade=fields["grade"],
        reviewed_at=fields.get("date") or None,
    )


def _is_radpeer(sample: Sample) -> bool:
    columns = named_columns(sample.keys, _COLUMNS)
    has_text = any(_TEXTS.search(key) for key in sample.keys)
    return sample.shape == "table" and {"grade", "reader"} <= set(columns) and not has_text


RADPEER = Format(
    name="radpeer",
    title="a RADPEER sheet: grades of readers, for statistics only",
    looks_like=_is_radpeer,
    records=_records,
    mapping=FieldMapping(),
    gives_events=False,
)
