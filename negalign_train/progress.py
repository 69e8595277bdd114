"""How far a step is and how long it will still take. Nothing here prints."""

from __future__ import annotations

import time
from collections.abc import Callable

Tick = Callable[[int, int], None]
"""Called with how much of a step is done, and how much there is in all."""

Progress = Callable[[str], None]
"""Called with a line on what starts, or with a :class:`TimeLeft`."""

_QUICK = 2.0
"""Seconds in which a step need say nothing."""


class TimeLeft(str):
    """A line that is out of date soon: a terminal shows it in place of the last one."""

    __slots__ = ()


def silent(line: str) -> None:
    """Progress for callers who want none."""


def no_tick(done: int, total: int) -> None:
    """Ticks for callers who want none."""


def time_left(what: str, progress: Progress, clock: Callable[[], float] = time.monotonic) -> Tick:
    """Says how far ``what`` is, every other second, and at the speed so far how long it still
    takes; nothing in the first two seconds. The first tick says where it starts.
    """
    started = said = moved = clock()
    first: int | None = None
    last = 0

    def tick(done: int, total: int) -> None:
        nonlocal started, said, moved, first, last
        now = clock()
        if first is None:
            started, first = now, done  # what an earlier run did took no time of this one
        if done != last:
            moved, last = now, done
        if now - said < _QUICK or done >= total or done <= first:
            return
        said = now
        # Between two steps the time that has passed is off what was left at the last of them.
        rest = (moved - started) * (total - done) / (done - first) - (now - moved)
        progress(TimeLeft(f"{what}: {done / total:.0%}, about {how_long(rest)} left"))

    return tick


def how_long(seconds: float) -> str:
    """``40 s``, ``3 min``, ``2 h 5 min``: as exact as an estimate is."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def now_and_then(
    write: Progress, every: float = 15.0, clock: Callable[[], float] = time.monotonic
) -> Progress:
    """For output that stays, a file or a log: of the :class:`TimeLeft` lines one each ``every``
    seconds, all others at once.
    """
    written = clock() - every

    def progress(line: str) -> None:
        nonlocal written
        if isinstance(line, TimeLeft):
            if clock() - written < every:
                return
            written = clock()
        write(line)

    return progress
