"""A folder that plain PEFT loads on this machine, base and all.

A published adapter names its base and holds no path, so that it may travel. For a base of the hub
the name is enough. For a local or the embedded base PEFT needs the path, which stands in a copy
under ``serving/`` that is made on demand, belongs to this machine and is never published.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from negalign_train.cycle.opening.plan import PLAN, read_plan
from negalign_train.registry.adapters import Registry
from negalign_train.registry.manifest import AdapterRecord
from negalign_train.registry.weights import CONFIG_NAME, WEIGHTS_NAME
from negalign_train.storage.fingerprint import base_digest, file_sha256
from negalign_train.storage.workspace import Workspace, json_text, publishing, read_json
from negalign_train.vocabulary.errors import RegistryError
from negalign_train.vocabulary.resources import data_path


def loadable_folder(
    workspace: Workspace, registry: Registry, id_or_alias: str, base: Path | None = None
) -> Path:
    """The folder of an adapter that ``AutoPeftModelForCausalLM.from_pretrained`` loads here.

    Args:
        base: where the base model lies; by default where the adapter's cycle found it.

    Raises:
        RegistryError: the adapter is damaged, or its base is not where it was, or another one.
    """
    record = registry.verify(id_or_alias)
    published = registry.path(record.adapter_id).resolve()
    if base is None and record.base_source == "hub":
        return published
    base = _base_folder(workspace, record) if base is None else base.resolve()
    config = read_json(published / CONFIG_NAME) | {
        "base_model_name_or_path": str(base),
        "revision": None,
    }
    folder = serving_dir(workspace, record.adapter_id)
    if not _is_there(folder, config, published):
        _check_base(record, base)
        shutil.rmtree(folder, ignore_errors=True)
        with publishing(folder) as staging:
            (staging / CONFIG_NAME).write_text(json_text(config), encoding="utf-8")
            shutil.copyfile(published / WEIGHTS_NAME, staging / WEIGHTS_NAME)
    return folder.resolve()


def serving_dir(workspace: Workspace, adapter_id: str) -> Path:
    return workspace.root / "serving" / adapter_id


def _base_folder(workspace: Workspace, record: AdapterRecord) -> Path:
    if record.base_source == "embedded":
        return data_path("embedded")
    if (workspace.cycle_dir(record.cycle) / PLAN).is_file():
        known = read_plan(workspace, record.cycle).base_folder
        if known is not None and Path(known).is_dir():
            return Path(known)
    raise RegistryError(
        f"the base model {record.base_name} of adapter {record.adapter_id} is not where its cycle "
        "found it; say where it lies with --base FOLDER"
    )


def _check_base(record: AdapterRecord, base: Path) -> None:
    if base_digest(base) != record.base_digest:
        raise RegistryError(
            f"{base} is not the base model {record.base_name} that adapter {record.adapter_id} was "
            f"trained on (digest {record.base_digest[:12]}); PEFT would load it without a word. "
            "Give the right one with --base FOLDER"
        )


def _is_there(folder: Path, config: object, published: Path) -> bool:
    """Whether an earlier call left exactly this."""
    files = (folder / CONFIG_NAME, folder / WEIGHTS_NAME)
    return (
        all(path.is_file() for path in files)
        and files[0].read_text(encoding="utf-8") == json_text(config)
        and file_sha256(files[1]) == file_sha256(published / WEIGHTS_NAME)
    )
