"""Pairs of reports, a preliminary and a final one in a row: the commonest feedback of all.

The edit is the feedback; severities come from the scorer. Columns are known by the usual names;
others are given by a mapping.
"""

from __future__ import annotations

import hashlib
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
from negalign_train.feedback.importers.versions import compared

_TEXTS: Synonyms = {
    "preliminary": ("preliminary", "preliminary report", "prelim", "prelim report", "draft",
                    "ai draft", "draft report", "generated", "resident report", "before"),
    "final": ("final", "final report", "signed", "signed report", "corrected report",
              "attending report", "edited", "edited report", "after"),
}  # fmt: skip
_DETAILS: Synonyms = {
    "case_id": ("case id", "case", "accession", "accession number", "exam id", "report id", "id"),
    "study_id": ("study id", "study", "study uid"),
    "patient_id": ("patient id", "patient", "mrn"),
    "prompt": ("prompt", "indication", "clinical information", "clinical history", "history"),
    "reader": ("reader", "reader id", "radiologist", "attending", "signed by", "reader.id"),
    "time": ("created at", "signed at", "final time", "date", "time", "timestamp"),
    "generator_base": ("generator base", "model", "generator"),
    "generator_adapter": ("generator adapter", "adapter"),
    "seconds": ("seconds", "reading seconds"),
    "edit_type": ("edit type",),
}  # fmt: skip


def _records(items: Iterable[RawRecord], reading: ReadingRules) -> Iterator[Record]:
    """One record a row; equal texts are an accepted report."""
    for item in items:
        if item.problem is not None:
            yield undecoded(item)
            continue
        row = object_of(item, "a row")
        texts = named_columns(row, _TEXTS)
        given = {name: reading.mapping.fields.get(target) for name, target in _TARGETS.items()}
        for name, path in given.items():
            if isinstance(path, str) and path in row:
                texts[name] = path
        if set(texts) != set(_TEXTS):
            missing = sorted(set(_TEXTS) - set(texts))
            raise malformed(item, f"no column is named {missing[0]} or the like")
        before, after = row[texts["preliminary"]], row[texts["final"]]
        if not isinstance(before, str) or not isinstance(after, str) or not after.strip():
            problem = QuarantineError("no_counterpart", "the row has no final text")
            yield record_of(item, {"row": item.number}, problem)
            continue
        details = named_columns(row, _DETAILS)
        fields = compared(before, after) | {name: row[c] for name, c in details.items()}
        read = {*texts.values(), *details.values()}
        rest = {name: value for name, value in row.items() if name not in read}
        content = hashlib.sha256(f"{before}\x00{after}".encode()).hexdigest()[:12]
        case = fields.get("case_id")
        fields["key"] = content if case in (None, "") else f"{case}-{content}"
        yield record_of(item, rest | fields)


_TARGETS = {"preliminary": "completion", "final": "edited"}


def _is_pairs(sample: Sample) -> bool:
    return set(named_columns(sample.keys, _TEXTS)) == set(_TEXTS) and "grade" not in sample.keys


REPORT_PAIRS = Format(
    name="report-pairs",
    title="a table or JSON Lines with a preliminary and a final report",
    looks_like=_is_pairs,
    records=_records,
    mapping=FieldMapping(
        fields={
            "event_id": "pair-{key}",
            "case_id": "case_id",
            "study_id": "study_id",
            "patient_id": "patient_id",
            "created_at": "time",
            "prompt": "prompt",
            "completion": "preliminary",
            "edited": "final",
            "edit_type": "edit_type",
            "grade": "grade",
            "generator.base": "generator_base",
            "generator.adapter": "generator_adapter",
            "reader.id": "reader",
            "reader.seconds": "seconds",
        },
        constants={"source.system": "report-pairs"},
        ignored=("key",),
    ),
)
