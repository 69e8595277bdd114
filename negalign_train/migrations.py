"""The database schema, as numbered migrations in portable SQL. A released one is never edited."""

from __future__ import annotations

_IDENTITY = {
    "sqlite": "INTEGER PRIMARY KEY AUTOINCREMENT",
    "postgresql": "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
}
DIALECTS = tuple(_IDENTITY)

_V1 = (
    """
    CREATE TABLE events (
        sequence {identity},
        event_id TEXT NOT NULL,
        revision INTEGER NOT NULL,
        case_id TEXT NOT NULL,
        reader_id TEXT NOT NULL,
        grade TEXT NOT NULL CHECK (grade IN ('accept', 'partial', 'reject')),
        fingerprint TEXT NOT NULL,
        event TEXT NOT NULL,
        origin TEXT NOT NULL,
        line_number INTEGER,
        byte_offset BIGINT,
        ingested_at TEXT NOT NULL,
        UNIQUE (event_id, revision)
    )
    """,
    """
    CREATE TABLE quarantine (
        sequence {identity},
        origin TEXT NOT NULL,
        line_number INTEGER NOT NULL,
        byte_offset BIGINT NOT NULL,
        reason TEXT NOT NULL,
        raw_sha256 TEXT NOT NULL,
        message TEXT NOT NULL,
        ingested_at TEXT NOT NULL,
        UNIQUE (origin, byte_offset, raw_sha256, reason)
    )
    """,
    """
    CREATE TABLE adapters (
        adapter_id TEXT PRIMARY KEY,
        parent_id TEXT REFERENCES adapters (adapter_id),
        cycle INTEGER NOT NULL,
        base_digest TEXT NOT NULL,
        manifest_sha256 TEXT NOT NULL,
        record TEXT NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('candidate', 'promoted', 'retired', 'rejected')),
        state_reason TEXT NOT NULL
    )
    """,
    """
    CREATE TABLE aliases (
        alias TEXT PRIMARY KEY,
        adapter_id TEXT NOT NULL REFERENCES adapters (adapter_id)
    )
    """,
    """
    CREATE TABLE alias_history (
        sequence {identity},
        alias TEXT NOT NULL,
        action TEXT NOT NULL CHECK (action IN ('promote', 'rollback')),
        adapter_id TEXT NOT NULL REFERENCES adapters (adapter_id),
        previous_id TEXT REFERENCES adapters (adapter_id),
        changed_by TEXT NOT NULL,
        reason TEXT NOT NULL,
        gate_record TEXT,
        gate_record_sha256 TEXT,
        changed_at TEXT NOT NULL
    )
    """,
    """
    CREATE TABLE locks (
        name TEXT PRIMARY KEY,
        cycle INTEGER NOT NULL,
        pid INTEGER NOT NULL,
        host TEXT NOT NULL,
        process_start TEXT NOT NULL,
        started_at TEXT NOT NULL
    )
    """,
)

_MIGRATIONS = (_V1,)
LATEST_VERSION = len(_MIGRATIONS)


def statements(version: int, dialect: str) -> list[str]:
    """The SQL that leads from schema ``version - 1`` to ``version``."""
    return [sql.replace("{identity}", _IDENTITY[dialect]) for sql in _MIGRATIONS[version - 1]]
