"""The cycle on the embedded generator: what it changes, leaves alone, and survives."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from negalign_train.cases.source import evaluation_cases
from negalign_train.cases.synthetic import synthetic_cases
from negalign_train.cycle.feedback_step import take_snapshot
from negalign_train.cycle.plan import LocatedRecipe, open_cycle
from negalign_train.cycle.preferences_step import build
from negalign_train.cycle.run import run_cycles
from negalign_train.database import open_database
from negalign_train.errors import CycleError, RecipeError
from negalign_train.evaluation.records import verify_chain
from negalign_train.feedback.store import FeedbackStore
from negalign_train.fingerprint import file_sha256
from negalign_train.preferences.files import read_pairs
from negalign_train.recipe import CycleRecipe, load_yaml
from negalign_train.records import ErrorMark
from negalign_train.registry.adapters import Registry
from negalign_train.resources import data_path
from negalign_train.workspace import Workspace, read_json

ROOT = Path(__file__).resolve().parent.parent
RECIPE = ROOT / "recipes" / "embedded" / "cycle.yaml"
STEPS = ("gathering", "building", "evaluating the parent", "training", "publishing",
         "evaluating candidate", "deciding")  # fmt: skip


def small_recipe(**changes) -> CycleRecipe:
    """The shipped recipe at a size that takes seconds."""
    data = yaml.safe_load(RECIPE.read_text(encoding="utf-8"))
    data["cases"] |= {"num_feedback_cases": 160, "num_evaluation_cases": 100}
    data["feedback"]["min_events"] = 20
    data["evaluation"] |= {"num_kl_cases": 16, "max_retention_cases": 10}
    # On 100 cases one severe error more or less is chance.
    data["gate"] |= {"min_cases": 50, "max_severe_rate_increase": 0.05}
    data["candidates"] = data["candidates"][:1]
    for section, values in changes.items():
        data[section] = data[section] | values if isinstance(values, dict) else values
    return CycleRecipe.model_validate(data)


def run(folder: Path, recipe: CycleRecipe, cycles: int | None = None, progress=lambda _: None):
    place = Workspace(folder)
    engine = open_database(place.database_url)
    return list(run_cycles(place, engine, LocatedRecipe(recipe, RECIPE), 3, progress, cycles))


def without_times(summary):
    """What must not depend on when and how often the cycle was started."""
    summary = json.loads(json.dumps(summary))
    for key in ("seconds", "seconds_by_step", "training"):
        summary.pop(key)
    return summary


def digests(folder: Path) -> dict[str, str]:
    return {p.name: file_sha256(p) for p in sorted(folder.iterdir()) if p.is_file()}


@pytest.fixture(scope="module")
def two_cycles(tmp_path_factory):
    """Two cycles in one workspace, with the base model's bytes before and after."""
    folder = tmp_path_factory.mktemp("cycles") / "workspace"
    before = digests(data_path("embedded"))
    first = run(folder, small_recipe(), cycles=1)
    frozen = {path.name: digests(path) for path in Workspace(folder).adapters_dir.iterdir()}
    summaries = run(folder, small_recipe(), cycles=2)
    return folder, before, first, frozen, summaries


def test_S_falls_by_a_shown_amount_and_the_candidate_is_promoted(two_cycles):
    summary = two_cycles[4][0]
    assert summary["decision"] == "promoted"
    assert summary["ci_high"] < 0
    assert summary["mean_S_after"] < 0.9 * summary["mean_S_before"]
    # The simulated readers, who never see the scorer, agree.
    assert summary["readers_check"]["mean_S_after"] < summary["readers_check"]["mean_S_before"]


def test_the_summary_holds_what_the_readme_promises(two_cycles):
    for summary in two_cycles[4]:
        assert {
            "cycle", "decision", "champion", "parent", "mean_S_before", "mean_S_after",
            "ci_low", "ci_high", "per_category", "num_cases", "seconds",
        } <= set(summary)  # fmt: skip
        assert len(summary["per_category"]) == 9
        assert summary["num_cases"] == 100


def test_the_base_model_is_untouched(two_cycles):
    assert digests(data_path("embedded")) == two_cycles[1]


def test_the_second_cycle_goes_on_from_the_first_champion_and_leaves_it_as_it_was(two_cycles):
    folder, _, first, frozen, summaries = two_cycles
    assert summaries[0] == first[0]
    assert summaries[1]["parent"] == first[0]["champion"]
    parent = folder / "adapters" / first[0]["champion"]
    assert digests(parent) == frozen[parent.name]
    candidate = folder / "adapters" / summaries[1]["candidates"][0]["adapter"]
    old = load_file(parent / "adapter_model.safetensors")
    new = load_file(candidate / "adapter_model.safetensors")
    assert old.keys() == new.keys()
    assert all(not torch.equal(old[name], new[name]) for name in old)


