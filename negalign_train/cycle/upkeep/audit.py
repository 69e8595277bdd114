"""Whether a workspace still says what happened: every file, row and fingerprint. Read-only.

Finished cycles are compared with their seals, the database's rows with their chains, the adapters
with their manifests, and the registry's states with its log. What is not finished yet is sealed by
nothing, and said to be so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, select, text
from sqlalchemy.exc import SQLAlchemyError

from negalign_train.cycle.closing.seal import CHAINED, seal_problems, stored_seals
from negalign_train.cycle.opening.plan import GATE, GATE_FILE, completed_cycles
from negalign_train.evaluation.gate_records import verify_chain
from negalign_train.feedback.batch import EVENTS
from negalign_train.registry import rows
from negalign_train.registry.log import Change, State, read_changes, replay
from negalign_train.registry.manifest import check_files, read_manifest, record_to_dict
from negalign_train.registry.weights import CONFIG_NAME, WEIGHTS_NAME
from negalign_train.storage.chain import SEQUENCE, broken_rows, newest
from negalign_train.storage.database import reading
from negalign_train.storage.fingerprint import file_sha256, fingerprint
from negalign_train.storage.migrations import LATEST_VERSION
from negalign_train.storage.workspace import MANIFEST, Workspace, read_json
from negalign_train.vocabulary.errors import NegalignError

_UNREADABLE = (NegalignError, SQLAlchemyError, ValueError, KeyError, TypeError, OSError)
"""What reading something damaged raises; anything else is our own fault."""
_MAX_NAMED = 20
"""Problems of one table that are named one by one."""


@dataclass(frozen=True)
class AuditCheck:
    """One thing looked at: ``problem`` is None where it holds."""

    what: str
    problem: str | None


@dataclass(frozen=True)
class Audit:
    """All checks, and every move of an alias, oldest first."""

    checks: tuple[AuditCheck, ...]
    history: tuple[Change, ...]

    @property
    def problems(self) -> tuple[AuditCheck, ...]:
        return tuple(check for check in self.checks if check.problem is not None)


def audit_workspace(workspace: Workspace, engine: Engine) -> Audit:
    """Looks at everything; ``engine`` may be read-only (``database.open_read_only``).

    Raises:
        DatabaseError: the database cannot be read at all.
    """
    with reading(engine) as connection:
        checks = [
            *_look("schema of the database", lambda: _schema(connection)),
            *_look("pages of the database", lambda: _pages(connection)),
            *(
                check
                for each in CHAINED
                for check in _look(f"table {each.name}", partial(_rows, connection, each))
            ),
            *_look("fingerprints of events", lambda: _events(connection)),
        ]
        try:
            changes = read_changes(connection)
        except _UNREADABLE:
            changes = []  # the table's own check has named it
        checks += [
            *_look("states and aliases", lambda: _states(connection, changes)),
            *_adapters(workspace, connection),
            *_cycles(workspace, connection),
        ]
    records = _gate_records(workspace)
    checks += [
        *_look(f"chain of {len(records)} gate records", lambda: verify_chain(records)),
        *_look("copies under serving", lambda: _serving(workspace)),
        *_look("records of overrides", lambda: _overrides(workspace, changes)),
        *(check for change in changes for check in _move(workspace, change, records)),
    ]
    return Audit(tuple(checks), tuple(change for change in changes if change.alias is not None))


def _look(what: str, find: Callable[[], Iterable[str] | None]) -> Iterator[AuditCheck]:
    """One check per problem, or one that holds; something that cannot be read is a problem."""
    problems: list[str] = []
    try:
        problems += find() or ()
    except NegalignError as error:
        problems.append(str(error))
    except _UNREADABLE as error:
        problems.append(f"cannot be read ({type(error).__name__}); restore it from a backup")
    if len(problems) > _MAX_NAMED:
        problems[_MAX_NAMED:] = [f"and {len(problems) - _MAX_NAMED} more"]
    yield from [AuditCheck(what, problem) for problem in problems] or [AuditCheck(what, None)]


def _schema(connection: Connection) -> Iterator[str]:
    query = text("SELECT version FROM schema_version ORDER BY version")
    versions = connection.execute(query).scalars().all()
    if versions != list(range(1, LATEST_VERSION + 1)):
        yield (
            f"versions {versions} are recorded, this release has {LATEST_VERSION}: it was changed "
            "by hand, or another release wrote it (run any other command to bring it up to date)"
        )


def _pages(connection: Connection) -> Iterator[str]:
    if connection.dialect.name == "sqlite":
        listed = connection.execute(text("PRAGMA integrity_check")).scalars().all()
        yield from (line for line in listed if line != "ok")


def _rows(connection: Connection, table: Any) -> Iterator[str]:
    for sequence, problem in broken_rows(connection, table):
        yield f"row {sequence} {problem}"
    if connection.dialect.name != "sqlite":
        return
    # The highest number ever given: newer rows than the newest were taken out.
    query = text("SELECT seq FROM sqlite_sequence WHERE name = :name")
    numbered = connection.execute(query, {"name": table.name}).scalar()
    last = newest(connection, table).sequence
    if (numbered or 0) != last:
        yield f"{numbered} rows were numbered, the newest is {last}"


def _events(connection: Connection) -> Iterator[str]:
    columns = EVENTS.c
    query = select(columns[SEQUENCE], columns.event, columns.fingerprint)
    for sequence, event, stored in connection.execute(query.order_by(columns[SEQUENCE])):
        if hashlib.sha256(str(event).encode()).hexdigest() != stored:
            yield f"row {sequence} is not the event it was: its fingerprint differs"


def _states(connection: Connection, changes: list[Change]) -> Iterator[str]:
    """The registry's rows against what its log comes to."""
    states, aliases = replay(changes)
    columns = rows.ADAPTERS.c
    query = select(columns.adapter_id, columns.state, columns.state_reason)
    present = {name: State(state, reason) for name, state, reason in connection.execute(query)}
    for adapter_id in sorted({*states, *present}, key=str):
        if present.get(adapter_id) != states.get(adapter_id):
            yield f"adapter {adapter_id} is not in the state that the registry's log gives it"
    stored = dict(connection.execute(select(rows.ALIASES.c.alias, rows.ALIASES.c.adapter_id)).all())
    for alias in sorted({*aliases, *stored}, key=str):
        if stored.get(alias) != aliases.get(alias):
            leads, moved = (each.get(alias) or "the base model" for each in (stored, aliases))
            yield f"alias {alias} leads to {leads}, the registry's log moved it to {moved}"


