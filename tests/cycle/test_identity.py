"""What was trained and measured is known by what made it, never by a name."""

import dataclasses
from pathlib import Path

import pytest
import yaml

from negalign_train.cycle.opening.plan import Context, LocatedRecipe, open_cycle
from negalign_train.cycle.steps import evaluate as judge_step
from negalign_train.cycle.steps import gate as gate_step
from negalign_train.cycle.steps import train as train_step
from negalign_train.cycle.steps.evaluate import Evaluation, HeldOutCases, evaluate, evaluation_path
from negalign_train.cycle.steps.train import make_room, train
from negalign_train.recipe.candidate import RESERVED_NAMES, CandidateRun, CandidateSettings
from negalign_train.recipe.cycle import CycleRecipe, load_yaml
from negalign_train.registry.manifest import read_manifest
from negalign_train.severity.judges.rules import RulesJudge
from negalign_train.severity.pricing.calibration import identity
from negalign_train.storage.database import open_database
from negalign_train.storage.fingerprint import fingerprint
from negalign_train.storage.workspace import Workspace, read_json, write_json
from negalign_train.training.running.outputs import LOG, run_identity, write_results
from negalign_train.vocabulary.errors import CycleError
from negalign_train.vocabulary.records import Case
from negalign_train.vocabulary.resources import data_path
from tests.cycles import RECIPE, plan_of, small_recipe
from tests.registry.test_weights import candidate as write_adapter

CALIBRATION = identity("rules", "v", "test")


def context_of(root: Path, recipe: CycleRecipe, **plan) -> Context:
    place = Workspace(root)
    context = Context(
        plan_of(recipe, base_name="embedded", **plan),
        LocatedRecipe(recipe, RECIPE),
        place,
        open_database(place.database_url),
        data_path("embedded"),
    )
    context.folder.mkdir(parents=True, exist_ok=True)
    for name in ("pairs.parquet", "unpaired.parquet", "prompts.parquet"):
        (context.folder / name).write_bytes(b"examples")
    return context


def changed(recipe: CycleRecipe, **trainer) -> CycleRecipe:
    first = recipe.candidates[0]
    other = first.model_copy(update={"trainer": first.trainer | trainer})
    return recipe.model_copy(update={"candidates": (other,)})


@pytest.fixture
def launches(monkeypatch):
    """Launches that write an adapter, without training one; the run file of each."""
    told = []

    def launch(_accelerate: Path, config: Path, log: Path, _progress: object) -> int:
        run = load_yaml(config, CandidateRun)
        told.append(run)
        write_adapter(run.output_dir / "adapter")
        (run.output_dir / LOG).write_text("{}\n")
        log.write_text("")
        write_results(run.output_dir, {"num_steps": len(told)}, run_identity(run))
        return 0

    monkeypatch.setattr(train_step, "_launch", launch)
    return told


def test_a_changed_candidate_is_trained_anew_and_a_finished_one_is_not(tmp_path, launches):
    recipe = small_recipe()
    first = train(context_of(tmp_path, recipe), recipe.candidates[0], CALIBRATION)
    again = train(context_of(tmp_path, recipe), recipe.candidates[0], CALIBRATION)
    assert again == first
    assert len(launches) == 1
    other = changed(recipe, learning_rate=2e-5)
    context = context_of(tmp_path, other)
    second = train(context, other.candidates[0], CALIBRATION)
    assert len(launches) == 2
    assert second.identity != first.identity
    assert second.metrics == {"num_steps": 2}
    # The first training was only moved aside: with its recipe it is there again.
    back = train(context_of(tmp_path, recipe), recipe.candidates[0], CALIBRATION)
    assert back == first
    assert len(launches) == 2


def test_another_number_of_processes_is_another_training(tmp_path, launches):
    recipe = small_recipe()
    train(context_of(tmp_path, recipe), recipe.candidates[0], CALIBRATION)
    two = recipe.model_copy(update={"accelerate_config": Path("recipes/accelerate/cpu_2proc.yaml")})
    train(context_of(tmp_path, two), two.candidates[0], CALIBRATION)
    assert [run.num_processes for run in launches] == [1, 2]


