"""The cycle on the embedded generator: what it changes and what it leaves alone."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from peft import AutoPeftModelForCausalLM, PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from negalign_train.evaluation.gate_records import verify_chain
from negalign_train.preferences.files import read_pairs
from negalign_train.report.result import read_result
from negalign_train.storage.workspace import read_json
from negalign_train.vocabulary.resources import data_path
from tests.cycles import digests


def test_S_falls_by_a_shown_amount_and_the_candidate_is_promoted(two_cycles):
    summary = two_cycles[4][0]
    assert summary.decision == "promoted"
    assert summary.ci_high < 0
    assert summary.mean_S_after < 0.9 * summary.mean_S_before
    # The simulated readers, who never see the scorer, agree.
    assert summary.readers_check.mean_S_after < summary.readers_check.mean_S_before


def test_the_summary_holds_what_the_readme_promises(two_cycles):
    for summary in two_cycles[4]:
        assert {
            "cycle", "decision", "champion", "parent", "mean_S_before", "mean_S_after",
            "ci_low", "ci_high", "per_category", "num_cases", "seconds",
        } <= set(summary.to_json())  # fmt: skip
        assert len(summary.per_category) == 9
        assert summary.num_cases == 100


def test_the_file_holds_the_result_that_the_run_returned(two_cycles):
    cycles = two_cycles[0] / "cycles"
    for number, result in enumerate(two_cycles[4], start=1):
        path = cycles / f"c{number:04d}" / "cycle.json"
        assert read_result(path) == result
        assert json.loads(json.dumps(result.to_json())) == read_json(path)


def test_the_base_model_is_untouched(two_cycles):
    assert digests(data_path("embedded")) == two_cycles[1]


def test_the_second_cycle_goes_on_from_the_first_champion_and_leaves_it_as_it_was(two_cycles):
    folder, _, first, frozen, summaries = two_cycles
    assert summaries[0] == first[0]
    assert summaries[1].parent == first[0].champion
    parent = folder / "adapters" / first[0].champion
    assert digests(parent) == frozen[parent.name]
    candidate = folder / "adapters" / summaries[1].candidates[0].adapter
    old = load_file(parent / "adapter_model.safetensors")
    new = load_file(candidate / "adapter_model.safetensors")
    assert old.keys() == new.keys()
    assert all(not torch.equal(old[name], new[name]) for name in old)


def test_the_reference_of_the_second_cycle_is_the_first_champion(two_cycles):
    folder, first = two_cycles[0], two_cycles[2]
    run_file = yaml.safe_load(
        (folder / "cycles" / "c0002" / "candidates" / "dpo" / "candidate.yaml").read_text()
    )
    assert run_file["parent_adapter_dir"].endswith(first[0].champion)
    # Against its own start the policy has no margin yet.
    log = folder / "cycles" / "c0002" / "candidates" / "dpo" / "log.jsonl"
    assert abs(json.loads(log.read_text().splitlines()[0])["rewards/margins"]) < 1e-3


def test_S_before_the_second_cycle_is_S_after_the_first(two_cycles):
    first, second = two_cycles[4]
    assert second.mean_S_before == first.mean_S_after


def test_the_gate_compares_with_the_model_of_the_first_cycle_too(two_cycles):
    folder, summaries = two_cycles[0], two_cycles[4]
    first, second = (summary.since_first_cycle for summary in summaries)
    assert first.ci_high == summaries[0].ci_high
    assert second.mean_S_start == pytest.approx(summaries[0].mean_S_before)
    (record,) = read_json(folder / "cycles" / "c0002" / "gate_record.json")["records"]
    limits = {c["name"]: c["limit"] for c in record["criteria"]}
    assert limits["overall:false_negative"] == [None, 0.15]


def test_replay_brings_earlier_pairs_back_and_stays_capped(two_cycles):
    data = two_cycles[4][1].data
    fresh = data.pairs - data.pairs_replayed
    assert 0 < data.pairs_replayed <= 0.25 * fresh


def test_gate_records_are_chained_over_cycles(two_cycles):
    folder = two_cycles[0]
    records = [
        record
        for cycle in ("c0001", "c0002")
        for record in read_json(folder / "cycles" / cycle / "gate_record.json")["records"]
    ]
    verify_chain(records)
    assert len(records) == 2


def test_the_champion_loads_into_a_plain_program_base_and_all(two_cycles, tmp_path):
    folder = Path(shutil.copytree(two_cycles[0], tmp_path / "workspace"))
    command = [sys.executable, "-m", "negalign_train.commands.cli", "adapters", "path", "champion"]
    done = subprocess.run(
        [*command, "--workspace", str(folder)], capture_output=True, text=True, check=True
    )
    model = AutoPeftModelForCausalLM.from_pretrained(done.stdout.strip())
    assert list(model.peft_config) == ["default"]
    ids = torch.tensor([[2, 40, 41, 3]])
    champion = folder / "adapters" / Path(done.stdout.strip()).name
    base = AutoModelForCausalLM.from_pretrained(data_path("embedded"))
    with torch.inference_mode():
        plain = base(ids).logits
        adapted = model(ids).logits
        assert torch.equal(PeftModel.from_pretrained(base, champion)(ids).logits, adapted)
    assert not torch.allclose(adapted, plain)


def test_a_published_adapter_holds_no_pickle_and_no_path_of_this_machine(two_cycles):
    folders = list((two_cycles[0] / "adapters").iterdir())
    assert len(folders) == 2
    for folder in folders:
        assert sorted(p.name for p in folder.iterdir()) == [
            "README.md", "adapter_config.json", "adapter_model.safetensors", "manifest.json",
        ]  # fmt: skip
        for path in folder.iterdir():
            content = path.read_bytes()
            assert str(two_cycles[0]).encode() not in content
            assert str(data_path("embedded").parent).encode() not in content


def test_the_page_is_written_and_holds_no_report_text(two_cycles):
    page = (two_cycles[0] / "cycles" / "c0001" / "report.html").read_text()
    assert "c0001-dpo" in page
    assert "Findings:" not in page
    assert "Impression:" not in page


def test_no_case_is_on_both_sides_and_a_case_keeps_its_side(two_cycles):
    cycles = two_cycles[0] / "cycles"
    splits = [read_json(cycles / name / "split.json") for name in ("c0001", "c0002")]
    assert splits[0]["groups"].items() <= splits[1]["groups"].items()
    assert set(splits[0]["held_out"]) <= set(splits[1]["held_out"])
    kept_back = set(splits[1]["held_out"]) | set(splits[1]["frozen"])
    for name in ("c0001", "c0002"):
        trained = {pair.group for pair in read_pairs(cycles / name / "pairs.parquet")}
        assert trained
        assert not trained & kept_back