def _adapters(workspace: Workspace, connection: Connection) -> Iterator[AuditCheck]:
    listed = [dict(row._mapping) for row in connection.execute(select(rows.ADAPTERS))]
    for row in listed:
        what = f"files of adapter {row['adapter_id']}"
        yield from _look(what, partial(_adapter, workspace, row))
    known = {str(row["adapter_id"]) for row in listed}
    folder = workspace.adapters_dir
    present = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    for name in sorted(present - known):
        yield AuditCheck(
            f"files of adapter {name}",
            f"{folder / name} is in no row of the registry: put there by hand, or left by a cycle "
            "that died while it published (run it again)",
        )


def _adapter(workspace: Workspace, row: Mapping[str, Any]) -> Iterator[str]:
    folder = workspace.adapters_dir / row["adapter_id"]
    manifest = read_manifest(folder)
    if file_sha256(folder / MANIFEST) != row["manifest_sha256"]:
        yield f"{folder / MANIFEST} or its SHA-256 in the database was changed"
    record = record_to_dict(manifest.record)
    if row["record"] != rows.record_text(manifest.record):
        yield f"the registry's record of it is not that of {folder / MANIFEST}"
    for name in ("adapter_id", "parent_id", "cycle", "base_digest"):
        if row[name] != record[name]:
            yield f"{name} in the registry's row is not that of {folder / MANIFEST}"
    check_files(folder, manifest)


