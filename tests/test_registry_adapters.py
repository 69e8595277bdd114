"""The registry: whole folders or none, one champion, every change with its reason."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from negalign_train.database import open_database
from negalign_train.errors import RegistryError
from negalign_train.fingerprint import file_sha256
from negalign_train.registry.adapters import Registry, new_adapter_id
from negalign_train.registry.manifest import AdapterRecord, read_manifest
from negalign_train.workspace import Workspace
from tests.test_registry_weights import LORA_A, candidate

RECORD = AdapterRecord(
    adapter_id="c0001-dpo-0001",
    parent_id=None,
    cycle=1,
    candidate="dpo",
    method="dpo",
    base_name="embedded",
    base_digest="a" * 64,
    recipe_fingerprint="b" * 64,
    pairs_fingerprint="c" * 64,
    created_at="2026-11-02T12:00:00+00:00",
    versions={"torch": "2.13.0", "trl": "1.16.0"},
    git_commit="d" * 40,
    details={"Preference pairs": "412"},
)
FILES = ("README.md", "adapter_config.json", "adapter_model.safetensors", "manifest.json")


@pytest.fixture
def registry(database_url: str, tmp_path: Path, now: datetime) -> Registry:
    workspace = Workspace(tmp_path / "workspace")
    return Registry(workspace, open_database(database_url), clock=lambda: now)


@pytest.fixture
def publish(registry: Registry, tmp_path: Path) -> Callable[..., AdapterRecord]:
    """``publish("x", parent_id=...)``: a new adapter with that id, its weights made from the id."""

    def make(adapter_id: str, **overrides: Any) -> AdapterRecord:
        weights = np.random.default_rng(list(adapter_id.encode())).random((2, 3), np.float32)
        folder = candidate(tmp_path / "candidates" / adapter_id, {LORA_A: weights})
        return registry.publish(folder, replace(RECORD, adapter_id=adapter_id, **overrides))

    return make


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


def test_an_id_follows_from_cycle_candidate_and_weights(tmp_path: Path) -> None:
    folder = candidate(tmp_path)
    digest = file_sha256(folder / "adapter_model.safetensors")
    assert new_adapter_id(3, "dpo", folder) == f"c0003-dpo-{digest[:8]}"


@pytest.mark.parametrize("adapter_id", ["champion", "../evil", "a/b", "", "A", ".staging-x"])
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
        registry.publish(source, replace(RECORD, pairs_fingerprint="e" * 64))
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
from negalign_train.database import open_database
from negalign_train.registry import publish
from negalign_train.registry.adapters import Registry
from negalign_train.workspace import Workspace
from tests.test_registry_adapters import RECORD

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
    with pytest.raises(RegistryError, match=r"holds no manifest\.json, so it is no adapter"):
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


def test_promotion_moves_the_alias_and_retires_the_champion_before(
    registry: Registry, publish: Callable[..., AdapterRecord], tmp_path: Path
) -> None:
    gate = tmp_path / "workspace" / "cycles" / "c0002" / "gate_record.json"
    gate.parent.mkdir(parents=True)
    gate.write_text("{}")
    publish("a")
    publish("b", parent_id="a", cycle=2)
    assert registry.champion() is None
    registry.promote("a", by="anna", reason="first")
    assert registry.promote("b", by="gate", reason="S fell", gate_record=gate).state == "promoted"
    assert {record.adapter_id: record.state for record in registry.list()} == {
        "a": "retired",
        "b": "promoted",
    }
    assert registry.champion() == registry.get("b")
    assert registry.path("champion") == registry.path("b")
    move = registry.history()[-1]
    assert (move.action, move.adapter_id, move.previous_id) == ("promote", "b", "a")
    assert (move.changed_by, move.reason) == ("gate", "S fell")
    assert (move.gate_record, move.gate_record_sha256) == (
        "cycles/c0002/gate_record.json",
        file_sha256(gate),
    )


def test_promoting_the_champion_again_changes_nothing(
    registry: Registry, publish: Callable[..., AdapterRecord]
) -> None:
    publish("a")
    first = registry.promote("a", by="gate", reason="first")
    assert registry.promote("a", by="gate", reason="again") == first
    assert len(registry.history()) == 1


def test_a_damaged_candidate_is_not_promoted(
    registry: Registry, publish: Callable[..., AdapterRecord]
) -> None:
    publish("a")
    registry.promote("a", by="gate", reason="first")
    publish("b")
    config = registry.path("b") / "adapter_config.json"
    config.write_text(config.read_text().replace('"lora_alpha": 4', '"lora_alpha": 400'))
    with pytest.raises(RegistryError, match=r"adapter_config\.json is damaged"):
        registry.promote("b", by="gate", reason="better")
    champion = registry.champion()
    assert champion is not None
    assert champion.adapter_id == "a"


def test_a_parent_of_another_base_is_refused(
    registry: Registry, publish: Callable[..., AdapterRecord]
) -> None:
    publish("a")
    with pytest.raises(RegistryError, match="use the parent's base model"):
        publish("b", parent_id="a", base_digest="f" * 64)
    with pytest.raises(RegistryError, match="'nobody' is not in the registry"):
        publish("b", parent_id="nobody")
    assert [record.adapter_id for record in registry.list()] == ["a"]


def test_a_rejected_adapter_stays_listed_and_is_never_promoted(
    registry: Registry, publish: Callable[..., AdapterRecord]
) -> None:
    publish("a")
    assert registry.reject("a", reason="length guardrail").state == "rejected"
    assert registry.reject("a", reason="again").state == "rejected"
    assert registry.state_reason("a") == "length guardrail"
    with pytest.raises(RegistryError, match="a is rejected, only a candidate can be promoted"):
        registry.promote("a", by="gate", reason="better")


def test_a_champion_cannot_be_rejected_and_a_retired_one_not_promoted(
    registry: Registry, publish: Callable[..., AdapterRecord]
) -> None:
    publish("a")
    publish("b")
    registry.promote("a", by="gate", reason="first")
    with pytest.raises(RegistryError, match="negalign adapters rollback"):
        registry.reject("a", reason="no")
    registry.promote("b", by="gate", reason="better")
    with pytest.raises(RegistryError, match="a is retired, only a candidate"):
        registry.promote("a", by="gate", reason="back")


def test_rollbacks_in_a_row_go_back_step_by_step(
    registry: Registry, publish: Callable[..., AdapterRecord]
) -> None:
    for name, parent in (("a", None), ("b", "a"), ("c", "b")):
        publish(name, parent_id=parent)
        registry.promote(name, by="gate", reason="better")
    assert registry.rollback(None, by="anna", reason="complaints").adapter_id == "b"
    assert registry.rollback(None, by="anna", reason="more complaints").adapter_id == "a"
    with pytest.raises(RegistryError, match="no earlier champion"):
        registry.rollback(None, by="anna", reason="again")
    publish("d", parent_id="a")
    registry.promote("d", by="gate", reason="better")
    assert registry.rollback(None, by="anna", reason="complaints").adapter_id == "a"
    assert {record.adapter_id: record.state for record in registry.list()} == {
        "a": "promoted",
        "b": "retired",
        "c": "retired",
        "d": "retired",
    }
    assert [move.action for move in registry.history()].count("rollback") == 3


def test_a_rollback_may_name_a_former_champion_and_nothing_else(
    registry: Registry, publish: Callable[..., AdapterRecord]
) -> None:
    for name, parent in (("a", None), ("b", "a"), ("c", "b")):
        publish(name, parent_id=parent)
        registry.promote(name, by="gate", reason="better")
    publish("bystander")
    with pytest.raises(RegistryError, match="roll back to one of: a, b"):
        registry.rollback("bystander", by="anna", reason="why not")
    with pytest.raises(RegistryError, match="champion already"):
        registry.rollback("c", by="anna", reason="why not")
    assert registry.rollback("a", by="anna", reason="complaints").adapter_id == "a"


def test_a_rollback_to_damaged_files_keeps_the_champion(
    registry: Registry, publish: Callable[..., AdapterRecord]
) -> None:
    for name in ("a", "b"):
        publish(name)
        registry.promote(name, by="gate", reason="better")
    (registry.path("a") / "README.md").write_text("gone")
    with pytest.raises(RegistryError, match=r"README\.md is damaged"):
        registry.rollback(None, by="anna", reason="complaints")
    assert registry.resolve("champion") == "b"


def test_lineage_runs_to_the_first_adapter(
    registry: Registry, publish: Callable[..., AdapterRecord]
) -> None:
    for name, parent in (("a", None), ("b", "a"), ("c", "b")):
        publish(name, parent_id=parent)
    assert [record.adapter_id for record in registry.lineage("c")] == ["c", "b", "a"]


def test_decisions_need_a_name_and_a_reason(
    registry: Registry, publish: Callable[..., AdapterRecord], tmp_path: Path
) -> None:
    publish("a")
    with pytest.raises(RegistryError, match="by is blank"):
        registry.promote("a", by=" ", reason="better")
    with pytest.raises(RegistryError, match="reason is blank"):
        registry.promote("a", by="anna", reason="")
    with pytest.raises(RegistryError, match=r"gate record .* is missing"):
        registry.promote("a", "anna", "better", gate_record=tmp_path / "nowhere.json")
    with pytest.raises(RegistryError, match="there is no champion yet"):
        registry.path("champion")


def test_a_reader_never_sees_a_half_promotion(tmp_path: Path) -> None:
    """While a process promotes a chain of adapters, the alias leads to a whole folder."""
    workspace = Workspace(tmp_path / "workspace")
    registry = Registry(workspace, open_database(workspace.database_url))
    names = [f"a{number}" for number in range(12)]
    for name in names:
        registry.publish(candidate(tmp_path / name), replace(RECORD, adapter_id=name))
    registry.promote(names[0], by="gate", reason="first")
    pid = os.fork()
    if pid == 0:
        for name in names[1:]:
            registry.promote(name, by="gate", reason="next")
        os._exit(0)
    seen = set()
    while os.waitpid(pid, os.WNOHANG) == (0, 0):
        champion = registry.champion()
        assert champion is not None
        assert champion.state == "promoted"
        seen.add(registry.path("champion").name)
    assert seen <= set(names)
    assert registry.resolve("champion") == names[-1]
