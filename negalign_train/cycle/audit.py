"""Whether a workspace's records still say what happened: chain, adapters, champion. Read-only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from negalign_train.cycle.gate_step import GATE, GATE_FILE
from negalign_train.cycle.plan import completed_cycles
from negalign_train.errors import GateError, RegistryError
from negalign_train.evaluation.records import verify_chain
from negalign_train.fingerprint import file_sha256
from negalign_train.registry.adapters import Registry
from negalign_train.registry.rows import AliasChange
from negalign_train.workspace import Workspace, read_json


@dataclass(frozen=True)
class Check:
    """One thing looked at: ``problem`` is None where it holds."""

    what: str
    problem: str | None


@dataclass(frozen=True)
class Audit:
    """All checks, and every move of the champion, oldest first."""

    checks: tuple[Check, ...]
    history: tuple[AliasChange, ...]

    @property
    def problems(self) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if check.problem is not None)


def audit(workspace: Workspace, registry: Registry) -> Audit:
    """Verifies the gate records' chain, every adapter's files, and that each promotion by the gate
    rests on a record that passed and has not changed since.
    """
    records = _gate_records(workspace)
    history = registry.history()
    checks = [
        _chain(records),
        *_adapters(registry),
        *(_promotion(workspace, change, records) for change in history),
    ]
    return Audit(tuple(checks), history)


def _gate_records(workspace: Workspace) -> list[dict[str, Any]]:
    """Every sealed record of the finished cycles, in order."""
    return [
        record
        for cycle in completed_cycles(workspace)
        for record in read_json(workspace.cycle_dir(cycle) / GATE_FILE)["records"]
    ]


def _chain(records: list[dict[str, Any]]) -> Check:
    what = f"chain of {len(records)} gate records"
    try:
        verify_chain(records)
    except GateError as error:
        return Check(what, str(error))
    return Check(what, None)


def _adapters(registry: Registry) -> Iterator[Check]:
    for record in registry.list():
        what = f"files of adapter {record.adapter_id}"
        try:
            registry.verify(record.adapter_id)
        except RegistryError as error:
            yield Check(what, str(error))
        else:
            yield Check(what, None)


def _promotion(workspace: Workspace, change: AliasChange, records: list[dict[str, Any]]) -> Check:
    """A move by hand needs a name and a reason, which the registry enforces; one by the gate needs
    a record that promoted this very adapter.
    """
    what = f"{change.action} of {change.adapter_id} by {change.changed_by}"
    if change.gate_record is None:
        by_gate = change.action == "promote" and change.changed_by == GATE
        return Check(what, "it names no gate record" if by_gate else None)
    path = workspace.root / change.gate_record
    if not path.is_file():
        return Check(what, f"{path} is missing; restore it from a backup")
    if file_sha256(path) != change.gate_record_sha256:
        return Check(what, f"{path} was changed since; restore it from a backup")
    passed = any(_promotes(record, change.adapter_id) for record in records)
    return Check(what, None if passed else "no gate record promoted this adapter")


def _promotes(record: Mapping[str, Any], adapter_id: str) -> bool:
    promoted: bool = record["outcome"] == "promoted"
    return promoted and record["candidate_adapter"] == adapter_id
