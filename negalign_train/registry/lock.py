"""One cycle at a time per workspace: a row that names its owner, who renews it.

Who can see the owner's process (same boot, same PID namespace) asks the kernel whether it lives.
Who cannot (another machine, another container) goes by the owner's heartbeat: a lock that has been
silent for longer than its lease, and stays silent while it is watched, is taken over. No two clocks
are compared for that last step.
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from sqlalchemy import (
    Connection,
    Engine,
    Float,
    Integer,
    Text,
    column,
    delete,
    insert,
    select,
    table,
    update,
)

from negalign_train.registry.processes import pid_namespace, process_start
from negalign_train.storage.database import DatabaseError, reading, writing
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
    column("namespace", Text),
    column("token", Text),
    column("beat_at", Float),
)


class LockedError(CycleError):
    """Another cycle is running in this workspace; the command line exits 75, so that a scheduler
    tries again.
    """

    exit_code = 75  # EX_TEMPFAIL of sysexits.h


class LostLockError(CycleError):
    """This cycle lost its workspace to another one, and stopped."""


@dataclass(frozen=True)
class LockTiming:
    """Seconds between two heartbeats, and seconds of silence after which a lock is given up."""

    beat: float = 5.0
    lease: float = 60.0


@dataclass(frozen=True)
class LockOwner:
    """Who holds the lock. ``process_start`` tells apart two processes that had one pid,
    ``namespace`` says where that pid means something, ``token`` is this one holding. ``beat_at`` is
    the owner's clock at its last heartbeat, in seconds since 1970.
    """

    cycle: int
    pid: int
    host: str
    process_start: str
    started_at: str
    namespace: str
    token: str
    beat_at: float

    def describe(self) -> str:
        return f"cycle {self.cycle}, since {self.started_at} (pid {self.pid}, {self.host})"


class Lease:
    """What the owner holds. A thread renews it until it is released, or lost."""

    def __init__(self, engine: Engine, owner: LockOwner, timing: LockTiming) -> None:
        self._engine, self._owner, self._timing = engine, owner, timing
        self._released = threading.Event()
        self._lost: str | None = None
        # A signal reaches the main thread also where it waits for the training process.
        self._interrupts = threading.current_thread() is threading.main_thread()
        self._thread = threading.Thread(target=self._renew, name="cycle lock", daemon=True)
        self._thread.start()

    @property
    def is_lost(self) -> bool:
        return self._lost is not None

    def check(self) -> None:
        """Asks the database whether the lock is still this one's.

        Raises:
            LostLockError: another cycle has taken the workspace.
        """
        if self._lost is None:
            with reading(self._engine) as connection:
                owner = _owner(connection)
            if owner is None or owner.token != self._owner.token:
                self._lost = _taken_by(owner)
        if self._lost is not None:
            raise LostLockError(
                f"cycle {self._owner.cycle} stopped: {self._lost}. What was whole is kept; run the "
                "same command again when the other has ended"
            )

    def release(self) -> None:
        self._released.set()
        self._thread.join()
        with writing(self._engine) as connection:
            connection.execute(delete(LOCKS).where(LOCKS.c.token == self._owner.token))

    def _renew(self) -> None:
        renewed = time.monotonic()
        while not self._released.wait(self._timing.beat):
            try:
                with writing(self._engine) as connection:
                    mine = LOCKS.c.token == self._owner.token
                    found = connection.execute(update(LOCKS).where(mine).values(beat_at=_now()))
                    owner = None if found.rowcount else _owner(connection)
                if found.rowcount:
                    renewed = time.monotonic()
                    continue
                self._lost = _taken_by(owner)
            except DatabaseError:
                if time.monotonic() - renewed < self._timing.lease:
                    continue
                self._lost = (
                    f"its lock could not be renewed for {self._timing.lease:g} s (the database did "
                    "not answer), so that another may have the workspace"
                )
            if self._interrupts and not self._released.is_set():
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            return


def lock_owner(engine: Engine) -> LockOwner | None:
    """Who runs a cycle in this workspace now, or died while doing so."""
    with reading(engine) as connection:
        return _owner(connection)


@contextmanager
def cycle_lock(
    engine: Engine,
    cycle: int,
    started_at: datetime | None = None,
    *,
    wait: Callable[[LockOwner], None] | None = None,
    timing: LockTiming = LockTiming(),
) -> Iterator[Lease]:
    """Holds the workspace for one cycle; released on the way out, also by an exception.

    A lock whose process can be seen from here and is dead (kill -9, power loss) is taken over at
    once, one that cannot be seen after ``timing.lease`` seconds of silence. An owner that lost its
    lock is interrupted (SIGINT to the main thread) and told why.

    Args:
        wait: called with the owner before each pause of one heartbeat, for as long as another
            holds the workspace; None: a held workspace is an error.

    Raises:
        LockedError: another cycle runs; the message names it.
        LostLockError: another cycle took the workspace over meanwhile.
    """
    mine = LockOwner(
        cycle=cycle,
        pid=os.getpid(),
        host=socket.gethostname(),
        process_start=process_start(os.getpid()) or "",
        started_at=(started_at or datetime.now(UTC)).isoformat(timespec="seconds"),
        namespace=pid_namespace(),
        token=secrets.token_hex(16),
        beat_at=_now(),
    )
    while (owner := _take(engine, mine, timing)) is not None:
        if wait is None:
            raise LockedError(
                f"{owner.describe()} is running in this workspace; wait until it ends, or use "
                "--wait. If its machine is gone, the workspace frees itself after "
                f"{timing.lease:g} s of silence"
            )
        wait(owner)
        time.sleep(timing.beat)
    lease = Lease(engine, mine, timing)
    try:
        yield lease
    except KeyboardInterrupt:
        if lease.is_lost:
            lease.check()
        raise
    finally:
        lease.release()


def _take(engine: Engine, mine: LockOwner, timing: LockTiming) -> LockOwner | None:
    """Makes ``mine`` the owner; returns who else is, where that did not work."""
    with writing(engine) as connection:
        owner = _owner(connection)
        if owner is None or _is_dead(owner):
            _write(connection, mine)
            return None
    if _is_visible(owner) or _now() - owner.beat_at < timing.lease:
        return owner
    time.sleep(2 * timing.beat)  # its clock may be wrong: watched, it must stay silent too
    with writing(engine) as connection:
        now = _owner(connection)
        if now is not None and now != owner:
            return now
        _write(connection, mine)
        return None


def _write(connection: Connection, owner: LockOwner) -> None:
    connection.execute(delete(LOCKS).where(LOCKS.c.name == _NAME))
    connection.execute(insert(LOCKS).values(name=_NAME, **asdict(owner)))


def break_lock(
    engine: Engine,
    *,
    force: bool = False,
    timing: LockTiming = LockTiming(),
) -> LockOwner | None:
    """Frees the workspace of a cycle that cannot be running any more; returns whose lock it was.

    Args:
        force: also where the owner cannot be seen from here and was heard of within the lease.

    Raises:
        LockedError: its process is alive; or it cannot be seen from here and may be.
    """
    with writing(engine) as connection:
        owner = _owner(connection)
        if owner is None:
            return None
        if _is_visible(owner) and not _is_dead(owner):
            raise LockedError(
                f"{owner.describe()} is running here; wait, or end that process first"
            )
        silence = _now() - owner.beat_at
        if not (force or _is_dead(owner) or silence >= timing.lease):
            raise LockedError(
                f"{owner.describe()} was heard of {max(0.0, silence):.0f} s ago, from where its "
                "process cannot be seen; wait for it, or use --force if that machine is gone"
            )
        connection.execute(delete(LOCKS).where(LOCKS.c.name == _NAME))
        return owner


def _owner(connection: Connection) -> LockOwner | None:
    columns = [column for column in LOCKS.c if column.name != "name"]
    row = connection.execute(select(*columns).where(LOCKS.c.name == _NAME)).one_or_none()
    return None if row is None else LockOwner(*row)


def _taken_by(owner: LockOwner | None) -> str:
    if owner is None:
        return "its lock was broken by `negalign unlock`"
    return f"its workspace was taken over by {owner.describe()}"


def _is_visible(owner: LockOwner) -> bool:
    """Whether the owner's pid means the same process here."""
    return owner.namespace == pid_namespace() and owner.host == socket.gethostname()


def _is_dead(owner: LockOwner) -> bool:
    """Whether the owner could be seen from here, and no longer runs."""
    return _is_visible(owner) and process_start(owner.pid) != owner.process_start


def _now() -> float:
    return time.time()
