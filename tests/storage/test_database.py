"""The shared database: settings, migrations, one writer at a time, errors with a way out."""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import inspect, make_url, text

from negalign_train.cycle.closing.seal import SEALS
from negalign_train.feedback.batch import EVENTS
from negalign_train.feedback.quarantine import QUARANTINE
from negalign_train.registry.lock import LOCKS
from negalign_train.registry.log import REGISTRY_LOG, Change, read_changes, write_change
from negalign_train.registry.rows import ADAPTERS, ALIASES
from negalign_train.storage.chain import broken_rows, newest
from negalign_train.storage.database import (
    DatabaseError,
    open_database,
    open_for_reading,
    open_read_only,
    reading,
    shown_url,
    writing,
)
from negalign_train.storage.migrations import LATEST_VERSION, statements
from negalign_train.storage.workspace import Workspace

INSERT_LOCK = "INSERT INTO locks (name, cycle, pid, host, process_start, started_at) VALUES"


def test_sqlite_runs_in_wal_mode_fully_synchronous_with_foreign_keys(tmp_path: Path) -> None:
    engine = open_database(f"sqlite:///{tmp_path / 'new' / 'negalign.db'}")
    with reading(engine) as connection:
        found = {
            name: connection.execute(text(f"PRAGMA {name}")).scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        }
    assert found == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}  # 2 is FULL


def test_the_fixture_gives_a_database_of_each_kind(database_url: str) -> None:
    assert open_database(database_url).dialect.name in database_url


def test_opening_twice_migrates_once_and_records_the_version(database_url: str) -> None:
    open_database(database_url)
    with reading(open_database(database_url)) as connection:
        versions = connection.execute(text("SELECT version FROM schema_version")).scalars().all()
    assert versions == list(range(1, LATEST_VERSION + 1))


def test_a_workspace_of_the_first_schema_goes_on_and_its_rows_are_told_from_chained_ones(
    tmp_path: Path,
) -> None:
    path = tmp_path / "negalign.db"
    with closing(sqlite3.connect(path)) as old:
        old.execute("CREATE TABLE schema_version (version INTEGER PRIMARY KEY)")
        for sql in statements(1, "sqlite"):
            old.execute(sql)
        old.execute("INSERT INTO schema_version VALUES (1)")
        old.execute(
            "INSERT INTO adapters VALUES ('a', NULL, 1, 'd', 'm', 'r', 'promoted', 'better')"
        )
        old.execute("INSERT INTO aliases VALUES ('champion', 'a')")
        old.execute(
            "INSERT INTO alias_history VALUES "
            "(7, 'champion', 'promote', 'a', NULL, 'gate', 'better', 'g.json', 's', 'then')"
        )
        old.commit()
    engine = open_database(f"sqlite:///{path}")
    with writing(engine) as connection:
        (change,) = read_changes(connection)
        assert change == Change(
            "promote", "champion", "a", None, "gate", "better", "then", "g.json", "s"
        )
        write_change(connection, replace(change, action="rollback", reason="worse"))
        assert list(broken_rows(connection, REGISTRY_LOG)) == [
            (7, "was written by a release that chained no rows")
        ]
        assert newest(connection, REGISTRY_LOG).sequence == 8


def test_a_read_only_database_is_neither_written_nor_migrated(tmp_path: Path) -> None:
    path = tmp_path / "negalign.db"
    with closing(sqlite3.connect(path)) as old:
        old.execute("CREATE TABLE locks (name TEXT)")
    before = path.read_bytes()
    engine = open_read_only(f"sqlite:///{path}")
    with reading(engine) as connection:
        assert connection.execute(text("SELECT count(*) FROM locks")).scalar_one() == 0
    with pytest.raises(DatabaseError, match="readonly"), writing(engine) as connection:
        connection.execute(text("INSERT INTO locks (name) VALUES ('x')"))
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["negalign.db"]


