"""`negalign audit` and `negalign pairs` on a workspace of two cycles."""

import json
import random
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import delete, select, text

from negalign_train.cycle.upkeep.audit import audit_workspace
from negalign_train.cycle.upkeep.override import override
from negalign_train.cycle.upkeep.serving import loadable_folder
from negalign_train.feedback.batch import EVENTS
from negalign_train.feedback.store import FeedbackStore
from negalign_train.registry.adapters import Registry
from negalign_train.storage.chain import append_rows
from negalign_train.storage.database import DatabaseError, open_database, open_read_only, writing
from negalign_train.storage.workspace import Workspace, read_json, write_json
from negalign_train.vocabulary.errors import CycleError, RegistryError


@pytest.fixture
def workspace(two_cycles, tmp_path):
    return Workspace(Path(shutil.copytree(two_cycles[0], tmp_path / "workspace")))


def audited(workspace: Workspace):
    return audit_workspace(workspace, open_read_only(workspace.database_url))


def negalign(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "negalign_train.commands.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_audit_of_an_untouched_workspace_finds_no_problem_and_leaves_it_as_it_is(workspace):
    before = contents(workspace.root)
    found = audited(workspace)
    assert found.problems == ()
    whats = [check.what for check in found.checks]
    assert {"table events", "states and aliases", "seal of cycle 2"} <= set(whats)
    assert found.history[0].changed_by == "gate"
    assert contents(workspace.root) == before


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_audit_names_every_one_of_random_edits_of_files(workspace):
    """One byte, anywhere under cycles/ and adapters/: every file once, and random ones again."""
    rng = random.Random(11)
    files = sorted(
        path
        for folder in ("cycles", "adapters")
        for path in (workspace.root / folder).rglob("*")
        if path.is_file()
    )
    assert len(files) > 40
    unseen = []
    for path in [*files, *rng.choices(files, k=120 - min(len(files), 100))]:
        before = path.read_bytes()
        place = rng.randrange(max(len(before), 1))
        path.chmod(0o644)
        path.write_bytes(
            before[:place] + bytes([(before or b"x")[place] ^ 1]) + before[place + 1 :]
        )
        if not any(str(path) in str(check.problem) for check in audited(workspace).problems):
            unseen.append(path)
        path.write_bytes(before)
    assert unseen == []
    assert audited(workspace).problems == ()


def fields(database: Path) -> list[tuple[str, str]]:
    """Every column of every table that holds a row, SQLite's own count of rows too."""
    with closing(sqlite3.connect(database)) as connection:
        tables = [
            name
            for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        ]
        return [
            (table, column[1])
            for table in tables
            if connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            for column in connection.execute(f"PRAGMA table_info({table})")
        ]


def edit_field(database: Path, table: str, column: str, rng: random.Random) -> str:
    """Changes one field of a random row; returns what it was changed into."""
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        row_ids = [row for (row,) in connection.execute(f"SELECT rowid FROM {table}")]
        row_id = rng.choice(row_ids)
        query = f"SELECT {column} FROM {table} WHERE rowid = ?"
        (value,) = connection.execute(query, (row_id,)).fetchone()
        new: object
        if isinstance(value, int):
            new = value + rng.choice([1000, 2000, 3000])
        elif value is None:
            new = rng.choice(["x", 7])
        else:
            at = rng.randrange(len(value) + 1)
            new = value[:at] + rng.choice("xyz0") + value[at:]
        connection.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (new, row_id))
        connection.commit()
        # Back to one file, as a command leaves it.
        connection.execute("PRAGMA journal_mode = DELETE")
        return f"{table}.{column} of row {row_id}"


def test_audit_names_every_one_of_random_edits_of_database_fields(workspace):
    rng = random.Random(12)
    database = workspace.root / "negalign.db"
    approve(workspace, "a study")
    before = database.read_bytes()
    everywhere = fields(database)
    assert {"events", "adapters", "aliases", "registry_log", "seals", "schema_version"} <= {
        table for table, _ in everywhere
    }
    unseen = []
    for table, column in [*everywhere, *rng.choices(everywhere, k=100 - len(everywhere))]:
        edited = edit_field(database, table, column, rng)
        if not audited(workspace).problems:
            unseen.append(edited)
        database.write_bytes(before)
    assert unseen == []
    assert audited(workspace).problems == ()