def test_the_reference_of_the_second_cycle_is_the_first_champion(two_cycles):
    folder, first = two_cycles[0], two_cycles[2]
    run_file = yaml.safe_load(
        (folder / "cycles" / "c0002" / "candidates" / "dpo" / "candidate.yaml").read_text()
    )
    assert run_file["parent_adapter_dir"].endswith(first[0]["champion"])
    # Against its own start the policy has no margin yet.
    log = folder / "cycles" / "c0002" / "candidates" / "dpo" / "log.jsonl"
    assert abs(json.loads(log.read_text().splitlines()[0])["rewards/margins"]) < 1e-3


def test_S_before_the_second_cycle_is_S_after_the_first(two_cycles):
    first, second = two_cycles[4]
    assert second["mean_S_before"] == first["mean_S_after"]


def test_the_gate_compares_with_the_model_of_the_first_cycle_too(two_cycles):
    folder, summaries = two_cycles[0], two_cycles[4]
    first, second = (summary["since_first_cycle"] for summary in summaries)
    assert first["ci_high"] == summaries[0]["ci_high"]
    assert second["mean_S_start"] == pytest.approx(summaries[0]["mean_S_before"])
    (record,) = read_json(folder / "cycles" / "c0002" / "gate_record.json")["records"]
    limits = {c["name"]: c["limit"] for c in record["criteria"]}
    assert limits["overall:false_negative"] == [None, 0.01]


def test_replay_brings_earlier_pairs_back_and_stays_capped(two_cycles):
    data = two_cycles[4][1]["data"]
    fresh = data["pairs"] - data["pairs_replayed"]
    assert 0 < data["pairs_replayed"] <= 0.25 * fresh


def test_gate_records_are_chained_over_cycles(two_cycles):
    folder = two_cycles[0]
    records = [
        record
        for cycle in ("c0001", "c0002")
        for record in read_json(folder / "cycles" / cycle / "gate_record.json")["records"]
    ]
    verify_chain(records)
    assert len(records) == 2


def test_the_champion_loads_into_a_plain_program_and_holds_no_pickle(two_cycles):
    folder = two_cycles[0]
    command = [sys.executable, "-m", "negalign_train.cli", "adapters", "path", "champion"]
    done = subprocess.run(
        [*command, "--workspace", str(folder)], capture_output=True, text=True, check=True
    )
    path = Path(done.stdout.strip())
    assert sorted(p.name for p in path.iterdir()) == [
        "README.md", "adapter_config.json", "adapter_model.safetensors", "manifest.json",
    ]  # fmt: skip
    base = AutoModelForCausalLM.from_pretrained(data_path("embedded"))
    model = PeftModel.from_pretrained(base, path)
    assert list(model.peft_config) == ["default"]
    ids = torch.tensor([[2, 40, 41, 3]])
    with torch.inference_mode():
        adapted = model(ids).logits
        with model.disable_adapter():
            assert not torch.allclose(adapted, model(ids).logits)


def test_the_page_is_written_and_holds_no_report_text(two_cycles):
    page = (two_cycles[0] / "cycles" / "c0001" / "report.html").read_text()
    assert "c0001-dpo" in page
    assert "Findings:" not in page
    assert "Impression:" not in page


def test_dying_before_every_step_changes_nothing_in_the_end(two_cycles, tmp_path):
    class Died(Exception):
        pass

    def die_at(step):
        def progress(what):
            if step in what:
                raise Died

        return progress

    recipe = small_recipe()
    for step in STEPS:
        with pytest.raises(Died):
            run(tmp_path, recipe, progress=die_at(step))
        assert not (tmp_path / "cycles" / "c0001" / "cycle.json").exists()
    summary = run(tmp_path, recipe)[0]
    assert without_times(summary) == without_times(two_cycles[2][0])


def test_a_cycle_killed_while_training_is_finished_by_the_same_command(two_cycles, tmp_path):
    recipe = tmp_path / "cycle.yaml"
    text = yaml.safe_dump(small_recipe().model_dump(mode="json", by_alias=True))
    recipe.write_text(text.replace("recipes/accelerate", str(ROOT / "recipes/accelerate")))
    workspace = tmp_path / "workspace"
    command = [
        sys.executable, "-m", "negalign_train.cli", "cycle", "--config", str(recipe),
        "--workspace", str(workspace), "--seed", "3", "--json",
    ]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    log = workspace / "cycles" / "c0001" / "candidates" / "dpo" / "log.jsonl"
    deadline = time.monotonic() + 120
    while not log.is_file() and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert log.is_file()
    assert not (workspace / "cycles" / "c0001" / "cycle.json").exists()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    summary = json.loads(done.stdout)
    expected = without_times(two_cycles[2][0])
    assert without_times(summary)["mean_S_after"] == expected["mean_S_after"]
    assert summary["champion"] == expected["champion"]


def test_another_recipe_may_not_finish_a_cycle_that_was_begun(tmp_path):
    def stop(what):
        if "building" in what:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, small_recipe(), progress=stop)
    with pytest.raises(CycleError, match="was started with another recipe"):
        run(tmp_path, small_recipe(gate={"min_cases": 51}))


