"""Promotion and rollback: one champion, every change with its reason."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from negalign_train.registry.adapters import Registry
from negalign_train.registry.log import replay
from negalign_train.registry.manifest import AdapterRecord
from negalign_train.storage.database import open_database
from negalign_train.storage.fingerprint import file_sha256
from negalign_train.storage.workspace import Workspace
from negalign_train.vocabulary.errors import RegistryError
from tests.registries import RECORD
from tests.registry.test_weights import candidate


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
    assert (move.record, move.record_sha256) == (
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
    with pytest.raises(RegistryError, match="a is rejected, only a candidate can be"):
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


def rolled_back(registry: Registry, to: str | None, reason: str = "complaints") -> str:
    record = registry.rollback(to, by="anna", reason=reason)
    return "base" if record is None else record.adapter_id


def test_rollbacks_in_a_row_go_back_step_by_step(
    registry: Registry, publish: Callable[..., AdapterRecord]
) -> None:
    for name, parent in (("a", None), ("b", "a"), ("c", "b")):
        publish(name, parent_id=parent)
        registry.promote(name, by="gate", reason="better")
    assert rolled_back(registry, None) == "b"
    assert rolled_back(registry, None) == "a"
    with pytest.raises(RegistryError, match=r"no earlier champion.*rollback --to base"):
        registry.rollback(None, by="anna", reason="again")
    publish("d", parent_id="a")
    registry.promote("d", by="gate", reason="better")
    assert rolled_back(registry, None) == "a"
    assert {record.adapter_id: record.state for record in registry.list()} == {
        "a": "promoted",
        "b": "retired",
        "c": "retired",
        "d": "retired",
    }
    assert [move.action for move in registry.history()].count("rollback") == 3


def test_the_first_champion_can_be_withdrawn_and_come_back(
    registry: Registry, publish: Callable[..., AdapterRecord], tmp_path: Path
) -> None:
    publish("a")
    registry.promote("a", by="gate", reason="first")
    assert rolled_back(registry, "base", "it invents tubes") == "base"
    assert registry.champion() is None
    assert registry.get("a").state == "retired"
    assert registry.state_reason("a") == "rollback of base: it invents tubes"
    move = registry.history()[-1]
    assert (move.adapter_id, move.previous_id) == (None, "a")
    for target in (None, "base", "a"):
        with pytest.raises(RegistryError, match="the champion is the base model"):
            registry.rollback(target, by="anna", reason="again")
    with pytest.raises(RegistryError, match=r"no champion yet, or it was given back.*promote ID"):
        registry.path("champion")
    record = tmp_path / "override.json"
    record.write_text("{}")
    registry.override("a", by="anna", reason="it was the reader", record=record)
    assert registry.resolve("champion") == "a"
    # The base model lies below every adapter, so this is one step back.
    assert rolled_back(registry, None) == "base"


def test_approved_is_set_by_a_person_and_taken_back(
    registry: Registry, publish: Callable[..., AdapterRecord]
) -> None:
    publish("a")
    publish("b", parent_id="a")
    registry.promote("a", by="gate", reason="first")
    assert registry.approved() is None
    registry.approve("champion", by="anna", reason="reader study")
    registry.promote("b", by="gate", reason="better")
    assert (registry.resolve("approved"), registry.resolve("champion")) == ("a", "b")
    assert registry.get("a").state == "retired"
    with pytest.raises(RegistryError, match="a is approved already"):
        registry.approve("a", by="anna", reason="again")
    assert registry.approve("base", by="anna", reason="recalled") is None
    assert registry.approved() is None
    assert registry.resolve("champion") == "b"
    with pytest.raises(RegistryError, match="'nobody' is not in the registry"):
        registry.approve("nobody", by="anna", reason="reader study")
    assert [move.action for move in registry.history() if move.alias == "approved"] == [
        "approve", "approve",
    ]  # fmt: skip


def test_states_and_aliases_follow_from_the_log(
    registry: Registry, publish: Callable[..., AdapterRecord]
) -> None:
    for name, parent in (("a", None), ("b", "a"), ("c", "b"), ("d", None)):
        publish(name, parent_id=parent)
    registry.promote("a", by="gate", reason="first")
    registry.promote("b", by="gate", reason="better")
    registry.reject("c", reason="length")
    registry.approve("b", by="anna", reason="study")
    rolled_back(registry, None)
    states, aliases = replay(registry.log())
    assert {name: (found.state, found.reason) for name, found in states.items()} == {
        record.adapter_id: (record.state, registry.state_reason(record.adapter_id))
        for record in registry.list()
    }
    assert aliases == {"champion": "a", "approved": "b"}


def test_a_rollback_may_name_a_former_champion_and_nothing_else(
    registry: Registry, publish: Callable[..., AdapterRecord]
) -> None:
    for name, parent in (("a", None), ("b", "a"), ("c", "b")):
        publish(name, parent_id=parent)
        registry.promote(name, by="gate", reason="better")
    publish("bystander")
    with pytest.raises(RegistryError, match="roll back to one of: a, b, base; or"):
        registry.rollback("bystander", by="anna", reason="why not")
    with pytest.raises(RegistryError, match="champion already"):
        registry.rollback("c", by="anna", reason="why not")
    assert rolled_back(registry, "a") == "a"


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