def dump(database: Path) -> list[str]:
    """The stored rows. How a column's type is spelt in the schema is no stored value."""
    with closing(sqlite3.connect(f"file:{database}?immutable=1", uri=True)) as connection:
        return [line for line in connection.iterdump() if line.startswith("INSERT")]


def test_a_changed_byte_of_the_database_file_is_named_or_changes_no_stored_value(workspace):
    rng = random.Random(13)
    database = workspace.root / "negalign.db"
    before, stored = database.read_bytes(), dump(database)
    named = 0
    for place in rng.sample(range(len(before)), 60):
        database.write_bytes(before[:place] + bytes([before[place] ^ 4]) + before[place + 1 :])
        try:
            seen = bool(audited(workspace).problems)
        except DatabaseError:
            seen = True
        named += seen
        assert seen or dump(database) == stored, place
    database.write_bytes(before)
    assert named > 30


def approve(workspace: Workspace, reason: str) -> None:
    registry = Registry(workspace, open_database(workspace.database_url))
    registry.approve("champion", by="anna", reason=reason)


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM events WHERE sequence = (SELECT max(sequence) FROM events)",
        "DELETE FROM events WHERE sequence = 3",
        "UPDATE events SET case_id = 'another' WHERE sequence = 3",
        "DELETE FROM seals WHERE cycle = 2",
        "DELETE FROM aliases",
        "DELETE FROM registry_log",
        "UPDATE adapters SET state = 'candidate', state_reason = 'published'",
    ],
)
def test_audit_names_rows_that_were_taken_out_or_set_by_hand(workspace, sql):
    with closing(sqlite3.connect(workspace.root / "negalign.db")) as connection:
        connection.execute(sql)
        connection.commit()
    assert audited(workspace).problems


def test_audit_names_files_that_were_added_or_taken_away(workspace):
    added = workspace.cycle_dir(1) / "candidates" / "note.txt"
    added.write_text("mine")
    gone = workspace.cycle_dir(2) / "split.json"
    gone.unlink()
    (workspace.adapters_dir / "foreign").mkdir()
    (workspace.root / "cycles" / "c0009").mkdir()
    problems = [str(check.problem) for check in audited(workspace).problems]
    assert [f"{added} was put there after the cycle ended"] == problems_of(problems, added)
    assert [f"{gone} is missing; restore it from a backup"] == problems_of(problems, gone)
    assert problems_of(problems, workspace.adapters_dir / "foreign")
    assert problems_of(problems, workspace.root / "cycles" / "c0009")


def problems_of(problems: list[str], path: Path) -> list[str]:
    return [problem for problem in problems if str(path) in problem]


def test_events_and_moves_that_came_after_the_last_cycle_are_covered_too(workspace, make_event):
    engine = open_database(workspace.database_url)
    FeedbackStore(engine).append([make_event(event_id="late")], source="test")
    approve(workspace, "a study")
    assert audited(workspace).problems == ()
    for sql in (
        "UPDATE events SET ingested_at = 'never' WHERE event_id = 'late'",
        "UPDATE registry_log SET reason = 'no study' WHERE reason = 'a study'",
    ):
        with writing(engine) as connection:
            connection.execute(text(sql))
    assert [check.what for check in audited(workspace).problems] == [
        "table events", "table registry_log",
    ]  # fmt: skip


def test_the_new_chain_cannot_be_written_over_a_changed_row_without_the_seals_telling(workspace):
    """The rows of the log written anew with a good chain: the seals still hold the old one."""
    engine = open_database(workspace.database_url)
    with writing(engine) as connection:
        rows = [dict(row._mapping) for row in connection.execute(select(EVENTS))]
        connection.execute(delete(EVENTS))
        append_rows(connection, EVENTS, [row | {"origin": "elsewhere"} for row in rows])
    assert [check.what for check in audited(workspace).problems] == [
        "seal of cycle 1", "seal of cycle 2",
    ]  # fmt: skip


def test_a_copy_for_serving_that_was_changed_is_named(workspace):
    registry = Registry(workspace, open_database(workspace.database_url))
    folder = loadable_folder(workspace, registry, "champion")
    assert audited(workspace).problems == ()
    config = read_json(folder / "adapter_config.json")
    write_json(folder / "adapter_config.json", config | {"lora_alpha": 4000})
    assert [check.what for check in audited(workspace).problems] == ["copies under serving"]


def test_a_cycle_that_is_not_finished_is_said_to_be_unsealed(workspace):
    (workspace.root / "cycles" / "c0003").mkdir()
    found = audited(workspace)
    assert found.problems == ()
    assert any("c0003: not finished" in check.what for check in found.checks)


