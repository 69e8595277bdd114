"""A private PostgreSQL server for the tests: Debian's package, a folder of its own, one socket."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

URL_VARIABLE = "NEGALIGN_TEST_DATABASE_URL"
MISSING = f"no PostgreSQL here: apt-get install postgresql, or set {URL_VARIABLE}"
_NAME = "postgres"  # of the superuser, of the system's user and of the first database


def server_programs() -> Path | None:
    """The folder of ``initdb`` and ``pg_ctl``, the newest release; None where there is none."""
    releases = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=_release)
    if releases:
        return releases[-1].parent
    found = shutil.which("initdb")
    return None if found is None else Path(found).parent


def _release(initdb: Path) -> float:
    return float(initdb.parts[-3])


@contextmanager
def running_server(folder: Path, programs: Path) -> Iterator[str]:
    """Starts a server in ``folder``, yields its URL, and stops it. No port is opened."""
    # PostgreSQL refuses to run as root; the package has made a user for it.
    user = pwd.getpwnam(_NAME) if os.geteuid() == 0 else None
    if user is not None:
        os.chown(folder, user.pw_uid, user.pw_gid)
    data = folder / "data"

    def call(program: str, *arguments: str) -> None:
        subprocess.run(
            [programs / program, "--pgdata", str(data), *arguments],
            check=True, stdout=subprocess.DEVNULL, cwd=folder,
            user=None if user is None else user.pw_uid,
            group=None if user is None else user.pw_gid,
        )  # fmt: skip

    call("initdb", "--username", _NAME, "--auth", "trust", "--no-sync", "--encoding", "UTF8")
    options = f"-c listen_addresses= -c unix_socket_directories={folder} -c fsync=off"
    call("pg_ctl", "--wait", "--log", str(folder / "log"), "--options", options, "start")
    try:
        yield f"postgresql+psycopg://{_NAME}@/{_NAME}?host={folder}"
    finally:
        call("pg_ctl", "--wait", "--mode", "immediate", "stop")
