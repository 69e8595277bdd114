"""One cycle at a time per workspace: a row that names its owner."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from sqlalchemy import Connection, Engine, Integer, Text, column, delete, insert, select, table

from negalign_train.registry.processes import process_start
from negalign_train.storage.database import reading, writing
from negalign_train.vocabulary.errors import CycleError

_NAME = "cycle"
LOCKS = table(
    "locks",
    column("name", Text),
    column("cycle", Integer),
    column("pid", Integer),
    column("host", Text),
    column("process_start", Text),
    column("started_at", Text),
)


class LockedError(CycleError):
    """Another cycle is running in this workspace."""


@dataclass(frozen=True)
class LockOwner:
    """Who holds the lock. ``process_start`` tells apart two processes that had one pid."""

    cycle: int
    pid: int
    host: str
    process_start: str
    started_at: str


def lock_owner(engine: Engine) -> LockOwner | None:
    """Who runs a cycle in this workspace now, or died while doing so."""
    with reading(engine) as connection:
        return _owner(connection)


@contextmanager
def cycle_lock(engine: Engine, cycle: int, started_at: datetime | None = None) -> Iterator[None]:
    """Holds the workspace for one cycle; released on the way out, also by an exception.

    A lock whose process is dead on this host (kill -9, power loss) is taken over. A lock of
    another host never is, since that process cannot be seen from here.

    Raises:
        LockedError: another cycle runs; the message names it.
    """
    mine = LockOwner(
        cycle=cycle,
        pid=os.getpid(),
        host=socket.gethostname(),
        process_start=process_start(os.getpid()) or "",
        started_at=(started_at or datetime.now(UTC)).isoformat(timespec="seconds"),
    )
    with writing(engine) as connection:
        owner = _owner(connection)
        if owner is not None and not _is_dead_here(owner):
            raise LockedError(
                f"cycle {owner.cycle} is running since {owner.started_at} (pid {owner.pid}, "
                f"{owner.host}); wait until it ends. If that machine is gone for good, free the "
                "workspace with `negalign unlock`"
            )
        connection.execute(delete(LOCKS).where(LOCKS.c.name == _NAME))
        connection.execute(insert(LOCKS).values(name=_NAME, **asdict(mine)))
    try:
        yield
    finally:
        with writing(engine) as connection:
            if _owner(connection) == mine:
                connection.execute(delete(LOCKS).where(LOCKS.c.name == _NAME))


def break_lock(engine: Engine) -> LockOwner | None:
    """Frees the workspace of a cycle that cannot be running any more; returns whose lock it was.

    Raises:
        LockedError: its process is alive on this host.
    """
    with writing(engine) as connection:
        owner = _owner(connection)
        if owner is None:
            return None
        if owner.host == socket.gethostname() and not _is_dead_here(owner):
            raise LockedError(
                f"cycle {owner.cycle} is running here as pid {owner.pid}; wait, or end that "
                "process first"
            )
        connection.execute(delete(LOCKS).where(LOCKS.c.name == _NAME))
        return owner


def _owner(connection: Connection) -> LockOwner | None:
    columns = LOCKS.c
    row = connection.execute(
        select(
            columns.cycle, columns.pid, columns.host, columns.process_start, columns.started_at
        ).where(columns.name == _NAME)
    ).one_or_none()
    return None if row is None else LockOwner(*row)


def _is_dead_here(owner: LockOwner) -> bool:
    """Whether the owner ran on this host and no longer does."""
    return owner.host == socket.gethostname() and process_start(owner.pid) != owner.process_start