def test_other_training_files_are_another_training(tmp_path, launches):
    recipe = small_recipe()
    context = context_of(tmp_path, recipe)
    train(context, recipe.candidates[0], CALIBRATION)
    (context.folder / "pairs.parquet").write_bytes(b"other examples")
    train(context, recipe.candidates[0], CALIBRATION)
    (context.folder / "unpaired.parquet").write_bytes(b"DPO does not read these")
    train(context, recipe.candidates[0], CALIBRATION)
    assert len(launches) == 2


def test_the_manifest_speaks_of_the_training_that_made_the_weights(tmp_path, launches):
    recipe = small_recipe()
    context = context_of(tmp_path, recipe)
    trained = {"dpo": train(context, recipe.candidates[0], CALIBRATION)}
    (adapter_id,) = gate_step.publish_candidates(context, trained).values()
    record = read_manifest(context.workspace.adapters_dir / adapter_id).record
    marker = read_json(context.candidate_dir("dpo") / "COMPLETE.json")
    assert record.run_identity == marker["identity"] == fingerprint(trained["dpo"].made_of)
    # The weights of the two are equal, the trainings are not: two adapters, each with its own.
    other = changed(recipe, learning_rate=2e-5)
    context = context_of(tmp_path, other)
    trained = {"dpo": train(context, other.candidates[0], CALIBRATION)}
    (second_id,) = gate_step.publish_candidates(context, trained).values()
    second = read_manifest(context.workspace.adapters_dir / second_id).record
    assert second_id != adapter_id
    assert second.recipe_fingerprint != record.recipe_fingerprint
    assert second.data_fingerprint == record.data_fingerprint
    # Both were, or will be, evaluated on the same cases: two chances to be lucky, not one.
    assert gate_step.num_candidates(context) == 2
    assert gate_step.bootstrap_settings(context).level == pytest.approx(0.05 / 2)


def test_a_damaged_result_is_not_published_but_trained_anew(tmp_path, launches):
    recipe = small_recipe()
    context = context_of(tmp_path, recipe)
    trained = train(context, recipe.candidates[0], CALIBRATION)
    (trained.adapter_dir / "adapter_model.safetensors").write_bytes(b"damaged")
    train(context, recipe.candidates[0], CALIBRATION)
    assert len(launches) == 2


def test_grpo_is_another_run_under_another_calibration(base, tmp_path):
    from tests.training.test_grpo import make_run  # noqa: PLC0415  heavy: torch

    paths = [tmp_path / "one.json", tmp_path / "two.json"]
    for path in paths:
        path.write_text(path.name)
    found = {
        run_identity(make_run(tmp_path, base, calibration_path=path)) for path in (None, *paths)
    }
    assert len(found) == 3


def test_what_another_training_left_is_moved_out_of_the_way(tmp_path):
    folder = tmp_path / "dpo"
    make_room(folder, "a" * 64, {})
    (folder / "log.jsonl").write_text("first")
    make_room(folder, "b" * 64, {})
    assert [path.name for path in folder.iterdir()] == ["identity.json"]
    make_room(folder, "a" * 64, {})
    assert (folder / "log.jsonl").read_text() == "first"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dpo", "dpo." + "b" * 12]


def test_what_was_measured_is_filed_under_the_adapter_and_what_it_was_measured_with(
    tmp_path, monkeypatch
):
    measured = []

    def measure(_context, adapter_dir, _cases, _progress):
        measured.append(adapter_dir)
        return Evaluation((), {}, None, None, float(len(measured)))

    monkeypatch.setattr(judge_step, "_measure", measure)
    monkeypatch.setattr(Context, "adapter_dir", lambda _self, adapter_id: adapter_id)
    recipe = small_recipe()
    context = context_of(tmp_path, recipe)
    cases = HeldOutCases((Case("a", "a", "Prompt", "Reference"),), {}, 0)
    assert evaluate(context, None, cases) == evaluate(context, None, cases)
    assert evaluate(context, "c0001-dpo-1", cases) != evaluate(context, "c0001-dpo-2", cases)
    assert measured == [None, "c0001-dpo-1", "c0001-dpo-2"]
    assert evaluation_path(context.workspace, 1, None).name == "base.json"
    other = dataclasses.replace(cases, gate=(Case("a", "a", "Prompt", "Other reference"),))
    evaluate(context, None, other)
    assert len(measured) == 4
    longer = small_recipe(model={"max_new_tokens": 7})
    evaluate(context_of(tmp_path, longer), None, other)
    assert len(measured) == 5
    monkeypatch.setattr(RulesJudge, "version", "another scorer")
    evaluate(context_of(tmp_path, longer), None, other)
    assert len(measured) == 6


