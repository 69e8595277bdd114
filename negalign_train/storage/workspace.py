"""Where a workspace keeps what (DESIGN 2.6), and writes that are whole or not there."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import URL

from negalign_train.storage.atomic import fsync_path
from negalign_train.storage.atomic import replacing as replacing

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Workspace:
    """Paths of one workspace. Creating the object touches nothing on disk."""

    root: Path

    @property
    def database_file(self) -> Path:
        return self.root / "negalign.db"

    @property
    def database_url(self) -> URL:
        # Built, not written: a "?" or "%" in a folder's name would end or change the path.
        return URL.create("sqlite", database=str(self.database_file))

    @property
    def adapters_dir(self) -> Path:
        return self.root / "adapters"

    def cycle_dir(self, cycle: int) -> Path:
        return self.root / "cycles" / f"c{cycle:04d}"


@contextmanager
def publishing(folder: Path) -> Iterator[Path]:
    """Yields an empty staging folder; on clean exit its files are synced and it becomes ``folder``.

    Raises:
        FileExistsError: ``folder`` is there already; published folders are immutable.
    """
    if folder.exists():
        raise FileExistsError(f"{folder} exists; published folders are never overwritten")
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = folder.with_name(f".staging-{folder.name}-{secrets.token_hex(8)}-{os.getpid()}")
    staging.mkdir()
    try:
        yield staging
        for path in sorted(staging.rglob("*")):
            fsync_path(path)
        fsync_path(staging)
        staging.rename(folder)
        fsync_path(folder.parent)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def write_json(path: Path, value: Any) -> None:
    """Writes JSON atomically, in UTF-8."""
    with replacing(path) as temporary:
        temporary.write_text(json_text(value), encoding="utf-8")


def json_text(value: Any) -> str:
    """JSON as files hold it: sorted keys, one a line, NaN refused (ValueError)."""
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return text + "\n"


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def write_parquet(path: Path, rows: list[dict[str, Any]], schema: pa.Schema) -> None:
    """Writes rows as Parquet atomically; a row that does not fit the schema raises ArrowInvalid."""
    with replacing(path) as temporary:
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), temporary)


def read_parquet(path: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    return rows
