"""A log of graded reports through the real commands: import, two cycles, decisions, retention."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from build_sample_log import sample_events

from negalign_train.feedback.schema import event_to_dict
from negalign_train.preferences.files import read_pairs
from negalign_train.storage.workspace import read_json

ROOT = Path(__file__).resolve().parents[2]
CASES = 110
HELD_OUT = 0.3
"""About 33 of the cases of a cycle: the gate wants 20 groups, retention too."""


def negalign(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "negalign_train.commands.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)


def write_log(path: Path, seed: int) -> Path:
    """A log of its own cases: the generator of seed 2's log does not know those of seed 1's."""
    lines = [json.dumps(event_to_dict(event)) + "\n" for event in sample_events(CASES, seed)]
    path.write_text("".join(lines).replace("sim-c0000-", f"log{seed}-"), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def two_logs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """A workspace of two cycles from two logs, and the summaries that the command printed."""
    folder = tmp_path_factory.mktemp("log")
    recipe = yaml.safe_load((ROOT / "recipes" / "log" / "cycle.yaml").read_text(encoding="utf-8"))
    recipe["preferences"]["held_out_fraction"] = HELD_OUT
    recipe["evaluation"] |= {"num_kl_cases": 16, "num_bootstrap": 1000}
    recipe["gate"]["min_cases"] = 20
    recipe["candidates"][0]["trainer"] |= {"num_train_epochs": 1}
    config = folder / "cycle.yaml"
    config.write_text(yaml.safe_dump(recipe), encoding="utf-8")
    workspace = folder / "workspace"
    summaries = []
    for seed in (1, 2):
        log = write_log(folder / f"log{seed}.jsonl", seed)
        negalign("feedback", "import", log, "--workspace", workspace)
        done = negalign("cycle", "--config", config, "--workspace", workspace, "--json")
        summaries.append(json.loads(done.stdout))
    return workspace, summaries


def mean_S(reports: list[dict[str, Any]]) -> float:
    """Mean S of a stored evaluation's reports that could be scored."""
    scores = [report["score"] for report in reports if report["score"] is not None]
    totals: list[float] = [sum(score["severities"].values()) for score in scores]
    return sum(totals) / len(totals)


def test_retention_of_the_first_cycle_is_applied_in_the_second(two_logs):
    workspace, summaries = two_logs
    folder = workspace / "cycles" / "c0002"
    (record,) = read_json(folder / "gate_record.json")["records"]
    criteria = {criterion["name"]: criterion for criterion in record["criteria"]}
    assert record["evidence"]["retention"]["1"]["num_groups"] >= 20
    for name in ("retention", "retention:c0001"):
        assert criteria[name]["state"] in ("held", "broken", "open")
        low, high = criteria[name]["interval"]
        assert low <= criteria[name]["value"] <= high
        assert low < high
    assert not any("retention" in name for name in summaries[1]["candidates"][0]["not_applied"])


def test_backward_transfer_is_what_the_stored_evaluations_give(two_logs):
    workspace, summaries = two_logs
    stored = workspace / "cycles" / "c0002" / "evaluation"
    after = [
        mean_S(read_json(stored / f"{adapter or 'base'}.json")["retention"]["1"])
        for adapter in (summaries[0]["champion"], summaries[1]["champion"])
    ]
    retention = summaries[1]["retention"]
    assert retention["mean_S"] == {
        "1": {"1": pytest.approx(after[0]), "2": pytest.approx(after[1])}
    }
    assert retention["backward_transfer"] == pytest.approx(after[1] - after[0])
    assert retention["num_cases"]["1"] >= 20


def test_a_guardrail_that_the_first_cycle_could_not_apply_is_listed_with_its_reason(two_logs):
    _, summaries = two_logs
    (candidate,) = summaries[0]["candidates"]
    assert candidate["not_applied"] == {"retention": "no held-out case of an earlier cycle"}
    assert summaries[0]["retention"] == {"mean_S": {}, "num_cases": {}, "backward_transfer": None}


def test_audit_finds_no_problem(two_logs):
    workspace, _ = two_logs
    audited = json.loads(negalign("audit", "--workspace", workspace, "--json").stdout)
    assert audited["problems"] == []


def test_each_cycle_takes_its_own_events_and_decides_on_the_cases_it_held_out(two_logs):
    workspace, summaries = two_logs
    for number, summary in enumerate(summaries, start=1):
        folder = workspace / "cycles" / f"c{number:04d}"
        split = read_json(folder / "split.json")
        assert summary["cycle"] == number
        assert summary["data"]["events"] > CASES
        assert summary["data"]["events_held_out"] > 0
        assert summary["num_cases"] >= 20
        assert summary["decision"] in ("promoted", "rejected", "inconclusive")
        trained = {pair.group for pair in read_pairs(folder / "pairs.parquet")}
        assert trained
        assert not trained & set(split["held_out"])