@pytest.mark.parametrize("name", RESERVED_NAMES)
def test_a_candidate_cannot_carry_a_word_of_ours(name):
    settings = yaml.safe_load(RECIPE.read_text(encoding="utf-8"))["candidates"][0]
    with pytest.raises(ValueError, match=f"{name!r} is reserved and cannot name a candidate"):
        CandidateSettings.model_validate(settings | {"name": name})


def without_key(recipe: CycleRecipe, section: str, key: str) -> CycleRecipe:
    """The recipe as if its file had left one key out, which has a default."""
    data = recipe.model_dump(mode="json", by_alias=True, exclude_unset=True)
    data[section].pop(key, None)
    return CycleRecipe.model_validate(data)


def test_a_key_that_neither_file_gives_keeps_the_value_the_cycle_was_begun_with():
    """As where a later release has another default, or a criterion that the first did not know."""
    recipe = without_key(small_recipe(), "gate", "confidence")
    plan = plan_of(recipe)
    for then in ({"confidence": 0.9}, {}):
        gate = {k: v for k, v in plan.recipe["gate"].items() if k != "confidence"} | then
        older = dataclasses.replace(plan, recipe=dict(plan.recipe) | {"gate": gate})
        assert older.changed_keys(recipe) == []
        assert older.changed_keys(small_recipe(gate={"confidence": 0.8})) == ["gate.confidence"]
    assert "gate.min_cases" in plan.changed_keys(small_recipe(gate={"min_cases": 51}))


def test_a_key_taken_out_of_the_recipe_is_a_change():
    off = small_recipe(severity={"calibrate": False})
    assert plan_of(off).changed_keys(off) == []
    without = without_key(off, "severity", "calibrate")
    assert plan_of(off).changed_keys(without) == ["severity.calibrate"]


def test_a_cycle_that_was_begun_is_decided_by_its_own_criteria(tmp_path):
    place = Workspace(tmp_path)
    engine = open_database(place.database_url)
    located = LocatedRecipe(without_key(small_recipe(), "gate", "confidence"), RECIPE)
    context = open_cycle(place, engine, located, 3, "2026-01-01T00:00:00Z")
    (context.folder / "snapshot.parquet").write_bytes(b"")
    plan = read_json(context.folder / "plan.json")
    plan["recipe"]["gate"]["confidence"] = 0.9
    write_json(context.folder / "plan.json", plan)
    again = open_cycle(place, engine, located, 3, "2026-01-02T00:00:00Z")
    assert again.recipe.gate.confidence == 0.9
    assert again.plan.criteria_digest != context.plan.criteria_digest
    del plan["recipe_keys"]
    write_json(context.folder / "plan.json", plan)
    with pytest.raises(CycleError, match="was written by another release"):
        open_cycle(place, engine, located, 3, "2026-01-02T00:00:00Z")


def test_a_candidate_altered_after_its_training_is_not_published(tmp_path, launches):
    recipe = small_recipe()
    context = context_of(tmp_path, recipe)
    trained = {"dpo": train(context, recipe.candidates[0], CALIBRATION)}
    weights = trained["dpo"].adapter_dir / "adapter_model.safetensors"
    before = weights.read_bytes()
    weights.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    with pytest.raises(CycleError, match="changed after its training had finished"):
        gate_step.publish_candidates(context, trained)
    assert context.registry.list() == ()
    weights.write_bytes(before)
    published = gate_step.publish_candidates(context, trained)
    assert [published["dpo"]] == [record.adapter_id for record in context.registry.list()]
