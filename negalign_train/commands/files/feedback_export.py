"""Files of `negalign feedback export`, each whole or not there."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from negalign_train.feedback.exporters import argilla, label_studio
from negalign_train.storage.atomic import replacing
from negalign_train.vocabulary.errors import FeedbackError
from negalign_train.vocabulary.records import Event

EXPORT_FORMATS = ("jsonl", "trl-preference", "trl-kto", "label-studio", "argilla")


def export_events(
    path: Path, format_name: str, events: Sequence[Event], *, with_answers: bool
) -> Iterator[str]:
    """Writes the files and says what was written, a line each.

    Raises:
        FeedbackError: a file cannot be written.
    """
    with _said(path):
        if format_name == "label-studio":
            tasks = [label_studio.label_studio_task(e, with_answer=with_answers) for e in events]
            config = path.with_suffix(".xml")
            _write_text(path, json.dumps(tasks, ensure_ascii=False, indent=1))
            _write_text(config, label_studio.labelling_config())
            yield f"{len(tasks)} tasks written to {path}"
            yield f"their labelling configuration written to {config}"
        elif format_name == "argilla":
            yield from _argilla(path, events, with_answers=with_answers)
        else:
            yield from _trl(path, format_name, events)


def _argilla(path: Path, events: Sequence[Event], *, with_answers: bool) -> Iterator[str]:
    records = [argilla.argilla_record(event, with_answer=with_answers) for event in events]
    for name, value in (
        (argilla.RECORDS, records),
        (argilla.SETTINGS, argilla.argilla_settings()),
        (argilla.DATASET, argilla.argilla_dataset()),
    ):
        _write_text(path / name, json.dumps(value, ensure_ascii=False, indent=1))
    yield f"{len(records)} records and their settings written to {path}"


def _trl(path: Path, format_name: str, events: Sequence[Event]) -> Iterator[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from negalign_train.preferences.export import trl_rows

    made = trl_rows(events, "trl-kto" if format_name == "trl-kto" else "trl-preference")
    if not made.rows:
        raise FeedbackError(
            f"{path}: the log gives no {format_name} row ({_refused(made.refusals.counts)}); "
            "nothing was written"
        )
    if path.suffix == ".parquet":
        with replacing(path) as temporary:
            pq.write_table(pa.Table.from_pylist(list(made.rows)), temporary)
    else:
        _write_lines(path, made.rows)
    yield f"{len(made.rows)} rows written to {path}"
    if made.refusals.total:
        yield f"not used: {_refused(made.refusals.counts)}"


def _refused(counts: Any) -> str:
    return ", ".join(f"{reason} {n}" for reason, n in sorted(counts.items()) if n) or "it is empty"


def _write_lines(path: Path, rows: Iterable[Any]) -> None:
    _write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def _write_text(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


@contextmanager
def _said(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise FeedbackError(
            f"{path}: cannot be written ({error.strerror}); choose another path or free space"
        ) from error