def test_audit_finds_a_gate_record_that_was_changed_afterwards(workspace):
    path = workspace.cycle_dir(1) / "gate_record.json"
    value = read_json(path)
    value["records"][0]["reasons"] = ["better"]
    write_json(path, value)
    problems = audited(workspace).problems
    assert "chain of 2 gate records" in [check.what for check in problems]
    assert any("was changed since" in str(check.problem) for check in problems)


def promote(workspace: Workspace, adapter_id: str, by: str = "dr-no"):
    registry = Registry(workspace, open_database(workspace.database_url))
    now = datetime(2026, 11, 2, tzinfo=UTC)
    return override(workspace, registry, adapter_id, by, "read 50 reports", now)


def test_a_finished_cycles_candidate_can_be_promoted_by_a_person_and_the_record_says_so(workspace):
    registry = Registry(workspace, open_database(workspace.database_url))
    first, second = (
        read_json(workspace.cycle_dir(cycle) / "cycle.json")["candidates"][0]["adapter"]
        for cycle in (1, 2)
    )
    other = second if registry.resolve("champion") == first else first
    before = registry.get(other).state
    assert before in ("rejected", "retired")
    assert promote(workspace, other).state == "promoted"
    assert registry.resolve("champion") == other
    record = read_json(workspace.root / "overrides" / "0001.json")
    (gate,) = read_json(workspace.cycle_dir(record["cycle"]) / "gate_record.json")["records"]
    assert (record["by"], record["reason"]) == ("dr-no", "read 50 reports")
    assert (record["gate_outcome"], record["gate_reasons"]) == (gate["outcome"], gate["reasons"])
    assert record["gate_fingerprint"] == gate["fingerprint"]
    assert audited(workspace).problems == ()
    move = registry.history()[-1]
    assert (move.action, move.changed_by, move.record) == (
        "override", "dr-no", "overrides/0001.json",
    )  # fmt: skip
    with pytest.raises(RegistryError, match="is champion already"):
        promote(workspace, other)
    assert [path.name for path in (workspace.root / "overrides").iterdir()] == ["0001.json"]
    write_json(workspace.root / "overrides" / "0001.json", record | {"by": "somebody else"})
    assert [check.what for check in audited(workspace).problems] == [
        f"override of {other} by dr-no"
    ]


def test_nobody_promotes_in_the_gates_name_or_before_the_gate_has_decided(workspace):
    registry = Registry(workspace, open_database(workspace.database_url))
    champion = registry.champion()
    assert champion is not None
    record = replace(champion, adapter_id="hand", parent_id=champion.adapter_id, cycle=3)
    registry.publish(registry.path(champion.adapter_id), record)
    with pytest.raises(CycleError, match="say who decides with --by"):
        promote(workspace, "hand", by="gate")
    write_json(workspace.cycle_dir(3) / "plan.json", {})
    with pytest.raises(CycleError, match="cycle 3 is not finished"):
        promote(workspace, "hand")
    registry.promote("hand", by="gate", reason="a test")
    (problem,) = audited(workspace).problems
    assert problem.what == "promote of hand by gate"
    assert problem.problem == "it names no record of a gate or of an override"


def test_audit_command_exits_with_one_where_a_record_is_missing(workspace):
    done = negalign("audit", "--workspace", str(workspace.root), "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["problems"] == []
    shutil.rmtree(workspace.adapters_dir / audited(workspace).history[0].adapter_id)
    done = negalign("audit", "--workspace", str(workspace.root))
    assert done.returncode == 1
    assert "problem(s) in" in done.stderr


def test_pairs_command_counts_what_the_cycle_trained_on_and_shows_no_text(workspace):
    done = negalign("pairs", "--workspace", str(workspace.root), "--cycle", "2", "--json")
    summary = json.loads(done.stdout)
    counts = read_json(workspace.cycle_dir(2) / "preferences.json")
    assert sum(summary["pairs of"].values()) == summary["pairs"] == counts["pairs"]
    assert summary["pairs of"]["cycle 1"] == counts["pairs_replayed"]
    assert summary["pair weight"]["mean"] == pytest.approx(1.0)
    assert "Findings" not in done.stdout
    done = negalign("pairs", "--workspace", str(workspace.root), "--cycle", "9")
    assert done.returncode == 1
    assert "cycle 9 has not built its preferences" in done.stderr
