"""`negalign audit` and `negalign pairs` on a workspace of two cycles."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from negalign_train.cycle.audit import audit
from negalign_train.database import open_database
from negalign_train.registry.adapters import Registry
from negalign_train.workspace import Workspace, read_json, write_json


@pytest.fixture
def workspace(two_cycles, tmp_path):
    return Workspace(Path(shutil.copytree(two_cycles[0], tmp_path / "workspace")))


def audited(workspace: Workspace):
    return audit(workspace, Registry(workspace, open_database(workspace.database_url)))


def negalign(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "negalign_train.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_audit_of_an_untouched_workspace_finds_no_problem(workspace):
    found = audited(workspace)
    assert found.problems == ()
    # The chain, two adapters, and at least the first promotion.
    assert len(found.checks) >= 4
    assert found.history[0].changed_by == "gate"


def test_audit_finds_a_gate_record_that_was_changed_afterwards(workspace):
    path = workspace.cycle_dir(1) / "gate_record.json"
    value = read_json(path)
    value["records"][0]["reasons"] = ["better"]
    write_json(path, value)
    problems = audited(workspace).problems
    assert [check.what for check in problems][:1] == ["chain of 2 gate records"]
    assert any("was changed since" in str(check.problem) for check in problems)


def test_audit_finds_damaged_weights(workspace):
    champion = audited(workspace).history[0].adapter_id
    weights = workspace.adapters_dir / champion / "adapter_model.safetensors"
    weights.chmod(0o644)
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    (problem,) = audited(workspace).problems
    assert problem.what == f"files of adapter {champion}"


def test_audit_accepts_a_promotion_by_hand_and_refuses_one_in_the_gates_name(workspace):
    registry = Registry(workspace, open_database(workspace.database_url))
    champion = registry.champion()
    assert champion is not None
    for name, by in (("hand-1", "dr-no"), ("hand-2", "gate")):
        record = replace(champion, adapter_id=name, parent_id=champion.adapter_id)
        registry.publish(registry.path(champion.adapter_id), record)
        registry.promote(name, by=by, reason="a test")
    (problem,) = audited(workspace).problems
    assert problem.what == "promote of hand-2 by gate"
    assert problem.problem == "it names no gate record"


def test_audit_command_exits_with_one_where_a_record_is_missing(workspace):
    done = negalign("audit", "--workspace", str(workspace.root), "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["problems"] == []
    shutil.rmtree(workspace.adapters_dir / audited(workspace).history[0].adapter_id)
    done = negalign("audit", "--workspace", str(workspace.root))
    assert done.returncode == 1
    assert "1 problem(s)" in done.stderr


def test_pairs_command_counts_what_the_cycle_trained_on_and_shows_no_text(workspace):
    done = negalign("pairs", "--workspace", str(workspace.root), "--cycle", "2", "--json")
    summary = json.loads(done.stdout)
    counts = read_json(workspace.cycle_dir(2) / "preferences.json")
    assert sum(summary["pairs of"].values()) == summary["pairs"] == counts["pairs"]
    assert summary["pairs of"]["cycle 1"] == counts["pairs_replayed"]
    assert summary["pair weight"]["mean"] == pytest.approx(1.0)
    assert "Findings" not in done.stdout
    done = negalign("pairs", "--workspace", str(workspace.root), "--cycle", "9")
    assert done.returncode == 1
    assert "cycle 9 has not built its preferences" in done.stderr
