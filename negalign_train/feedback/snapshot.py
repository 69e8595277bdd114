"""The frozen events of one cycle as Parquet, with severities whoever gave them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from negalign_train.feedback.schema import event_to_dict, parse_event
from negalign_train.storage.fingerprint import canonical_json
from negalign_train.storage.workspace import read_parquet, write_parquet
from negalign_train.vocabulary.errors import FeedbackError
from negalign_train.vocabulary.records import CATEGORIES, Event

_SCHEMA = pa.schema(
    [
        ("sequence", pa.int64()),
        ("event_id", pa.string()),
        ("revision", pa.int32()),
        ("case_id", pa.string()),
        ("grade", pa.string()),
        ("reader_id", pa.string()),
        ("total_severity", pa.float64()),  # null: unknown, never 0
        ("severity_source", pa.string()),
        ("severity_judge", pa.string()),
        ("severities", pa.struct([(name, pa.float64()) for name in CATEGORIES])),
        ("event", pa.string()),  # JSON of negalign.feedback/1
    ]
)


def write_snapshot(path: Path, rows: Sequence[tuple[int, Event]]) -> None:
    """Writes ``(sequence, event)`` rows, whole or not at all."""
    write_parquet(path, [_row(sequence, event) for sequence, event in rows], _SCHEMA)


def read_snapshot(path: Path) -> list[tuple[int, Event]]:
    """The rows of ``write_snapshot``, equal to what was written.

    Raises:
        FeedbackError: the file is missing, damaged or no snapshot.
    """
    try:
        return [(row["sequence"], _event(row)) for row in read_parquet(path)]
    except (OSError, pa.ArrowException, KeyError) as error:
        raise FeedbackError(
            f"{path}: not a readable feedback snapshot ({type(error).__name__}); "
            "delete it and run the cycle again, the log still holds every event"
        ) from error


def _row(sequence: int, event: Event) -> dict[str, Any]:
    severities = event.severities
    return {
        "sequence": sequence,
        "event_id": event.event_id,
        "revision": event.revision,
        "case_id": event.case_id,
        "grade": event.grade,
        "reader_id": event.reader.id,
        "total_severity": event.total_severity,
        "severity_source": event.severity_source,
        "severity_judge": event.severity_judge,
        "severities": None if severities is None else {n: severities[n] for n in CATEGORIES},
        "event": canonical_json(event_to_dict(event)),
    }


def _event(row: dict[str, Any]) -> Event:
    return replace(
        parse_event(json.loads(row["event"])),
        severities=row["severities"],
        severity_source=row["severity_source"],
        # Snapshots of the first release do not hold it.
        severity_judge=row.get("severity_judge"),
    )