def _cycles(workspace: Workspace, connection: Connection) -> Iterator[AuditCheck]:
    finished = completed_cycles(workspace)
    try:
        stored = stored_seals(connection)
    except _UNREADABLE:
        stored = {}
    for cycle in sorted({*finished, *stored}, key=str):
        what = f"seal of cycle {cycle}"
        yield from _look(what, partial(seal_problems, workspace, connection, cycle, stored))
    known = {workspace.cycle_dir(cycle).name for cycle in finished}
    folder = workspace.root / "cycles"
    present = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    going_on = workspace.cycle_dir(max(finished, default=0) + 1).name
    for name in sorted(present - known):
        if name == going_on:
            yield AuditCheck(f"{folder / name}: not finished, and so not sealed yet", None)
        else:
            yield AuditCheck(f"folder {name}", f"{folder / name} belongs to no cycle; take it away")


def _gate_records(workspace: Workspace) -> list[dict[str, Any]]:
    """Every sealed record of the finished cycles, in order; damaged files are the seals' matter."""
    records: list[dict[str, Any]] = []
    for cycle in completed_cycles(workspace):
        try:
            records += read_json(workspace.cycle_dir(cycle) / GATE_FILE)["records"]
        except _UNREADABLE:
            continue
    return records


def _overrides(workspace: Workspace, changes: list[Change]) -> Iterator[str]:
    """Every file in ``overrides/`` is the record of an override in the log."""
    folder = workspace.root / "overrides"
    known = {change.record for change in changes}
    for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
        if path.relative_to(workspace.root).as_posix() not in known:
            yield f"{path} belongs to no move of champion; take it away"


def _serving(workspace: Workspace) -> Iterator[str]:
    """Copies for this machine differ from what was published in the base's place alone."""
    folder = workspace.root / "serving"
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        manifest = read_manifest(workspace.adapters_dir / path.name)
        if {each.name for each in path.iterdir()} != {CONFIG_NAME, WEIGHTS_NAME}:
            yield f"{path} holds other files than {CONFIG_NAME} and {WEIGHTS_NAME}; delete it"
        elif file_sha256(path / WEIGHTS_NAME) != manifest.files[WEIGHTS_NAME]:
            yield f"{path / WEIGHTS_NAME} is not what was published; delete {path}"
        elif _without_place(path) != _without_place(workspace.adapters_dir / path.name):
            yield f"{path / CONFIG_NAME} is not what was published; delete {path}"


def _without_place(folder: Path) -> dict[str, Any]:
    config: dict[str, Any] = read_json(folder / CONFIG_NAME)
    return config | {"base_model_name_or_path": None, "revision": None}


def _move(
    workspace: Workspace, change: Change, records: list[dict[str, Any]]
) -> Iterator[AuditCheck]:
    """A promotion rests on a gate's record that promoted this very adapter, an override on one that
    names who and why; a rollback and an approval need no more than the log's name and reason.
    """
    if change.action in ("promote", "override"):
        what = f"{change.action} of {change.adapter_id} by {change.changed_by}"
        yield from _look(what, lambda: _rests_on(workspace, change, records))


def _rests_on(workspace: Workspace, change: Change, records: list[dict[str, Any]]) -> Iterator[str]:
    if change.record is None:
        yield "it names no record of a gate or of an override"
        return
    path = workspace.root / change.record
    if not path.is_file():
        yield f"{path} is missing; restore it from a backup"
    elif file_sha256(path) != change.record_sha256:
        yield f"{path} was changed since; restore it from a backup"
    elif change.action == "override":
        content = read_json(path)
        body = {key: value for key, value in content.items() if key != "fingerprint"}
        named = (content["candidate_adapter"], content["by"], content["reason"])
        if named != (change.adapter_id, change.changed_by, change.reason) or (
            content["fingerprint"] != fingerprint(body)
        ):
            yield f"{path} records another override"
    elif change.changed_by != GATE or not any(_promotes(each, change) for each in records):
        yield "no gate record promoted this adapter"


def _promotes(record: Mapping[str, Any], change: Change) -> bool:
    promoted: bool = record["outcome"] == "promoted"
    return promoted and record["candidate_adapter"] == change.adapter_id
