"""One cycle at a time; a dead owner on this host is replaced, any other is named."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

import pytest
from sqlalchemy import Engine, delete, insert, update

from negalign_train.registry.lock import (
    LOCKS,
    LockedError,
    LockOwner,
    LockTiming,
    LostLockError,
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
        message = rf"cycle 7, since .* \(pid {holder.pid}, {socket.gethostname()}\) is running"
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


def change(engine: Engine, **values: object) -> None:
    """The row, as another process would leave it."""
    with writing(engine) as connection:
        connection.execute(update(LOCKS).values(**values))


@contextmanager
def held_elsewhere(engine: Engine, **values: object) -> Iterator[None]:
    """The lock of a process that cannot be seen from here, whatever its host is called."""
    row = {"name": "cycle", "cycle": 3, "pid": 2**22 + 1, "host": socket.gethostname()} | {
        "process_start": "1", "started_at": "t", "namespace": "another container",
        "token": "theirs", "beat_at": time.time(),
    }  # fmt: skip
    with writing(engine) as connection:
        connection.execute(insert(LOCKS).values(**row | values))
    yield
    with writing(engine) as connection:
        connection.execute(delete(LOCKS))


@pytest.mark.parametrize("values", [{}, {"host": "elsewhere"}])
def test_a_lock_whose_process_cannot_be_seen_is_not_taken_over_while_it_beats(
    engine: Engine, values: dict[str, object]
) -> None:
    with (
        held_elsewhere(engine, **values),
        pytest.raises(LockedError, match="or use --wait"),
        cycle_lock(engine, 4),
    ):
        pass


def test_a_silent_lock_of_elsewhere_is_taken_over(engine: Engine) -> None:
    silent = held_elsewhere(engine, beat_at=time.time() - 61)
    with silent, cycle_lock(engine, 4, timing=LockTiming(beat=0.01)):
        owner = lock_owner(engine)
        assert owner is not None
        assert owner.cycle == 4


def test_an_owner_whose_clock_is_slow_keeps_its_lock_because_it_beats(engine: Engine) -> None:
    ended = threading.Event()

    def beat() -> None:
        at = time.time() - 3600
        while not ended.wait(0.01):
            at += 0.01
            change(engine, beat_at=at)

    with held_elsewhere(engine, beat_at=time.time() - 3600):
        owner = threading.Thread(target=beat)
        owner.start()
        try:
            with pytest.raises(LockedError), cycle_lock(engine, 4, timing=LockTiming(beat=0.2)):
                pass
        finally:
            ended.set()
            owner.join()


def test_unlock_frees_what_was_silent_and_asks_before_what_was_not(engine: Engine) -> None:
    with held_elsewhere(engine):
        with pytest.raises(LockedError, match=r"was heard of \d s ago.*--force"):
            break_lock(engine)
        owner = break_lock(engine, force=True)
        assert owner is not None
        assert owner.token == "theirs"
        assert break_lock(engine) is None
    with held_elsewhere(engine, beat_at=time.time() - 61):
        assert break_lock(engine) is not None


def test_force_frees_no_lock_of_a_process_that_lives_here(engine: Engine) -> None:
    with cycle_lock(engine, 3), pytest.raises(LockedError, match="running here"):
        break_lock(engine, force=True)


def test_the_owner_beats(engine: Engine) -> None:
    with cycle_lock(engine, 3, timing=LockTiming(beat=0.01)):
        first = lock_owner(engine)
        time.sleep(0.2)
        later = lock_owner(engine)
        assert first is not None
        assert later is not None
        assert (later.token, later.beat_at > first.beat_at) == (first.token, True)


def test_an_owner_that_lost_its_lock_is_interrupted_and_told_to_whom(engine: Engine) -> None:
    start = time.monotonic()

    def wait_for_training() -> None:
        with cycle_lock(engine, 3, timing=LockTiming(beat=0.5)):
            change(engine, cycle=9, token="theirs")
            training = subprocess.Popen(["sleep", "30"])
            try:
                training.wait()
            finally:
                training.kill()
                training.wait()

    with pytest.raises(LostLockError, match=r"cycle 3 stopped: .* taken over by cycle 9"):
        wait_for_training()
    assert time.monotonic() - start < 20
    owner = lock_owner(engine)
    assert owner is not None
    assert owner.cycle == 9


def test_a_cycle_that_lost_its_lock_does_no_further_step(engine: Engine) -> None:
    with cycle_lock(engine, 3, timing=LockTiming(beat=0.5)) as lease:
        lease.check()
        with writing(engine) as connection:
            connection.execute(delete(LOCKS))
        with pytest.raises(LostLockError, match="broken by `negalign unlock`"):
            lease.check()


def test_an_interrupt_of_the_user_stays_one(engine: Engine) -> None:
    with pytest.raises(KeyboardInterrupt), cycle_lock(engine, 3):
        raise KeyboardInterrupt
    assert lock_owner(engine) is None


def test_who_waits_takes_the_lock_when_it_is_free(engine: Engine) -> None:
    waited: list[int] = []

    def wait(owner: LockOwner) -> None:
        waited.append(owner.cycle)
        if len(waited) == 3:
            with writing(engine) as connection:
                connection.execute(delete(LOCKS))

    with held_elsewhere(engine), cycle_lock(engine, 4, wait=wait, timing=LockTiming(beat=0.01)):
        owner = lock_owner(engine)
        assert owner is not None
        assert (owner.cycle, waited) == (4, [3, 3, 3])


def test_a_process_that_never_was_has_no_start() -> None:
    assert process_start(2**22 + 1) is None
    assert process_start(os.getpid()) == process_start(os.getpid()) is not None
