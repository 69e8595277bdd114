"""The registry's rows: adapters and their states, and the aliases.

Each function works inside the caller's transaction.
"""

from __future__ import annotations

import json

from sqlalchemy import (
    Connection,
    Integer,
    Text,
    column,
    delete,
    insert,
    select,
    table,
    update,
)

from negalign_train.registry.log import Change, State, effects, write_change
from negalign_train.registry.manifest import AdapterRecord, record_from_dict, record_to_dict
from negalign_train.storage.fingerprint import canonical_json
from negalign_train.vocabulary.errors import RegistryError

ADAPTERS = table(
    "adapters",
    column("adapter_id", Text),
    column("parent_id", Text),
    column("cycle", Integer),
    column("base_digest", Text),
    column("manifest_sha256", Text),
    column("record", Text),
    column("state", Text),
    column("state_reason", Text),
)
ALIASES = table("aliases", column("alias", Text), column("adapter_id", Text))


def find_adapter(connection: Connection, adapter_id: str) -> AdapterRecord | None:
    columns = ADAPTERS.c
    query = select(columns.record, columns.state).where(columns.adapter_id == adapter_id)
    row = connection.execute(query).one_or_none()
    return None if row is None else record_from_dict(json.loads(row.record), row.state)


def get_adapter(connection: Connection, adapter_id: str) -> AdapterRecord:
    """Raises RegistryError where no such adapter is registered."""
    record = find_adapter(connection, adapter_id)
    if record is None:
        raise RegistryError(
            f"adapter {adapter_id!r} is not in the registry; `negalign adapters list` shows all"
        )
    return record


def all_adapters(connection: Connection) -> list[AdapterRecord]:
    """Every adapter, by cycle and id."""
    query = select(ADAPTERS.c.record, ADAPTERS.c.state)
    rows = connection.execute(query.order_by(ADAPTERS.c.cycle, ADAPTERS.c.adapter_id))
    return [record_from_dict(json.loads(row.record), row.state) for row in rows]


def manifest_sha256(connection: Connection, adapter_id: str) -> str:
    query = select(ADAPTERS.c.manifest_sha256).where(ADAPTERS.c.adapter_id == adapter_id)
    return str(connection.execute(query).scalar_one())


def state_reason(connection: Connection, adapter_id: str) -> str:
    query = select(ADAPTERS.c.state_reason).where(ADAPTERS.c.adapter_id == adapter_id)
    return str(connection.execute(query).scalar_one())


def record_text(record: AdapterRecord) -> str:
    """A record as its row holds it."""
    return canonical_json(record_to_dict(record))


def insert_adapter(connection: Connection, record: AdapterRecord, manifest_sha256: str) -> None:
    connection.execute(
        insert(ADAPTERS).values(
            adapter_id=record.adapter_id,
            parent_id=record.parent_id,
            cycle=record.cycle,
            base_digest=record.base_digest,
            manifest_sha256=manifest_sha256,
            record=record_text(record),
            state="candidate",
            state_reason="published",
        )
    )


def alias_id(connection: Connection, alias: str) -> str | None:
    """The adapter an alias leads to; None: the base model."""
    query = select(ALIASES.c.adapter_id).where(ALIASES.c.alias == alias)
    holder_id = connection.execute(query).scalar()
    return None if holder_id is None else str(holder_id)


def record_change(connection: Connection, change: Change) -> None:
    """Writes a change into the log and does what it says: states, and the alias it moves."""
    write_change(connection, change)
    for adapter_id, state in effects(change).items():
        set_state(connection, adapter_id, state)
    if change.alias is not None:
        connection.execute(delete(ALIASES).where(ALIASES.c.alias == change.alias))
        if change.adapter_id is not None:
            values = {"alias": change.alias, "adapter_id": change.adapter_id}
            connection.execute(insert(ALIASES).values(values))


def set_state(connection: Connection, adapter_id: str, state: State) -> None:
    connection.execute(
        update(ADAPTERS)
        .where(ADAPTERS.c.adapter_id == adapter_id)
        .values(state=state.state, state_reason=state.reason)
    )