def test_finished_cycles_are_not_reported_under_another_seed(two_cycles):
    place = Workspace(two_cycles[0])
    engine = open_database(place.database_url)
    located = LocatedRecipe(small_recipe(), RECIPE)
    with pytest.raises(CycleError, match="was started with another seed"):
        list(run_cycles(place, engine, located, 4, lambda _: None, 2))


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


def test_a_frozen_evaluation_case_in_the_log_is_never_trained_on(tmp_path, make_event):
    recipe = small_recipe(feedback={"source": "log", "min_events": 5})
    place = Workspace(tmp_path)
    frozen = evaluation_cases(recipe.cases, seed=3)[:20]
    other = synthetic_cases(0, 40, seed=12345)
    events = [
        make_event(
            event_id=f"e{n}", case_id=f"hospital-{n}", prompt=case.prompt,
            completion="Findings: Small left pneumothorax. Impression: Small left pneumothorax.",
            edited=case.reference, grade="reject",
            errors=(ErrorMark("false_positive", 1.0),),
        )
        for n, case in enumerate([*frozen, *other])
    ]  # fmt: skip
    FeedbackStore(open_database(place.database_url)).append(events, source="test")
    engine = open_database(place.database_url)
    context = open_cycle(place, engine, LocatedRecipe(recipe, RECIPE), 3, "2026-01-01T00:00:00Z")
    take_snapshot(context)
    counts = build(context)
    assert counts["events_of_evaluation_cases"] == 20
    trained = {pair.prompt for pair in read_pairs(context.folder / "pairs.parquet")}
    assert trained
    assert not trained & {case.prompt for case in frozen}


def test_a_champion_changed_by_hand_stops_the_cycle_that_began_from_another(two_cycles, tmp_path):
    def stop(what):
        if "building" in what:
            raise KeyboardInterrupt

    folder = Path(shutil.copytree(two_cycles[0], tmp_path / "workspace"))
    recipe = small_recipe()
    with pytest.raises(KeyboardInterrupt):
        run(folder, recipe, cycles=3, progress=stop)
    place = Workspace(folder)
    registry = Registry(place, open_database(place.database_url))
    champion = registry.champion()
    assert champion is not None
    by_hand = replace(champion, adapter_id="by-hand", parent_id=champion.adapter_id)
    registry.publish(registry.path(champion.adapter_id), by_hand)
    registry.promote("by-hand", by="test", reason="test")
    with pytest.raises(CycleError, match="promoted or rolled back by hand"):
        run(folder, recipe, cycles=3)


def test_an_empty_log_is_refused_with_the_way_out(tmp_path):
    recipe = small_recipe(feedback={"source": "log", "min_events": 5})
    with pytest.raises(CycleError, match=r"has 0 new events .* needs 5 .*negalign feedback import"):
        run(tmp_path, recipe)


def test_a_log_of_accepts_only_trains_no_pairs_and_says_so(tmp_path, make_event):
    place = Workspace(tmp_path)
    events = [
        make_event(
            event_id=f"e{n}", case_id=f"c{n}", prompt=f"Indication: {n}.", grade="accept",
            errors=(), edited=None,
        )
        for n in range(30)
    ]  # fmt: skip
    FeedbackStore(open_database(place.database_url)).append(events, source="test")
    recipe = small_recipe(feedback={"source": "log", "min_events": 5})
    with pytest.raises(CycleError, match="no pair"):
        run(tmp_path, recipe)


def test_an_unknown_recipe_key_is_an_error_that_names_it(tmp_path):
    path = tmp_path / "cycle.yaml"
    path.write_text(RECIPE.read_text().replace("  min_events:", "  min_event:"))
    with pytest.raises(RecipeError, match=r"feedback\.min_event: Extra inputs"):
        load_yaml(path, CycleRecipe)


def test_a_champion_of_another_base_is_refused(two_cycles, tmp_path):
    folder = two_cycles[0]
    other = tmp_path / "base"
    model = AutoModelForCausalLM.from_pretrained(data_path("embedded"))
    with torch.no_grad():
        model.model.norm.weight += 0.01
    model.save_pretrained(other)
    recipe = small_recipe(model={"model_name_or_path": str(other)})
    with pytest.raises(CycleError, match="sits on another base model"):
        run(folder, recipe)


def test_rollback_makes_the_older_adapter_the_parent_of_the_next_cycle(two_cycles, tmp_path):
    folder = Path(shutil.copytree(two_cycles[0], tmp_path / "workspace"))
    place = Workspace(folder)
    engine = open_database(place.database_url)
    registry = Registry(place, engine)
    champion = registry.champion()
    assert champion is not None
    by_hand = replace(champion, adapter_id="by-hand", parent_id=champion.adapter_id)
    registry.publish(registry.path(champion.adapter_id), by_hand)
    registry.promote("by-hand", by="test", reason="test")
    registry.rollback(None, by="test", reason="test")
    located = LocatedRecipe(small_recipe(), RECIPE)
    context = open_cycle(place, engine, located, 3, "2026-01-01T00:00:00Z")
    assert context.plan.parent == champion.adapter_id
