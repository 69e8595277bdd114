"""One database for log, registry and lock: SQLite by default, PostgreSQL where machines share it.

Writers go one at a time (SQLite: BEGIN IMMEDIATE; PostgreSQL: an advisory lock), so that a reader
who has seen sequence number n never meets a smaller one later.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError
from sqlalchemy.pool import NullPool

from negalign_train.storage.migrations import DIALECTS, LATEST_VERSION, statements
from negalign_train.vocabulary.errors import NegalignError

_BUSY_TIMEOUT_MS = 30_000
_WRITER_LOCK = 0x6E65_67_61  # "nega": the PostgreSQL advisory lock that writers take
_VERSION_TABLE = "schema_version"


class DatabaseError(NegalignError):
    """The database cannot be opened, read or written."""


def parse_url(url: str | URL) -> URL:
    """A database URL.

    Raises:
        DatabaseError: it cannot be parsed, is of another kind, or is a SQLite database in memory,
            which nothing would be left of.
    """
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise DatabaseError(
            "the database URL cannot be parsed; write sqlite:///PATH or "
            "postgresql+psycopg://USER@HOST/NAME"
        ) from error
    dialect = parsed.get_backend_name()
    if dialect not in DIALECTS:
        raise DatabaseError(f"database {dialect!r} is not supported; use sqlite or postgresql")
    if dialect == "sqlite" and parsed.database in (None, "", ":memory:"):
        raise DatabaseError(
            "the database URL names a SQLite database in memory, which keeps nothing; write "
            "sqlite:///PATH"
        )
    return parsed


def shown_url(url: URL) -> str:
    """A URL as messages may show it: without its password, and without its query, where drivers
    take passwords and key files too.
    """
    return url.set(query={}).render_as_string(hide_password=True)


def open_database(url: str | URL) -> Engine:
    """The database at ``url``, created and migrated if need be.

    SQLite runs in WAL mode with synchronous=FULL (0 of 40 kill -9 lost an acknowledged row,
    reference/reliability-and-ecosystem.md A2-9) and foreign keys on.

    Raises:
        DatabaseError: as ``parse_url``; no access; or a schema newer than this package.
    """
    parsed = parse_url(url)
    dialect = parsed.get_backend_name()
    if dialect == "sqlite":
        _make_folder(Path(str(parsed.database)).parent)
    try:
        # One connection per transaction: nothing stays open, and forked workers share none.
        engine = create_engine(parsed, hide_parameters=True, poolclass=NullPool)
    except ModuleNotFoundError as error:
        raise DatabaseError(
            f"the driver {error.name} is missing; use postgresql+psycopg://... and install "
            "negalign-train[postgres]"
        ) from error
    if dialect == "sqlite":
        event.listen(engine, "connect", _configure_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    _migrate(engine)
    return engine


def open_read_only(url: str | URL) -> Engine:
    """The database at ``url`` as it is: nothing is created, migrated or written, no file beside it
    either.

    Raises:
        DatabaseError: as ``parse_url``.
    """
    parsed = parse_url(url)
    if parsed.get_backend_name() == "postgresql":
        return create_engine(
            parsed,
            hide_parameters=True,
            poolclass=NullPool,
            execution_options={"postgresql_readonly": True},
        )
    path = Path(str(parsed.database)).resolve()
    log = path.with_name(f"{path.name}-wal")
    # Without a write-ahead log the file is all there is; SQLite would else make one to read it.
    alone = not log.is_file() or log.stat().st_size == 0
    return _sqlite_reader(parsed, path, "immutable=1" if alone else "mode=ro")


def open_for_reading(url: str | URL) -> Engine:
    """The database at ``url`` for a command that only reads, while others may write.

    A full or read-only disk is no hindrance. Only an older schema is migrated, which writes.

    Raises:
        DatabaseError: as ``open_database``.
    """
    parsed = parse_url(url)
    if parsed.get_backend_name() == "postgresql":
        return open_database(parsed)
    path = Path(str(parsed.database)).resolve()
    engine = _sqlite_reader(parsed, path, "mode=ro")
    try:
        with reading(engine) as connection:
            version = _version(connection)
    except DatabaseError:
        # SQLite reads through a file of shared memory, and could not make it beside the database.
        engine = open_read_only(parsed)
        with reading(engine) as connection:
            version = _version(connection)
    return engine if version == LATEST_VERSION else open_database(parsed)


def _sqlite_reader(url: URL, path: Path, how: str) -> Engine:
    address = f"file:{quote(str(path))}?{how}"
    engine = create_engine(
        url,
        hide_parameters=True,
        poolclass=NullPool,
        creator=lambda: sqlite3.connect(
            address, uri=True, isolation_level=None, timeout=_BUSY_TIMEOUT_MS / 1000
        ),
    )
    event.listen(engine, "begin", _begin_sqlite)
    return engine


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A transaction that only reads.

    Raises:
        DatabaseError: the database refused.
    """
    with _translated(engine), engine.connect() as connection, connection.begin():
        yield connection


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """The one writing transaction of this moment; kept whole on clean exit, undone otherwise.

    Raises:
        DatabaseError: the database refused (full disk, read-only, locked for too long).
    """
    with (
        _translated(engine),
        engine.connect().execution_options(negalign_writes=True) as connection,
        connection.begin(),
    ):
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _WRITER_LOCK})
        yield connection