def test_every_query_table_has_exactly_the_migrated_columns(database_url: str) -> None:
    inspector = inspect(open_database(database_url))
    for table in (EVENTS, QUARANTINE, ADAPTERS, ALIASES, REGISTRY_LOG, LOCKS, SEALS):
        migrated = [column["name"] for column in inspector.get_columns(table.name)]
        assert migrated == [column.name for column in table.columns]


def test_a_newer_schema_is_refused_with_the_way_out(database_url: str) -> None:
    engine = open_database(database_url)
    with writing(engine) as connection:
        connection.execute(text("INSERT INTO schema_version (version) VALUES (99)"))
    with pytest.raises(DatabaseError, match=r"has schema 99, .* upgrade negalign-train"):
        open_database(database_url)


def test_a_failed_write_leaves_nothing(database_url: str) -> None:
    engine = open_database(database_url)

    def fail_halfway() -> None:
        with writing(engine) as connection:
            connection.execute(text(f"{INSERT_LOCK} ('x', 1, 1, 'h', '', 't')"))
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail_halfway()
    with reading(engine) as connection:
        assert connection.execute(text("SELECT count(*) FROM locks")).scalar_one() == 0


def test_writers_go_one_at_a_time(database_url: str) -> None:
    """Eight threads each read a number and write its successor: none is lost."""
    engine = open_database(database_url)
    with writing(engine) as connection:
        connection.execute(text(f"{INSERT_LOCK} ('n', 0, 1, 'h', '', 't')"))

    def count_up() -> None:
        for _ in range(5):
            with writing(engine) as connection:
                number = connection.execute(text("SELECT cycle FROM locks")).scalar_one()
                connection.execute(text("UPDATE locks SET cycle = :n"), {"n": number + 1})

    threads = [threading.Thread(target=count_up) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with reading(engine) as connection:
        assert connection.execute(text("SELECT cycle FROM locks")).scalar_one() == 40


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("no url at all", "write sqlite:///PATH or postgresql"),
        ("mysql://somewhere/db", "use sqlite or postgresql"),
        ("postgresql+psycopg://u:secret@127.0.0.1:1/x", "Check .* that the server is up"),
    ],
)
def test_a_database_that_cannot_be_opened_says_what_to_do(url: str, message: str) -> None:
    with pytest.raises(DatabaseError, match=message) as caught:
        open_database(url)
    assert "secret" not in str(caught.value)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "negalign.db"
    path.write_bytes(b"not a database" * 100)
    with pytest.raises(DatabaseError, match="file is not a database"):
        open_database(f"sqlite:///{path}")


def test_errors_do_not_show_the_values_of_a_row(database_url: str) -> None:
    engine = open_database(database_url)
    insert = text(f"{INSERT_LOCK} ('x', 1, 1, :h, '', 't')")

    def insert_one_name_twice() -> None:
        with writing(engine) as connection:
            connection.execute(insert, [{"h": "SECRET REPORT"}, {"h": "SECRET REPORT"}])

    with pytest.raises(DatabaseError) as caught:
        insert_one_name_twice()
    assert "SECRET" not in f"{caught.value} {caught.value.__cause__}"


def test_a_full_disk_undoes_the_transaction_and_says_so(tmp_path: Path) -> None:
    engine = open_database(f"sqlite:///{tmp_path / 'negalign.db'}")
    insert = text(f"{INSERT_LOCK} (:n, 1, 1, :h, '', 't')")

    def fill_the_disk() -> None:
        with writing(engine) as connection:
            pages = connection.execute(text("PRAGMA page_count")).scalar_one()
            connection.execute(text(f"PRAGMA max_page_count = {pages}"))
            connection.execute(insert, [{"n": str(n), "h": "h" * 500} for n in range(2000)])

    with pytest.raises(DatabaseError, match=r"disk is full.*Free disk space"):
        fill_the_disk()
    with reading(engine) as connection:
        assert connection.execute(text("SELECT count(*) FROM locks")).scalar_one() == 0


