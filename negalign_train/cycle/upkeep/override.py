"""A person makes an adapter the champion, whatever the gate said; who and why is recorded."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from negalign_train.cycle.opening.plan import GATE, GATE_FILE, PLAN, SUMMARY
from negalign_train.registry.adapters import Registry
from negalign_train.registry.manifest import AdapterRecord
from negalign_train.storage.fingerprint import fingerprint
from negalign_train.storage.workspace import Workspace, read_json, write_json
from negalign_train.vocabulary.errors import CycleError

SCHEMA = "negalign.override/1"


def override(
    workspace: Workspace, registry: Registry, adapter_id: str, by: str, reason: str, now: datetime
) -> AdapterRecord:
    """Writes ``overrides/0001.json``, which names the gate's record and who goes against it, and
    moves ``champion``.

    Raises:
        CycleError: the adapter's cycle is not finished, or ``by`` is the gate.
        RegistryError: no such adapter, it is champion already, or its files are damaged.
    """
    if by.strip().lower() == GATE:
        raise CycleError(f"{by!r} is who promotes when the gate does; say who decides with --by")
    adapter = registry.get(adapter_id)
    verdict = _gate_record(workspace, adapter)
    number = 1 + sum(change.action == "override" for change in registry.log())
    content = {
        "schema": SCHEMA,
        "cycle": adapter.cycle,
        "candidate_adapter": adapter_id,
        "by": by,
        "reason": reason,
        "at": now.isoformat(),
        # Null: no gate ever decided on this adapter.
        "gate_outcome": None if verdict is None else verdict["outcome"],
        "gate_reasons": None if verdict is None else verdict["reasons"],
        "gate_fingerprint": None if verdict is None else verdict["fingerprint"],
    }
    path = override_path(workspace, number)
    write_json(path, content | {"fingerprint": fingerprint(content)})
    try:
        return registry.override(adapter_id, by, reason, path)
    except Exception:
        path.unlink()
        raise


def override_path(workspace: Workspace, number: int) -> Path:
    return workspace.root / "overrides" / f"{number:04d}.json"


def _gate_record(workspace: Workspace, adapter: AdapterRecord) -> Mapping[str, Any] | None:
    """The gate's record of an adapter; None where none was ever written."""
    folder = workspace.cycle_dir(adapter.cycle)
    if (folder / PLAN).is_file() and not (folder / SUMMARY).is_file():
        raise CycleError(
            f"cycle {adapter.cycle} is not finished, its gate has not decided on "
            f"{adapter.adapter_id}; run `negalign cycle` to its end first"
        )
    if not (folder / GATE_FILE).is_file():
        return None
    records: list[dict[str, Any]] = read_json(folder / GATE_FILE)["records"]
    mine = (each for each in records if each["candidate_adapter"] == adapter.adapter_id)
    return next(mine, None)