@contextmanager
def _translated(engine: Engine) -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        # SQLite's messages name tables and columns; PostgreSQL's may hold the values of a row.
        quoted = engine.dialect.name == "sqlite" or isinstance(error, OperationalError)
        detail = str(error.orig).splitlines()[0] if quoted else type(error.orig).__name__
        raise DatabaseError(
            f"database {shown_url(engine.url)}: {detail}; the transaction was undone. "
            f"{_way_out(detail, engine.dialect.name)}"
        ) from error


_WAYS_OUT = {
    "is full": "Free disk space, then run the same command again",
    "readonly": "Check write permission, then run the same command again",
    "unable to open": "Check that the folder is there, writable and not full",
    "locked": "Another process holds it for long; wait, then run the same command again",
    "malformed": "The file is damaged; restore it from a backup",
    "not a database": "Give the path of a negalign database, or restore it from a backup",
    "no such": "The file is damaged or of another program; restore it from a backup",
}
"""What SQLite says, and what helps against it."""


def _way_out(detail: str, dialect: str) -> str:
    if dialect == "postgresql":
        return "Check the URL, the rights of its user and that the server is up"
    ways = (way for said, way in _WAYS_OUT.items() if said in detail)
    return next(ways, "Check the disk, then run the same command again")


def _make_folder(folder: Path) -> None:
    try:
        # Private: what lies in a workspace is patient data. Whoever shares one opens it on purpose.
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise DatabaseError(
            f"{folder}: cannot be created ({error.strerror}); choose another --workspace"
        ) from error


def _configure_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # we begin transactions ourselves, in _begin_sqlite
    for pragma in (
        f"busy_timeout={_BUSY_TIMEOUT_MS}",
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
    ):
        connection.execute(f"PRAGMA {pragma}").close()


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("negalign_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _version(connection: Connection) -> int:
    if not inspect(connection).has_table(_VERSION_TABLE):
        return 0
    newest_version = connection.execute(
        text(f"SELECT max(version) FROM {_VERSION_TABLE}")
    ).scalar_one()
    return int(newest_version or 0)


def _migrate(engine: Engine) -> None:
    with reading(engine) as connection:
        version = _version(connection)
    if version > LATEST_VERSION:
        raise DatabaseError(
            f"database {shown_url(engine.url)} has schema {version}, "
            f"this negalign_train knows up to {LATEST_VERSION}; upgrade negalign-train"
        )
    if version == LATEST_VERSION:
        return
    with writing(engine) as connection:
        # Read again: another process may have migrated while this one waited.
        version = _version(connection)
        if version == 0:
            connection.exec_driver_sql(
                f"CREATE TABLE IF NOT EXISTS {_VERSION_TABLE} (version INTEGER PRIMARY KEY)"
            )
        for target in range(version + 1, LATEST_VERSION + 1):
            for statement in statements(target, engine.dialect.name):
                connection.exec_driver_sql(statement)
            connection.execute(
                text(f"INSERT INTO {_VERSION_TABLE} (version) VALUES (:version)"),
                {"version": target},
            )
