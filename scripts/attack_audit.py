"""Attack the audit: random edits of a finished workspace, and how many of them it names.

Half of the edits are of files (one byte changed, the end cut off, the file deleted), half are of
single fields of the database, over all its tables and columns. Each is made in a temporary copy and
taken back after `negalign audit` has looked. Copies under serving/ are left out: they are derived.
The exit code is 1 if an edit went unseen.

    python scripts/attack_audit.py --workspace workspace --edits 200 --seed 1
"""

from __future__ import annotations

import argparse
import random
import shutil
import sqlite3
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from negalign_train.cycle.upkeep.audit import audit_workspace
from negalign_train.storage.database import DatabaseError, open_read_only
from negalign_train.storage.workspace import Workspace

DATABASE = "negalign.db"
DERIVED = "serving"
TRIES = 100
"""Random values tried for a field whose table refuses some (unique, not null)."""


def change_byte(path: Path, rng: random.Random) -> None:
    content = bytearray(path.read_bytes())
    place = rng.randrange(len(content))
    content[place] ^= rng.randrange(1, 256)
    path.write_bytes(content)


def cut_end(path: Path, rng: random.Random) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: rng.randrange(len(content))])


def delete(path: Path, _: random.Random) -> None:
    path.unlink()


FILE_EDITS: dict[str, Callable[[Path, random.Random], None]] = {
    "one byte changed": change_byte,
    "end cut off": cut_end,
    "file deleted": delete,
}
FIELD_EDIT = "one field of the database"


def editable_files(root: Path) -> list[Path]:
    """Every file with content, less the database, what SQLite keeps beside it, and copies."""
    return [
        path
        for path in sorted(root.rglob("*"))
        if path.is_file()
        and path.stat().st_size
        and not path.name.startswith(DATABASE)
        and path.relative_to(root).parts[0] != DERIVED
    ]


def database_columns(database: Path) -> list[tuple[str, str]]:
    """Table and column, over all tables that hold a row; SQLite's own count of rows is one."""
    with closing(sqlite3.connect(database)) as connection:
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        return [
            (table, column[1])
            for (table,) in names.fetchall()
            if connection.execute(f'SELECT count(*) FROM "{table}"').fetchone()[0]
            for column in connection.execute(f'PRAGMA table_info("{table}")')
        ]


def edit_field(database: Path, table: str, column: str, rng: random.Random) -> str:
    """Sets one field of a random row to another value; returns where that was.

    Raises:
        RuntimeError: the table refused every value that was tried.
    """
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        rows = [row for (row,) in connection.execute(f'SELECT rowid FROM "{table}"')]
        for _ in range(TRIES):
            row = rng.choice(rows)
            query = f'SELECT "{column}" FROM "{table}" WHERE rowid = ?'
            (before,) = connection.execute(query, (row,)).fetchone()
            update = f'UPDATE "{table}" SET "{column}" = ? WHERE rowid = ?'
            try:
                connection.execute(update, (_other_value(before, rng), row))
            except sqlite3.IntegrityError:
                continue
            after = connection.execute(query, (row,)).fetchone()
            if after is None or after[0] != before:  # none: the row's own number was changed
                connection.commit()
                connection.execute("PRAGMA journal_mode = DELETE")  # one file, as commands leave it
                return f"{table}.{column} of row {row}"
            connection.rollback()
    raise RuntimeError(f"{table}.{column}: no other value was accepted in {TRIES} tries")


def _other_value(before: object, rng: random.Random) -> object:
    if isinstance(before, (int, float)):
        return rng.choice([before + 1, before - 1, before + rng.randrange(2, 1000), -before])
    if not isinstance(before, str) or not before:
        return rng.choice(["x", "0", 7])
    place = rng.randrange(len(before))
    return rng.choice(
        [
            before[:place] + rng.choice("abcxyz019 ") + before[place + 1 :],
            before[:place] + before[place + 1 :],
            before[:place] + rng.choice("abcxyz019 ") + before[place:],
            None,
        ]
    )


def problems(root: Path) -> list[str]:
    workspace = Workspace(root)
    try:
        checks = audit_workspace(workspace, open_read_only(workspace.database_url)).problems
    except DatabaseError as error:
        return [str(error)]
    return [f"{check.what}: {check.problem}" for check in checks]


def attack_file(root: Path, kind: str, rng: random.Random) -> tuple[str, bool]:
    """Edits one file, audits, and restores it: what was edited, and whether its path was named."""
    path = rng.choice(editable_files(root))
    before, mode = path.read_bytes(), path.stat().st_mode
    path.chmod(0o644)
    FILE_EDITS[kind](path, rng)
    named = any(str(path) in problem for problem in problems(root))
    path.write_bytes(before)
    path.chmod(mode)
    return f"{path.relative_to(root)}, {kind}", named


def attack_field(root: Path, rng: random.Random) -> tuple[str, bool]:
    """Edits one field, audits, and restores the database: what was edited, and whether any problem
    was named. Nothing else differs, so any problem is that edit's.
    """
    database = root / DATABASE
    before = database.read_bytes()
    what = edit_field(database, *rng.choice(database_columns(database)), rng)
    named = bool(problems(root))
    database.write_bytes(before)
    return what, named


def attack(
    root: Path, edits: int, rng: random.Random
) -> tuple[Counter[str], list[tuple[str, str]]]:
    """How many edits of each kind were made, and (kind, place) of those that went unseen."""
    made: Counter[str] = Counter()
    unseen: list[tuple[str, str]] = []
    for number in range(edits):
        kind = rng.choice(list(FILE_EDITS)) if number % 2 == 0 else FIELD_EDIT
        in_file = kind != FIELD_EDIT
        what, named = attack_file(root, kind, rng) if in_file else attack_field(root, rng)
        made[kind] += 1
        if not named:
            unseen.append((kind, what))
    return made, unseen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], allow_abbrev=False)
    parser.add_argument("--workspace", type=Path, required=True, help="finished; it is copied")
    parser.add_argument("--edits", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    if not (args.workspace / DATABASE).is_file():
        parser.error(f"there is no workspace at {args.workspace}: {DATABASE} is missing")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(shutil.copytree(args.workspace, Path(folder) / "workspace"))
        if already := problems(root):
            sys.exit(f"error: the workspace has problems before any edit: {already[0]}")
        made, unseen = attack(root, args.edits, random.Random(args.seed))
        if left := problems(root):
            sys.exit(f"error: the workspace was not restored: {left[0]}")
    missed = Counter(kind for kind, _ in unseen)
    print(f"{'kind':<28}{'edits':>8}{'named':>8}")
    for kind in (*FILE_EDITS, FIELD_EDIT):
        print(f"{kind:<28}{made[kind]:>8}{made[kind] - missed[kind]:>8}")
    print(f"{'all':<28}{args.edits:>8}{args.edits - len(unseen):>8}   (seed {args.seed})")
    for kind, what in unseen:
        print(f"not named: {what}" if kind == FIELD_EDIT else f"not named: file {what}")
    sys.exit(1 if unseen else 0)


if __name__ == "__main__":
    main()
