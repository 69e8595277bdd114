"""The registry of published adapters: immutable folders, and two aliases that move."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Engine

from negalign_train.registry import rows
from negalign_train.registry.ancestry import (
    check_parent,
    check_rollback,
    lineage,
    previous_champion,
)
from negalign_train.registry.log import (
    APPROVED,
    BASE,
    CHAMPION,
    Alias,
    Change,
    read_changes,
)
from negalign_train.registry.manifest import AdapterRecord, check_files, read_manifest
from negalign_train.registry.publish import check_published, write_folder
from negalign_train.registry.weights import WEIGHTS_NAME, check_adapter_weights
from negalign_train.storage.database import reading, writing
from negalign_train.storage.fingerprint import file_sha256, fingerprint
from negalign_train.storage.workspace import MANIFEST, Workspace
from negalign_train.vocabulary.errors import RegistryError

RESERVED_IDS = (CHAMPION, APPROVED, BASE)
_ID = re.compile(r"[a-z0-9][a-z0-9_+-]{0,63}")


def new_adapter_id(cycle: int, candidate: str, run_identity: str, candidate_dir: Path) -> str:
    """``c0003-dpo-1f9a02bc``: cycle, candidate, and eight digits of what trained it and what came
    out.

    The same training gives the same id, so a cycle that is run again finds its own adapter; a
    training under other settings gives another, even where the weights are equal.
    """
    digest = fingerprint([run_identity, file_sha256(candidate_dir / WEIGHTS_NAME)])
    return f"c{cycle:04d}-{candidate}-{digest[:8]}"


class Registry:
    """The adapters of one workspace.

    Args:
        workspace: where the folders lie.
        engine: an open database (``database.open_database``).
        clock: gives the aware time of alias changes.
    """

    def __init__(
        self,
        workspace: Workspace,
        engine: Engine,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._workspace = workspace
        self._engine = engine
        self._clock = clock

    def publish(self, candidate_dir: Path, record: AdapterRecord) -> AdapterRecord:
        """Copies a trained adapter into the registry, as a candidate.

        The folder appears by one rename, manifest inside, and then its row. Publishing the same
        adapter again (after a crash between the two) completes what is missing.

        Raises:
            RegistryError: the adapter is not publishable, its parent is unknown or sits on another
                base, or the id is taken by other content.
        """
        if not _ID.fullmatch(record.adapter_id) or record.adapter_id in RESERVED_IDS:
            raise RegistryError(
                f"adapter id {record.adapter_id!r} must match {_ID.pattern} and not be "
                f"{', '.join(RESERVED_IDS)}"
            )
        shape = check_adapter_weights(candidate_dir, record.base_name)
        with reading(self._engine) as connection:
            check_parent(connection, record)
            registered = rows.find_adapter(connection, record.adapter_id) is not None
        folder = self._folder(record.adapter_id)
        if not folder.exists():
            if registered:
                raise RegistryError(
                    f"adapter {record.adapter_id} is registered but {folder} is gone; restore the "
                    "folder from a backup, ids are never reused"
                )
            write_folder(folder, candidate_dir, record, shape)
        stored = check_published(folder, candidate_dir, record)
        with writing(self._engine) as connection:
            if rows.find_adapter(connection, record.adapter_id) is None:
                check_parent(connection, record)
                rows.insert_adapter(connection, stored, file_sha256(folder / MANIFEST))
                change = ("publish", None, record.adapter_id, None, "cycle", "published")
                rows.record_change(connection, Change(*change, self._now()))
        return self.get(record.adapter_id)

    def get(self, adapter_id: str) -> AdapterRecord:
        """One adapter's record.

        Raises:
            RegistryError: no such adapter.
        """
        with reading(self._engine) as connection:
            return rows.get_adapter(connection, adapter_id)

    def list(self) -> tuple[AdapterRecord, ...]:
        """Every registered adapter, by cycle and id, whatever its state."""
        with reading(self._engine) as connection:
            return tuple(rows.all_adapters(connection))

    def champion(self) -> AdapterRecord | None:
        """The adapter in use; None: the base model."""
        return self._behind(CHAMPION)

    def approved(self) -> AdapterRecord | None:
        """The adapter that a person approved of as a reference; None: the base model."""
        return self._behind(APPROVED)

    def _behind(self, alias: Alias) -> AdapterRecord | None:
        with reading(self._engine) as connection:
            holder = rows.alias_id(connection, alias)
            return None if holder is None else rows.get_adapter(connection, holder)

    def log(self) -> tuple[Change, ...]:
        """Everything that happened to the adapters, oldest first."""
        with reading(self._engine) as connection:
            return tuple(read_changes(connection))

    def history(self) -> tuple[Change, ...]:
        """Every move of an alias, oldest first."""
        return tuple(change for change in self.log() if change.alias is not None)

    def state_reason(self, adapter_id: str) -> str:
        """Why the adapter is in its state."""
        with reading(self._engine) as connection:
            rows.get_adapter(connection, adapter_id)
            return rows.state_reason(connection, adapter_id)

    def resolve(self, id_or_alias: str) -> str:
        """The adapter id behind ``champion`` or ``approved``; another name is returned as it is.

        Raises:
            RegistryError: the alias leads to the base model.
        """
        if id_or_alias not in (CHAMPION, APPROVED):
            return id_or_alias
        holder = self.champion() if id_or_alias == CHAMPION else self.approved()
        if holder is None:
            way = "promote" if id_or_alias == CHAMPION else "approve"
            raise RegistryError(
                f"there is no {id_or_alias} yet, or it was given back to the base model; run a "
                f"cycle, or `negalign adapters {way} ID --reason WHY`"
            )
        return holder.adapter_id

    def path(self, id_or_alias: str) -> Path:
        """The folder of an adapter, whole by its manifest's presence; ``verify`` hashes it.

        Raises:
            RegistryError: no such adapter, or its folder or manifest is missing.
        """
        record = self.get(self.resolve(id_or_alias))
        folder = self._folder(record.adapter_id)
        read_manifest(folder)
        return folder

    def verify(self, id_or_alias: str) -> AdapterRecord:
        """Hashes every file of an adapter again, the manifest against the database too.

        Raises:
            RegistryError: naming the file that is missing, damaged or foreign.
        """
        folder = self.path(id_or_alias)
        with reading(self._engine) as connection:
            expected = rows.manifest_sha256(connection, folder.name)
        if file_sha256(folder / MANIFEST) != expected:
            raise RegistryError(
                f"{folder / MANIFEST} is damaged (its SHA-256 differs from the registry's row); "
                "restore the folder from a backup"
            )
        check_files(folder, read_manifest(folder))
        return self.get(folder.name)

    def lineage(self, adapter_id: str) -> tuple[AdapterRecord, ...]:
        """The adapter, its parent, and so on to the first one trained on the bare base."""
        with reading(self._engine) as connection:
            return lineage(connection, adapter_id)

    def promote(
        self, adapter_id: str, by: str, reason: str, gate_record: Path | None = None
    ) -> AdapterRecord:
        """Makes a verified candidate the champion and retires the one before, in one transaction.

        Promoting the champion again changes nothing.

        Raises:
            RegistryError: files are damaged, the parent's base differs, the adapter was rejected
                or retired, or ``by`` or ``reason`` is blank.
        """
        return self._make_champion("promote", adapter_id, by, reason, gate_record)

    def override(self, adapter_id: str, by: str, reason: str, record: Path) -> AdapterRecord:
        """Makes an adapter the champion because a person says so, whatever the gate said.

        Raises:
            RegistryError: it is champion already, files are damaged, the parent's base differs, or
                ``by`` or ``reason`` is blank.
        """
        return self._make_champion("override", adapter_id, by, reason, record)

    def _make_champion(
        self, action: str, adapter_id: str, by: str, reason: str, record: Path | None
    ) -> AdapterRecord:
        _check_words(by=by, reason=reason)
        self.verify(adapter_id)
        rests_on = (None, None) if record is None else self._reference(record)
        with writing(self._engine) as connection:
            adapter = rows.get_adapter(connection, adapter_id)
            current = rows.alias_id(connection, CHAMPION)
            if current == adapter_id:
                if action == "override":
                    raise RegistryError(f"adapter {adapter_id} is champion already")
                return adapter
            if action == "promote" and adapter.state != "candidate":
                raise RegistryError(
                    f"adapter {adapter_id} is {adapter.state}, only a candidate can be promoted by "
                    f"a gate; a person can, with `negalign adapters promote {adapter_id} --reason "
                    "WHY`"
                )
            check_parent(connection, adapter)
            change = (action, CHAMPION, adapter_id, current, by, reason, self._now(), *rests_on)
            rows.record_change(connection, Change(*change))
            return rows.get_adapter(connection, adapter_id)

    def reject(self, adapter_id: str, reason: str) -> AdapterRecord:
        """Marks a candidate as rejected; it stays in the registry, and only a person can make it
        champion.

        Raises:
            RegistryError: it is, or was, champion.
        """
        _check_words(reason=reason)
        with writing(self._engine) as connection:
            record = rows.get_adapter(connection, adapter_id)
            if record.state in ("promoted", "retired"):
                raise RegistryError(
                    f"adapter {adapter_id} is {record.state}, only a candidate can be rejected; "
                    "take a champion back with `negalign adapters rollback`"
                )
            if record.state == "candidate":
                change = ("reject", None, adapter_id, None, "cycle", reason)
                rows.record_change(connection, Change(*change, self._now()))
            return rows.get_adapter(connection, adapter_id)

    def rollback(self, to: str | None, by: str, reason: str) -> AdapterRecord | None:
        """Gives ``champion`` back to its previous holder, to the adapter ``to``, or, where that is
        ``base``, to the base model; returns the new champion, None for the base model.

        Raises:
            RegistryError: there is no earlier champion, ``to`` is neither a former champion nor an
                ancestor of this one, it was rejected, or its files are damaged.
        """
        _check_words(by=by, reason=reason)
        with reading(self._engine) as connection:
            target = to or previous_champion(connection) or BASE
        if target != BASE:
            self.verify(target)
        adapter_id = None if target == BASE else target
        with writing(self._engine) as connection:
            check_rollback(connection, adapter_id)
            current = rows.alias_id(connection, CHAMPION)
            change = ("rollback", CHAMPION, adapter_id, current, by, reason)
            rows.record_change(connection, Change(*change, self._now()))
        return self.champion()

    def approve(self, adapter: str, by: str, reason: str) -> AdapterRecord | None:
        """Points ``approved`` at an adapter, or, for ``base``, back at the base model: what a
        recipe's ``reference: approved`` holds training to. Returns it, None for the base model.

        Raises:
            RegistryError: it is approved already, its files are damaged, or ``by`` or ``reason`` is
                blank.
        """
        _check_words(by=by, reason=reason)
        adapter_id = None if adapter == BASE else self.verify(adapter).adapter_id
        with writing(self._engine) as connection:
            current = rows.alias_id(connection, APPROVED)
            if current == adapter_id:
                raise RegistryError(f"{adapter_id or 'the base model'} is approved already")
            change = ("approve", APPROVED, adapter_id, current, by, reason)
            rows.record_change(connection, Change(*change, self._now()))
        return self.approved()

    def _now(self) -> str:
        return self._clock().isoformat()

    def _reference(self, record: Path) -> tuple[str, str]:
        """Where a record lies, relative to the workspace if inside, and its SHA-256."""
        if not record.is_file():
            raise RegistryError(
                f"gate record {record} is missing; write it before promoting the adapter"
            )
        root, path = self._workspace.root.resolve(), record.resolve()
        place = path.relative_to(root) if path.is_relative_to(root) else path
        return str(place), file_sha256(path)

    def _folder(self, adapter_id: str) -> Path:
        return self._workspace.adapters_dir / adapter_id


def _check_words(**words: str) -> None:
    for name, value in words.items():
        if not value.strip():
            raise RegistryError(f"{name} is blank; say it, the history keeps it")
