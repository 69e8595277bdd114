"""The registry's log: every publication, rejection and move of an alias, chained row by row.

The states of the adapters and the aliases follow from it (``replay``), which is how an audit knows
that nobody wrote them by hand. Each function works inside the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Literal

from sqlalchemy import BigInteger, Connection, Text, column, select, table

from negalign_train.registry.manifest import AdapterState
from negalign_train.storage.chain import append_rows

Alias = Literal["champion", "approved"]
CHAMPION: Alias = "champion"
APPROVED: Alias = "approved"
BASE = "base"
"""How a person names the bare base model, where an adapter id could stand."""

REGISTRY_LOG = table(
    "registry_log",
    column("sequence", BigInteger),
    column("action", Text),
    column("alias", Text),
    column("adapter_id", Text),
    column("previous_id", Text),
    column("changed_by", Text),
    column("reason", Text),
    column("record", Text),
    column("record_sha256", Text),
    column("changed_at", Text),
    column("chain", Text),
)


@dataclass(frozen=True)
class Change:
    """One entry. ``action``: publish and reject speak of an adapter; promote (by the gate),
    override (by a person), rollback and approve move ``alias`` from ``previous_id`` to
    ``adapter_id``, None being the base model. ``record`` is the file a promotion or override rests
    on, relative to the workspace.
    """

    action: str
    alias: str | None
    adapter_id: str | None
    previous_id: str | None
    changed_by: str
    reason: str
    changed_at: str
    record: str | None = None
    record_sha256: str | None = None


@dataclass(frozen=True)
class State:
    """An adapter's state and why it is in it."""

    state: AdapterState
    reason: str


def write_change(connection: Connection, change: Change) -> None:
    append_rows(connection, REGISTRY_LOG, [vars(change)])


def read_changes(connection: Connection) -> list[Change]:
    """Every entry, oldest first."""
    columns = [REGISTRY_LOG.c[item.name] for item in fields(Change)]
    rows = connection.execute(select(*columns).order_by(REGISTRY_LOG.c.sequence))
    return [Change(*row) for row in rows]


def effects(change: Change) -> dict[str, State]:
    """The states that a change gives to adapters."""
    states: dict[str, State] = {}
    if change.alias == APPROVED:
        return states
    if change.action == "publish":
        new = State("candidate", "published")
    elif change.action == "reject":
        new = State("rejected", change.reason)
    else:
        new = State("promoted", change.reason)
    if change.previous_id is not None:
        reason = f"{change.action} of {change.adapter_id or BASE}: {change.reason}"
        states[change.previous_id] = State("retired", reason)
    if change.adapter_id is not None:
        states[change.adapter_id] = new
    return states


def replay(changes: Iterable[Change]) -> tuple[Mapping[str, State], Mapping[str, str]]:
    """What the log comes to: adapter id to state, alias to adapter id (none: the base model)."""
    states: dict[str, State] = {}
    aliases: dict[str, str] = {}
    for change in changes:
        states |= effects(change)
        if change.alias is not None:
            aliases.pop(change.alias, None)
            if change.adapter_id is not None:
                aliases[change.alias] = change.adapter_id
    return states, aliases


def moves(changes: Iterable[Change], alias: str) -> list[Change]:
    return [change for change in changes if change.alias == alias]


def former_champions(changes: Iterable[Change]) -> list[str | None]:
    """The holders of ``champion`` below the present one, oldest first; None is the base model,
    where somebody gave the place back to it.

    A promotion puts its adapter on top; a rollback takes everything above its target away, so two
    rollbacks in a row go back two steps, not back and forth. The base model lies below all.
    """
    holders: list[str | None] = []
    for change in moves(changes, CHAMPION):
        target = change.adapter_id
        if change.action == "rollback" and target is None:
            holders.clear()
        elif change.action == "rollback" and target in holders:
            del holders[holders.index(target) :]
        holders.append(target)
    return holders[:-1]
