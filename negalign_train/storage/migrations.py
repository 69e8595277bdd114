"""The database schema, as numbered migrations in portable SQL. A released one is never edited."""

from __future__ import annotations

_IDENTITY = {
    "sqlite": "INTEGER PRIMARY KEY AUTOINCREMENT",
    "postgresql": "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
}
# AUTOINCREMENT keeps the highest number ever given in sqlite_sequence, though writers give them.
_KEY = {"sqlite": "INTEGER PRIMARY KEY AUTOINCREMENT", "postgresql": "BIGINT PRIMARY KEY"}
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

# Rows are chained (chain.py) and numbered by the writer. The adapters' whole history is one log:
# a move of an alias may lead to the base model (no adapter id), and may be an override.
_V2 = (
    "ALTER TABLE events ADD COLUMN chain TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE quarantine ADD COLUMN chain TEXT NOT NULL DEFAULT ''",
    ("postgresql", "ALTER TABLE events ALTER COLUMN sequence DROP IDENTITY"),
    ("postgresql", "ALTER TABLE quarantine ALTER COLUMN sequence DROP IDENTITY"),
    """
    CREATE TABLE registry_log (
        sequence {key},
        action TEXT NOT NULL CHECK (
            action IN ('publish', 'reject', 'promote', 'override', 'rollback', 'approve')
        ),
        alias TEXT,
        adapter_id TEXT REFERENCES adapters (adapter_id),
        previous_id TEXT REFERENCES adapters (adapter_id),
        changed_by TEXT NOT NULL,
        reason TEXT NOT NULL,
        record TEXT,
        record_sha256 TEXT,
        changed_at TEXT NOT NULL,
        chain TEXT NOT NULL
    )
    """,
    """
    INSERT INTO registry_log (
        sequence, action, alias, adapter_id, previous_id, changed_by, reason, record,
        record_sha256, changed_at, chain
    )
    SELECT sequence, action, alias, adapter_id, previous_id, changed_by, reason, gate_record,
        gate_record_sha256, changed_at, ''
    FROM alias_history
    """,
    "DROP TABLE alias_history",
    "CREATE TABLE seals (cycle INTEGER PRIMARY KEY, sha256 TEXT NOT NULL)",
)

# A lock is renewed by its owner, who may be in another container of the same host.
_V3 = (
    "ALTER TABLE locks ADD COLUMN namespace TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE locks ADD COLUMN token TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE locks ADD COLUMN beat_at DOUBLE PRECISION NOT NULL DEFAULT 0",
)

# Which refused records still stand; a reader is looked up, not searched for; grades of readers.
_V4 = (
    """
    CREATE TABLE quarantine_state (
        sequence BIGINT PRIMARY KEY,
        event_id TEXT,
        last_import BIGINT NOT NULL,
        resolution TEXT CHECK (resolution IN ('mended', 'gone'))
    )
    """,
    "INSERT INTO quarantine_state (sequence, last_import) SELECT sequence, 0 FROM quarantine",
    "CREATE INDEX quarantine_state_event ON quarantine_state (event_id)",
    "CREATE INDEX events_reader ON events (reader_id)",
    """
    CREATE TABLE peer_reviews (
        sequence {key},
        review_id TEXT NOT NULL UNIQUE,
        reader_id TEXT NOT NULL,
        reviewer_id TEXT,
        grade TEXT NOT NULL,
        reviewed_at TEXT,
        origin TEXT NOT NULL,
        ingested_at TEXT NOT NULL,
        chain TEXT NOT NULL
    )
    """,
)

# Drafts that wait for a reader, and what became of them. A draft is locked for one reader a while.
_V5 = (
    """
    CREATE TABLE drafts (
        draft_id TEXT PRIMARY KEY,
        case_id TEXT NOT NULL,
        prompt TEXT NOT NULL,
        draft TEXT NOT NULL,
        base TEXT NOT NULL,
        adapter TEXT,
        decoding TEXT NOT NULL,
        priority DOUBLE PRECISION NOT NULL,
        reason TEXT NOT NULL CHECK (reason IN ('random', 'uncertain', 'blinded', 'revision')),
        kind TEXT NOT NULL CHECK (kind IN ('plain', 'gold', 'repeat')),
        same_as TEXT REFERENCES drafts (draft_id),
        gold TEXT,
        thread_id TEXT NOT NULL,
        turn INTEGER NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('waiting', 'answered')),
        revision INTEGER NOT NULL,
        reader_id TEXT,
        locked_until DOUBLE PRECISION,
        shown_at DOUBLE PRECISION,
        answer_sha256 TEXT,
        queued_at TEXT NOT NULL,
        UNIQUE (thread_id, turn)
    )
    """,
    "CREATE INDEX drafts_order ON drafts (state, priority)",
)

_MIGRATIONS: tuple[tuple[str | tuple[str, str], ...], ...] = (_V1, _V2, _V3, _V4, _V5)
LATEST_VERSION = len(_MIGRATIONS)


def statements(version: int, dialect: str) -> list[str]:
    """The SQL that leads from schema ``version - 1`` to ``version``."""
    columns = []
    for item in _MIGRATIONS[version - 1]:
        only, sql = (dialect, item) if isinstance(item, str) else item
        if only == dialect:
            columns.append(
                sql.replace("{identity}", _IDENTITY[dialect]).replace("{key}", _KEY[dialect])
            )
    return columns
