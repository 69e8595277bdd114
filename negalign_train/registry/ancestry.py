"""What the registry allows: whose child an adapter may be, and where champion may go back to."""

from __future__ import annotations

from sqlalchemy import Connection

from negalign_train.registry import rows
from negalign_train.registry.log import BASE, CHAMPION, former_champions, read_changes
from negalign_train.registry.manifest import AdapterRecord
from negalign_train.vocabulary.errors import RegistryError


def check_parent(connection: Connection, record: AdapterRecord) -> None:
    """Raises RegistryError where the parent is unknown or was trained on another base."""
    if record.parent_id is None:
        return
    parent = rows.get_adapter(connection, record.parent_id)
    if parent.base_digest != record.base_digest:
        raise RegistryError(
            f"adapter {record.adapter_id} sits on base {record.base_digest[:12]}, its parent "
            f"{parent.adapter_id} on {parent.base_digest[:12]}; use the parent's base model, or "
            "train from the bare base"
        )


def lineage(connection: Connection, adapter_id: str) -> tuple[AdapterRecord, ...]:
    """The adapter, its parent, and so on to the first one trained on the bare base."""
    chain = [rows.get_adapter(connection, adapter_id)]
    while (parent := chain[-1].parent_id) is not None:
        chain.append(rows.get_adapter(connection, parent))
    return tuple(chain)


def previous_champion(connection: Connection) -> str | None:
    """The holder before the present champion, None being the base model.

    Raises:
        RegistryError: there was none.
    """
    _champion_to_roll_back(connection)
    former = former_champions(read_changes(connection))
    if not former:
        raise RegistryError(
            "there is no earlier champion to roll back to; withdraw the first one with "
            "`negalign adapters rollback --to base`, or promote another adapter"
        )
    return former[-1]


def check_rollback(connection: Connection, target_id: str | None) -> None:
    """Raises RegistryError unless ``target_id`` (None: the base model) may take ``champion`` over
    from its holder.
    """
    current = _champion_to_roll_back(connection)
    if target_id is None:
        return
    if current == target_id:
        raise RegistryError(f"adapter {target_id} is champion already; nothing to roll back")
    former = [each for each in former_champions(read_changes(connection)) if each is not None]
    ancestors = [record.adapter_id for record in lineage(connection, current)[1:]]
    if target_id not in {*former, *ancestors}:
        allowed = ", ".join(dict.fromkeys([*former, *ancestors, BASE]))
        raise RegistryError(
            f"adapter {target_id} is neither a former champion nor an ancestor of {current}; "
            f"roll back to one of: {allowed}; or make it the champion with `negalign adapters "
            f"promote {target_id} --reason WHY`"
        )
    if rows.get_adapter(connection, target_id).state == "rejected":
        raise RegistryError(
            f"adapter {target_id} was rejected; roll back to another one, or override the gate "
            f"with `negalign adapters promote {target_id} --reason WHY`"
        )


def _champion_to_roll_back(connection: Connection) -> str:
    current = rows.alias_id(connection, CHAMPION)
    if current is None:
        raise RegistryError(
            "the champion is the base model, there is nothing to roll back; make an adapter the "
            "champion with `negalign adapters promote ID --reason WHY`"
        )
    return current
