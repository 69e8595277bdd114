"""Files that are whole or not there. Standard library only."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_NEW_FILE = 0o666
"""Mode of a file that was not there, less the umask."""


def fsync_path(path: Path) -> None:
    """Waits until a file or folder is on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary name beside ``path``; on clean exit it is synced and renamed over it.

    A link is followed: what it points to is replaced, the link stays. A device, pipe or socket is
    never replaced: it is yielded itself, to be written into. The temporary file has a name nobody
    can guess and follows no link; it has the mode of the file that it replaces.

    Raises:
        IsADirectoryError: ``path`` is a folder.
    """
    mode = _mode_of(path)
    if mode is not None and stat.S_ISDIR(mode):
        raise IsADirectoryError(21, "Is a directory", str(path))
    if mode is not None and not stat.S_ISREG(mode):
        yield path  # not resolved: /dev/stdout leads to a pipe that has no path
        return
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    kept = _NEW_FILE if mode is None else stat.S_IMODE(mode)
    os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, kept))
    try:
        yield temporary
        if mode is not None:
            # The umask took bits away at creation, and a writer may have made the file anew.
            temporary.chmod(kept)
        fsync_path(temporary)
        temporary.replace(path)
        fsync_path(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _mode_of(path: Path) -> int | None:
    try:
        return path.stat().st_mode
    except FileNotFoundError:
        return None