def test_a_folder_that_cannot_be_made_is_named() -> None:
    with pytest.raises(DatabaseError, match="choose another --workspace"):
        open_database(f"sqlite:////proc/{os.getpid()}/negalign/negalign.db")


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:"])
def test_a_database_that_keeps_nothing_is_refused(url: str) -> None:
    with pytest.raises(DatabaseError, match="keeps nothing"):
        open_database(url)


def test_a_password_in_the_query_is_not_shown() -> None:
    url = make_url("postgresql+psycopg://u:one@127.0.0.1/x?password=two&sslpassword=three")
    shown = shown_url(url)
    assert shown == "postgresql+psycopg://u:***@127.0.0.1/x"


def test_two_workspaces_with_a_question_mark_in_their_names_share_nothing(tmp_path: Path) -> None:
    for name in ("site?a", "site?b", "site%20c"):
        place = Workspace(tmp_path / name)
        open_database(place.database_url).dispose()
        assert place.database_file.is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["site%20c", "site?a", "site?b"]


def test_a_workspace_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    place = Workspace(tmp_path / "new")
    open_database(place.database_url).dispose()
    assert stat.S_IMODE(place.root.stat().st_mode) == 0o700


def test_a_command_that_reads_needs_no_writable_folder_and_sees_what_others_write(
    tmp_path: Path,
) -> None:
    path = tmp_path / "negalign.db"
    url = f"sqlite:///{path}"
    writer = open_database(url)
    reader = open_for_reading(url)
    with writing(writer) as connection:
        connection.execute(text(f"{INSERT_LOCK} ('n', 1, 1, 'h', '', 't')"))
        with reading(reader) as other:
            assert other.execute(text("SELECT count(*) FROM locks")).scalar_one() == 0
    with reading(reader) as other:
        assert other.execute(text("SELECT count(*) FROM locks")).scalar_one() == 1
    with pytest.raises(DatabaseError, match="readonly"), writing(reader) as connection:
        connection.execute(text("DELETE FROM locks"))


def test_a_database_that_cannot_get_its_shared_memory_is_read_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "negalign.db"
    open_database(f"sqlite:///{path}").dispose()
    connect: Any = sqlite3.connect

    def on_a_full_disk(address: str, **how: Any) -> Any:
        if "mode=ro" in address:  # SQLite would make negalign.db-shm
            raise sqlite3.OperationalError("unable to open database file")
        return connect(address, **how)

    monkeypatch.setattr(sqlite3, "connect", on_a_full_disk)
    with reading(open_for_reading(f"sqlite:///{path}")) as connection:
        assert connection.execute(text("SELECT count(*) FROM locks")).scalar_one() == 0


def test_reading_migrates_an_older_database(tmp_path: Path) -> None:
    path = tmp_path / "negalign.db"
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements(1, "sqlite"):
            connection.execute(statement)
        connection.execute("CREATE TABLE schema_version (version INTEGER PRIMARY KEY)")
        connection.execute("INSERT INTO schema_version VALUES (1)")
        connection.commit()
    with reading(open_for_reading(f"sqlite:///{path}")) as opened:
        newest_version = opened.execute(text("SELECT max(version) FROM schema_version"))
        assert newest_version.scalar_one() == LATEST_VERSION


@pytest.mark.parametrize(
    ("damage", "way_out"),
    [(b"not a database" * 100, "Give the path of a negalign database"), (None, "malformed")],
)
def test_a_damaged_database_is_not_met_with_free_disk_space(
    tmp_path: Path, damage: bytes | None, way_out: str
) -> None:
    path = tmp_path / "negalign.db"
    open_database(f"sqlite:///{path}").dispose()
    content = path.read_bytes()
    path.write_bytes(damage or content[:4096] + b"\xff" * (len(content) - 4096))
    with pytest.raises(DatabaseError, match=way_out) as caught:
        open_database(f"sqlite:///{path}")
    assert "Free disk space" not in str(caught.value)
