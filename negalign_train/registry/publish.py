"""Writing an adapter folder: whole or not there, and the same when it is written again."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from negalign_train.registry.card import model_card
from negalign_train.registry.manifest import (
    AdapterRecord,
    check_files,
    read_manifest,
    write_manifest,
)
from negalign_train.registry.processes import process_start
from negalign_train.registry.weights import CONFIG_NAME, WEIGHTS_NAME, AdapterShape
from negalign_train.storage.fingerprint import file_sha256
from negalign_train.storage.workspace import publishing
from negalign_train.vocabulary.errors import RegistryError

CARD_NAME = "README.md"


def write_folder(
    folder: Path, candidate_dir: Path, record: AdapterRecord, shape: AdapterShape
) -> None:
    """Copies config and weights, writes the card, then the manifest; one rename publishes them.

    Raises:
        RegistryError: the disk is full or the folder cannot be written; nothing is published.
    """
    try:
        _sweep_staging(folder)
        with publishing(folder) as staging:
            for name in (CONFIG_NAME, WEIGHTS_NAME):
                shutil.copyfile(candidate_dir / name, staging / name)
            (staging / CARD_NAME).write_text(model_card(record, shape), encoding="utf-8")
            write_manifest(staging, record)
    except OSError as error:
        raise RegistryError(
            f"{folder}: cannot be written ({error.strerror or error}); nothing was published. "
            "Free space or check permissions, then run the same command again"
        ) from error


def check_published(folder: Path, candidate_dir: Path, record: AdapterRecord) -> AdapterRecord:
    """The record in a published folder, after checking that it is ``candidate_dir``'s adapter.

    What may differ between two runs of one command is taken from the folder: time, versions,
    commit and the details of the card.

    Raises:
        RegistryError: the id is taken by another adapter, or the folder is damaged.
    """
    manifest = read_manifest(folder)
    check_files(folder, manifest)
    stored = manifest.record
    same = replace(
        record,
        created_at=stored.created_at,
        versions=stored.versions,
        git_commit=stored.git_commit,
        details=stored.details,
        state=stored.state,
    )
    differing = [
        name
        for name in (CONFIG_NAME, WEIGHTS_NAME)
        if file_sha256(candidate_dir / name) != manifest.files.get(name)
    ]
    if differing or same != stored:
        raise RegistryError(
            f"adapter id {record.adapter_id} is taken: {folder} holds other "
            f"{' and '.join(differing) or 'provenance'}; publish under another id"
        )
    return stored


def _sweep_staging(folder: Path) -> None:
    """Removes what killed processes left of earlier attempts at the same adapter."""
    for path in folder.parent.glob(f".staging-{folder.name}-*"):
        pid = path.name.rpartition("-")[2]
        if pid.isdigit() and process_start(int(pid)) is None:
            shutil.rmtree(path)
