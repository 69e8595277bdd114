"""What an adapter folder is: its record and the SHA-256 of each file, written last."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from negalign_train.storage.fingerprint import file_sha256
from negalign_train.storage.workspace import MANIFEST, read_json, write_json
from negalign_train.vocabulary.errors import RegistryError

SCHEMA = "negalign.manifest/1"
BaseSource = Literal["embedded", "local", "hub"]
"""Whether a base model's name is an id of the hub, which loads anywhere, or a name only."""
AdapterState = Literal["candidate", "promoted", "retired", "rejected"]


@dataclass(frozen=True)
class AdapterRecord:
    """One adapter of the registry.

    ``base_name`` is what the adapter's config names as its base (a hub id, at ``base_revision``, or
    the bare name of what lies elsewhere on every machine), ``base_digest`` what that base
    really is (``fingerprint.base_digest``). ``recipe_fingerprint`` is of the recipe that really
    trained it, ``data_fingerprint`` of the file of examples it trained on, ``run_identity`` of all
    that made it (``training.outputs.run_facts``). ``details`` are further rows of the model card.
    ``state`` lives in the database, everything else in the manifest too.
    """

    adapter_id: str
    parent_id: str | None
    cycle: int
    candidate: str
    method: str
    base_name: str
    base_digest: str
    recipe_fingerprint: str
    data_fingerprint: str
    run_identity: str
    created_at: str
    versions: Mapping[str, str]
    base_source: BaseSource = "hub"
    base_revision: str | None = None
    git_commit: str | None = None
    details: Mapping[str, str] = field(default_factory=dict)
    state: AdapterState = "candidate"


@dataclass(frozen=True)
class Manifest:
    """A folder's record and ``{file name: SHA-256}`` of all other files in it."""

    record: AdapterRecord
    files: Mapping[str, str]


def record_to_dict(record: AdapterRecord) -> dict[str, Any]:
    """The record as JSON, without its state: that may change, a manifest may not."""
    value = asdict(record)
    del value["state"]
    return value


def record_from_dict(value: Mapping[str, Any], state: AdapterState) -> AdapterRecord:
    """The inverse of ``record_to_dict``.

    Raises:
        RegistryError: the keys are not those of a record.
    """
    expected = {item.name for item in fields(AdapterRecord)} - {"state"}
    if set(value) != expected:
        raise RegistryError(
            f"an adapter record must hold the keys {', '.join(sorted(expected))}; "
            "it was written by another version or edited by hand"
        )
    return AdapterRecord(**value, state=state)


def write_manifest(folder: Path, record: AdapterRecord) -> Manifest:
    """Hashes every file of ``folder`` and writes manifest.json beside them, as the last file."""
    files = {path.name: file_sha256(path) for path in sorted(folder.iterdir())}
    content = {"schema": SCHEMA, "adapter": record_to_dict(record), "files": files}
    write_json(folder / MANIFEST, content)
    return Manifest(record, files)


def read_manifest(folder: Path) -> Manifest:
    """Reads manifest.json.

    Raises:
        RegistryError: there is none (so there is no adapter), or it cannot be understood.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise RegistryError(
            f"{path} is missing, so the folder is no adapter; restore it from a backup or publish "
            "the adapter again"
        )
    try:
        content = read_json(path)
        schema, value, files = content["schema"], dict(content["adapter"]), dict(content["files"])
    except (ValueError, KeyError, TypeError) as error:
        raise RegistryError(f"{path} is damaged; restore it from a backup") from error
    if schema != SCHEMA:
        raise RegistryError(f"{path}: schema is not {SCHEMA}; upgrade negalign-train")
    try:
        return Manifest(record_from_dict(value, "candidate"), files)
    except RegistryError as error:
        raise RegistryError(f"{path}: {error}") from error


def check_files(folder: Path, manifest: Manifest) -> None:
    """Hashes the folder again.

    Raises:
        RegistryError: a file is missing, changed, a link, or not in the manifest; it is named.
    """
    present = {path.name for path in folder.iterdir()} - {MANIFEST}
    for name in sorted({*manifest.files, *present}):
        path = folder / name
        if name not in present:
            problem = "is missing"
        elif name not in manifest.files:
            problem = "is not in the manifest"
        elif path.is_symlink() or not path.is_file():
            problem = "is not a plain file"
        elif file_sha256(path) != manifest.files[name]:
            problem = "is damaged (its SHA-256 differs from the manifest)"
        else:
            continue
        raise RegistryError(f"{path} {problem}; restore the folder from a backup")
