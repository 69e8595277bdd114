"""Publishing and verifying: whole folders or none, and every damage found."""

from __future__ import annotations

import json
import random
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from negalign_train.registry.adapters import Registry, new_adapter_id
from negalign_train.registry.manifest import AdapterRecord, read_manifest
from negalign_train.storage.database import open_database
from negalign_train.storage.fingerprint import file_sha256
from negalign_train.storage.workspace import Workspace
from negalign_train.vocabulary.errors import RegistryError
from tests.registries import FILES, RECORD
from tests.registry.test_weights import LORA_A, candidate


def test_a_published_folder_holds_exactly_four_files(registry: Registry, tmp_path: Path) -> None:
    source = candidate(tmp_path / "candidate")
    (source / "trainer_log.json").write_text("{}")
    assert registry.publish(source, RECORD) == RECORD
    folder = registry.path(RECORD.adapter_id)
    assert tuple(sorted(path.name for path in folder.iterdir())) == FILES
    for name in FILES[1:3]:
        assert file_sha256(folder / name) == file_sha256(source / name)


def test_the_manifest_names_every_other_file_and_the_whole_record(
    registry: Registry, tmp_path: Path
) -> None:
    registry.publish(candidate(tmp_path / "candidate"), RECORD)
    folder = registry.path(RECORD.adapter_id)
    manifest = read_manifest(folder)
    assert manifest.record == RECORD
    assert manifest.files == {name: file_sha256(folder / name) for name in FILES[:3]}
    assert json.loads((folder / "manifest.json").read_text())["schema"] == "negalign.manifest/1"


def test_the_card_says_what_made_the_adapter_and_how_to_load_it(
    publish: Callable[..., AdapterRecord], registry: Registry
) -> None:
    publish("c0001-dpo-0001")
    publish("c0002-kto-0002", parent_id="c0001-dpo-0001", method="kto", cycle=2)
    card = (registry.path("c0002-kto-0002") / "README.md").read_text()
    for line in (
        'base_model: "embedded"',
        "cycle 2 with kto on readers' graded corrections, continuing adapter `c0001-dpo-0001`.",
        'model = PeftModel.from_pretrained(base, "path/to/c0002-kto-0002")',
        "| LoRA rank, alpha | 2, 4 |",
        "| Parameters | 6 |",
        "| Preference pairs | 412 |",
        "| trl version | 1.16.0 |",
    ):
        assert line in card
    assert RECORD.base_digest in card


def test_an_id_follows_from_cycle_candidate_training_and_weights(tmp_path: Path) -> None:
    folder = candidate(tmp_path)
    ids = {new_adapter_id(3, "dpo", identity, folder) for identity in ("one", "one", "two")}
    (folder / "adapter_model.safetensors").write_bytes(b"other")
    ids.add(new_adapter_id(3, "dpo", "one", folder))
    assert len(ids) == 3
    assert all(re.fullmatch(r"c0003-dpo-[0-9a-f]{8}", each) for each in ids)


@pytest.mark.parametrize(
    "adapter_id", ["champion", "approved", "base", "../evil", "a/b", "", "A", ".staging-x"]
)
def test_an_id_that_could_leave_the_folder_or_hide_the_alias_is_refused(
    registry: Registry, tmp_path: Path, adapter_id: str
) -> None:
    with pytest.raises(RegistryError, match="must match"):
        registry.publish(candidate(tmp_path / "c"), replace(RECORD, adapter_id=adapter_id))
    assert not (tmp_path / "workspace" / "adapters").exists()


def test_publishing_again_changes_nothing_and_other_content_is_refused(
    registry: Registry, tmp_path: Path
) -> None:
    source = candidate(tmp_path / "candidate")
    registry.publish(source, RECORD)
    later = replace(RECORD, created_at="2027-01-01T00:00:00+00:00", details={})
    assert registry.publish(source, later) == RECORD
    with pytest.raises(RegistryError, match=r"is taken: .* holds other provenance"):
        registry.publish(source, replace(RECORD, data_fingerprint="e" * 64))
    save_file({LORA_A: np.full((2, 3), 2, np.float32)}, source / "adapter_model.safetensors")
    with pytest.raises(RegistryError, match=r"holds other adapter_model\.safetensors"):
        registry.publish(source, RECORD)
    assert registry.list() == (RECORD,)


