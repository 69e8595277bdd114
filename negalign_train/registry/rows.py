"""The registry's rows: adapters and their states, the alias and its history.

Each function works inside the caller's transaction.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from sqlalchemy import (
    BigInteger,
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

from negalign_train.errors import RegistryError
from negalign_train.fingerprint import canonical_json
from negalign_train.registry.manifest import (
    AdapterRecord,
    AdapterState,
    record_from_dict,
    record_to_dict,
)

CHAMPION = "champion"

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
ALIAS_HISTORY = table(
    "alias_history",
    column("sequence", BigInteger),
    column("alias", Text),
    column("action", Text),
    column("adapter_id", Text),
    column("previous_id", Text),
    column("changed_by", Text),
    column("reason", Text),
    column("gate_record", Text),
    column("gate_record_sha256", Text),
    column("changed_at", Text),
)


@dataclass(frozen=True)
class AliasChange:
    """One move of ``champion``: ``action`` is promote or rollback."""

    action: str
    adapter_id: str
    previous_id: str | None
    changed_by: str
    reason: str
    changed_at: str
    gate_record: str | None = None
    gate_record_sha256: str | None = None


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


def insert_adapter(connection: Connection, record: AdapterRecord, manifest_sha256: str) -> None:
    connection.execute(
        insert(ADAPTERS).values(
            adapter_id=record.adapter_id,
            parent_id=record.parent_id,
            cycle=record.cycle,
            base_digest=record.base_digest,
            manifest_sha256=manifest_sha256,
            record=canonical_json(record_to_dict(record)),
            state="candidate",
            state_reason="published",
        )
    )


def set_state(connection: Connection, adapter_id: str, state: AdapterState, reason: str) -> None:
    connection.execute(
        update(ADAPTERS)
        .where(ADAPTERS.c.adapter_id == adapter_id)
        .values(state=state, state_reason=reason)
    )


def champion_id(connection: Connection) -> str | None:
    query = select(ALIASES.c.adapter_id).where(ALIASES.c.alias == CHAMPION)
    found = connection.execute(query).scalar()
    return None if found is None else str(found)


def move_champion(connection: Connection, change: AliasChange) -> None:
    """Points the alias at ``change.adapter_id``, sets both states, and writes the history."""
    if change.previous_id is not None:
        set_state(
            connection,
            change.previous_id,
            "retired",
            f"{change.action} of {change.adapter_id}: {change.reason}",
        )
    set_state(connection, change.adapter_id, "promoted", change.reason)
    connection.execute(delete(ALIASES).where(ALIASES.c.alias == CHAMPION))
    connection.execute(insert(ALIASES).values(alias=CHAMPION, adapter_id=change.adapter_id))
    connection.execute(insert(ALIAS_HISTORY).values(alias=CHAMPION, **vars(change)))


def champion_history(connection: Connection) -> list[AliasChange]:
    """Every move of the alias, oldest first."""
    columns = ALIAS_HISTORY.c
    rows = connection.execute(
        select(
            columns.action,
            columns.adapter_id,
            columns.previous_id,
            columns.changed_by,
            columns.reason,
            columns.changed_at,
            columns.gate_record,
            columns.gate_record_sha256,
        )
        .where(columns.alias == CHAMPION)
        .order_by(columns.sequence)
    )
    return [AliasChange(*row) for row in rows]


def former_champions(history: list[AliasChange]) -> list[str]:
    """The holders below the present one, oldest first: what a rollback goes back through.

    A promotion puts its adapter on top; a rollback takes everything above its target away, so two
    rollbacks in a row go back two steps, not back and forth.
    """
    holders: list[str] = []
    for change in history:
        if change.action == "rollback" and change.adapter_id in holders:
            del holders[holders.index(change.adapter_id) :]
        holders.append(change.adapter_id)
    return holders[:-1]
