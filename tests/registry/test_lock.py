"""One cycle at a time; a dead owner on this host is replaced, any other is named."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime

import pytest
from sqlalchemy import Engine, update

from negalign_train.registry.lock import (
    LOCKS,
    LockedError,
    break_lock,
    cycle_lock,
    lock_owner,
)
from negalign_train.registry.processes import process_start
from negalign_train.storage.database import open_database, writing
from negalign_train.vocabulary.errors import CycleError

_HOLD = """
import sys, time
from negalign_train.storage.database import open_database
from negalign_train.registry.lock import cycle_lock
with cycle_lock(open_database(sys.argv[1]), 7):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def engine(database_url: str) -> Engine:
    return open_database(database_url)


@pytest.fixture
def hold(database_url: str, engine: Engine) -> Callable[[], subprocess.Popen[str]]:
    """``hold()``: another process that holds the lock for cycle 7."""

    def start() -> subprocess.Popen[str]:
        command = [sys.executable, "-c", _HOLD, database_url]
        holder = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        holder.stdout.close()
        return holder

    return start


def test_the_lock_is_held_inside_and_free_after(engine: Engine, now: datetime) -> None:
    with cycle_lock(engine, 3, started_at=now):
        owner = lock_owner(engine)
        assert owner is not None
        assert (owner.cycle, owner.pid, owner.host) == (3, os.getpid(), socket.gethostname())
        assert owner.started_at == "2026-11-02T12:00:00+00:00"
    assert lock_owner(engine) is None


def test_an_exception_frees_the_lock(engine: Engine) -> None:
    with pytest.raises(ValueError, match="stop"), cycle_lock(engine, 3):
        raise ValueError("stop")
    assert lock_owner(engine) is None


def test_a_second_cycle_is_refused_and_told_who_runs(
    engine: Engine, hold: Callable[[], subprocess.Popen[str]]
) -> None:
    holder = hold()
    try:
        message = rf"cycle 7 is running since .* \(pid {holder.pid}, {socket.gethostname()}\)"
        with pytest.raises(LockedError, match=message) as caught, cycle_lock(engine, 8):
            pass
        assert isinstance(caught.value, CycleError)
        with pytest.raises(LockedError, match="running here"):
            break_lock(engine)
    finally:
        holder.kill()
        holder.wait()


def test_a_killed_cycle_s_lock_is_taken_over(
    engine: Engine, hold: Callable[[], subprocess.Popen[str]]
) -> None:
    holder = hold()
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    with cycle_lock(engine, 8):
        owner = lock_owner(engine)
        assert owner is not None
        assert (owner.cycle, owner.pid) == (8, os.getpid())


def test_a_zombie_counts_as_dead(engine: Engine, hold: Callable[[], subprocess.Popen[str]]) -> None:
    holder = hold()
    holder.kill()
    os.waitid(os.P_PID, holder.pid, os.WEXITED | os.WNOWAIT)  # dead, not reaped
    with cycle_lock(engine, 8):
        pass
    holder.wait()


def test_another_process_with_the_same_pid_is_not_the_owner(engine: Engine) -> None:
    with cycle_lock(engine, 3):
        with writing(engine) as connection:
            connection.execute(update(LOCKS).values(process_start="1"))
        with cycle_lock(engine, 4):
            owner = lock_owner(engine)
            assert owner is not None
            assert owner.cycle == 4


def test_another_host_s_lock_stays_until_it_is_broken(engine: Engine) -> None:
    with cycle_lock(engine, 3):
        with writing(engine) as connection:
            connection.execute(update(LOCKS).values(host="elsewhere", pid=2**22 + 1))
        with pytest.raises(LockedError, match="negalign unlock"), cycle_lock(engine, 4):
            pass
        owner = break_lock(engine)
        assert owner is not None
        assert owner.host == "elsewhere"
        assert break_lock(engine) is None


def test_a_lock_taken_over_is_not_released_by_its_former_owner(engine: Engine) -> None:
    with cycle_lock(engine, 3), writing(engine) as connection:
        connection.execute(update(LOCKS).values(cycle=9))
    owner = lock_owner(engine)
    assert owner is not None
    assert owner.cycle == 9


def test_a_process_that_never_was_has_no_start() -> None:
    assert process_start(2**22 + 1) is None
    assert process_start(os.getpid()) == process_start(os.getpid()) is not None