def test_a_folder_whose_row_was_lost_in_a_crash_is_completed(
    registry: Registry, tmp_path: Path, database_url: str
) -> None:
    """The process died after the rename: the folder is whole, the database knows nothing."""
    source = candidate(tmp_path / "candidate")
    elsewhere = open_database(f"sqlite:///{tmp_path / 'other.db'}")
    Registry(Workspace(tmp_path / "workspace"), elsewhere).publish(source, RECORD)
    assert registry.list() == ()
    again = replace(RECORD, created_at="2027-01-01T00:00:00+00:00")
    assert registry.publish(source, again) == RECORD
    assert registry.verify(RECORD.adapter_id) == RECORD


_KILLED_WHILE_PUBLISHING = """
import os, signal, sys
from pathlib import Path
from negalign_train.storage.database import open_database
from negalign_train.registry import publish
from negalign_train.registry.adapters import Registry
from negalign_train.storage.workspace import Workspace
from tests.registries import RECORD

publish.write_manifest = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
workspace = Workspace(Path(sys.argv[1]))
Registry(workspace, open_database(workspace.database_url)).publish(Path(sys.argv[2]), RECORD)
"""


def test_a_kill_between_copy_and_manifest_leaves_no_adapter_and_the_next_run_publishes(
    tmp_path: Path,
) -> None:
    workspace = Workspace(tmp_path / "workspace")
    source = candidate(tmp_path / "candidate")
    command = [sys.executable, "-c", _KILLED_WHILE_PUBLISHING, str(workspace.root), str(source)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    registry = Registry(workspace, open_database(workspace.database_url))
    assert registry.list() == ()
    left = [path.name for path in workspace.adapters_dir.iterdir()]
    assert len(left) == 1
    assert left[0].startswith(".staging-")
    with pytest.raises(RegistryError, match="not in the registry"):
        registry.path(RECORD.adapter_id)
    registry.publish(source, RECORD)
    assert [path.name for path in workspace.adapters_dir.iterdir()] == [RECORD.adapter_id]


def test_a_full_disk_publishes_nothing(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_space(*_: object) -> None:
        raise OSError(28, "No space left on device")

    source = candidate(tmp_path / "candidate")
    with monkeypatch.context() as patch:
        patch.setattr("negalign_train.registry.publish.write_manifest", no_space)
        with pytest.raises(RegistryError, match=r"No space left on device.*Free space"):
            registry.publish(source, RECORD)
    assert registry.list() == ()
    assert list((tmp_path / "workspace" / "adapters").iterdir()) == []


def test_a_folder_without_manifest_does_not_exist(
    registry: Registry, publish: Callable[..., AdapterRecord]
) -> None:
    publish("a")
    (registry.path("a") / "manifest.json").unlink()
    with pytest.raises(RegistryError, match=r"manifest\.json is missing, so the folder is no"):
        registry.path("a")


def test_verify_finds_every_flipped_byte(
    registry: Registry, publish: Callable[..., AdapterRecord]
) -> None:
    """Reference A5, T8: 200 random bytes over all files, each refused with its file named."""
    publish("a")
    folder = registry.path("a")
    rng = random.Random(5)
    for _ in range(200):
        path = folder / rng.choice(FILES)
        whole = path.read_bytes()
        place = rng.randrange(len(whole))
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x01]) + whole[place + 1 :])
        with pytest.raises(RegistryError, match=path.name.replace(".", r"\.")):
            registry.verify("a")
        path.write_bytes(whole)
    assert registry.verify("a").adapter_id == "a"


def test_verify_refuses_missing_extra_and_linked_files(
    registry: Registry, publish: Callable[..., AdapterRecord], tmp_path: Path
) -> None:
    publish("a")
    folder = registry.path("a")
    (folder / "extra.txt").write_text("")
    with pytest.raises(RegistryError, match=r"extra\.txt is not in the manifest"):
        registry.verify("a")
    (folder / "extra.txt").unlink()
    card = folder / "README.md"
    card.rename(tmp_path / "README.md")
    with pytest.raises(RegistryError, match=r"README\.md is missing"):
        registry.verify("a")
    card.symlink_to(tmp_path / "README.md")
    with pytest.raises(RegistryError, match=r"README\.md is not a plain file"):
        registry.verify("a")


def test_two_adapters_swapped_by_hand_are_found(
    registry: Registry, publish: Callable[..., AdapterRecord]
) -> None:
    publish("a")
    publish("b")
    first, second = registry.path("a"), registry.path("b")
    first.rename(first.with_name("x"))
    second.rename(first)
    first.with_name("x").rename(second)
    with pytest.raises(RegistryError, match="differs from the registry's row"):
        registry.verify("a")
