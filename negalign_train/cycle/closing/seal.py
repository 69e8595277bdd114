"""The seal of a finished cycle: a digest of every file it left and of every row it could see.

``seal.json`` holds the SHA-256 of each file in the cycle's folder, the end of each chained table,
and the seal before it. Its own SHA-256 goes into the database, whose rows the seal covers, so that
neither can be changed without the other telling.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from sqlalchemy import Connection, Engine, Integer, Text, column, delete, insert, select, table

from negalign_train.cycle.opening.plan import SUMMARY
from negalign_train.feedback.batch import EVENTS
from negalign_train.feedback.peer_review import PEER_REVIEWS
from negalign_train.feedback.quarantine import QUARANTINE
from negalign_train.registry import rows
from negalign_train.registry.log import REGISTRY_LOG
from negalign_train.report.result import CycleResult
from negalign_train.storage.chain import CHAIN, SEQUENCE, Head, newest
from negalign_train.storage.database import reading, writing
from negalign_train.storage.fingerprint import file_sha256
from negalign_train.storage.workspace import Workspace, json_text, read_json, write_json

SEAL = "seal.json"
SCHEMA = "negalign.seal/1"
CHAINED = (EVENTS, QUARANTINE, PEER_REVIEWS, REGISTRY_LOG)
SEALS = table("seals", column("cycle", Integer), column("sha256", Text))


def seal_cycle(workspace: Workspace, engine: Engine, result: CycleResult) -> None:
    """Seals a cycle, then writes its result: the cycle is complete when that is there.

    A cycle that dies between the two is sealed anew when it is run again.
    """
    cycle, value = result.cycle, result.to_json()
    folder = workspace.cycle_dir(cycle)
    text = json_text(value)
    before = workspace.cycle_dir(cycle - 1) / SEAL
    with reading(engine) as connection:
        heads = {each.name: vars(newest(connection, each)) for each in CHAINED}
        adapters = {
            record.adapter_id: rows.manifest_sha256(connection, record.adapter_id)
            for record in rows.all_adapters(connection)
            if record.cycle == cycle
        }
    seal = {
        "schema": SCHEMA,
        "cycle": cycle,
        "previous": file_sha256(before) if before.is_file() else None,
        "files": files_of(folder) | {SUMMARY: hashlib.sha256(text.encode()).hexdigest()},
        "tables": heads,
        "adapters": adapters,
    }
    write_json(folder / SEAL, seal)
    with writing(engine) as connection:
        connection.execute(delete(SEALS).where(SEALS.c.cycle == cycle))
        values = {"cycle": cycle, "sha256": file_sha256(folder / SEAL)}
        connection.execute(insert(SEALS).values(values))
    write_json(folder / SUMMARY, value)


def files_of(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below a cycle's folder, less the seal, by its path from there."""
    return {
        path.relative_to(folder).as_posix(): file_sha256(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path != folder / SEAL
    }


def stored_seals(connection: Connection) -> dict[int, str]:
    """Cycle to the SHA-256 of its seal."""
    return dict(connection.execute(select(SEALS.c.cycle, SEALS.c.sha256)).all())


def seal_problems(
    workspace: Workspace, connection: Connection, cycle: int, stored: Mapping[int, str]
) -> Iterator[str]:
    """What is no longer as it was sealed, file by file and table by table."""
    folder = workspace.cycle_dir(cycle)
    path = folder / SEAL
    if cycle not in stored:
        yield "has no seal in the database: an older release finished it, or the row was taken out"
        return
    if not path.is_file() or not (folder / SUMMARY).is_file():
        missing = SEAL if not path.is_file() else SUMMARY
        yield f"{folder / missing} is missing; restore it from a backup"
        return
    if file_sha256(path) != stored[cycle]:
        yield f"{path} or its digest in the database was changed; restore both from a backup"
        return
    seal = read_json(path)
    yield from _file_problems(folder, seal["files"])
    before = workspace.cycle_dir(cycle - 1) / SEAL
    if seal["previous"] != (file_sha256(before) if before.is_file() else None):
        yield f"does not follow {before}, which was changed or is missing"
    sealed_tables = [each for each in CHAINED if each.name in seal["tables"]]  # others came later
    for each in sealed_tables:
        head = Head(**seal["tables"][each.name])
        query = select(each.c[CHAIN]).where(each.c[SEQUENCE] == head.sequence)
        if head.sequence and connection.execute(query).scalar() != head.chain:
            yield f"table {each.name} up to row {head.sequence} is not what was sealed"
    for adapter_id, sha256 in seal["adapters"].items():
        query = select(rows.ADAPTERS.c.manifest_sha256).where(
            rows.ADAPTERS.c.adapter_id == adapter_id
        )
        if connection.execute(query).scalar() != sha256:
            yield f"adapter {adapter_id} is not in the registry as it was sealed"


def _file_problems(folder: Path, sealed: Mapping[str, str]) -> Iterator[str]:
    present = files_of(folder)
    for name in sorted({*sealed, *present}):
        if name not in present:
            yield f"{folder / name} is missing; restore it from a backup"
        elif name not in sealed:
            yield f"{folder / name} was put there after the cycle ended"
        elif present[name] != sealed[name]:
            yield f"{folder / name} was changed since the cycle ended; restore it from a backup"
