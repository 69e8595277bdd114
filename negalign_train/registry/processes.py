"""Whether a process that wrote its id somewhere still runs on this host."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path


def process_start(pid: int) -> str | None:
    """A token that tells two processes with one pid apart; None where no such process runs.

    On Linux the start time in clock ticks since boot (proc(5), field 22 of ``stat``); elsewhere
    only existence is known and the token is empty. A zombie does not run.
    """
    if not Path("/proc/self/stat").exists():
        return "" if _exists(pid) else None
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:  # gone, or gone while being read (ESRCH)
        return None
    # Field 2 is the command in parentheses, and may hold spaces and parentheses itself.
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in ("Z", "X") else fields[19]


@cache
def pid_namespace() -> str:
    """Where a pid of this process means something: this boot and this PID namespace.

    Two containers of one machine may share a host name, and see other processes by the same ids.
    Empty where the system does not tell (not Linux): then the host's name must do.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}/{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
