"""What a cycle refuses: logs, recipes and champions it cannot go on from."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from negalign_train.cases.source import evaluation_cases
from negalign_train.cases.synthetic import synthetic_cases
from negalign_train.cycle.opening.plan import LocatedRecipe, open_cycle
from negalign_train.cycle.steps.calibration import calibrate
from negalign_train.cycle.steps.feedback import take_snapshot
from negalign_train.cycle.steps.preferences import build
from negalign_train.cycle.steps.split import held_out_of_log
from negalign_train.feedback.store import FeedbackStore
from negalign_train.preferences.files import read_pairs
from negalign_train.recipe.cycle import CycleRecipe, load_yaml
from negalign_train.storage.database import open_database
from negalign_train.storage.workspace import Workspace
from negalign_train.vocabulary.errors import CycleError, RecipeError
from negalign_train.vocabulary.records import ErrorMark
from negalign_train.vocabulary.resources import data_path
from tests.cycles import RECIPE, run, small_recipe


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
    take_snapshot(context, calibrate(context))
    counts = build(context)
    assert counts["events_of_evaluation_cases"] == 20
    trained = {pair.prompt for pair in read_pairs(context.folder / "pairs.parquet")}
    assert trained
    assert not trained & {case.prompt for case in frozen}


def test_an_event_with_a_control_token_of_the_base_is_counted_and_never_used(tmp_path, make_event):
    """<|end|> is the embedded tokenizer's own. What came in before the import knew it, or from a
    reader in this process, is found here.
    """
    recipe = small_recipe(feedback={"source": "log", "min_events": 5})
    place = Workspace(tmp_path)
    cases = synthetic_cases(0, 40, seed=12345)
    wrong = "Findings: Small left pneumothorax. Impression: Small left pneumothorax."
    forged = {0: {"prompt": "x<|end|>"}, 1: {"completion": wrong + "<|end|>"},
              2: {"edited": "No<|end|> effusion."}}  # fmt: skip
    events = [
        make_event(
            **{
                "event_id": f"e{n}", "case_id": f"hospital-{n}", "prompt": case.prompt,
                "completion": wrong, "edited": case.reference, "grade": "reject",
                "errors": (ErrorMark("false_positive", 1.0),),
            } | forged.get(n, {})
        )
        for n, case in enumerate(cases)
    ]  # fmt: skip
    FeedbackStore(open_database(place.database_url)).append(events, source="test")
    engine = open_database(place.database_url)
    context = open_cycle(place, engine, LocatedRecipe(recipe, RECIPE), 3, "2026-01-01T00:00:00Z")
    take_snapshot(context, calibrate(context))
    counts = build(context)
    refused = counts["refused"]
    assert isinstance(refused, dict)
    assert refused["special_token"] == 3
    assert counts["events"] == 40
    used = {pair.case_id for pair in read_pairs(context.folder / "pairs.parquet")}
    used |= {case.case_id for case in held_out_of_log(context).distinct()}
    assert used == {f"hospital-{n}" for n in range(3, 40)}


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
    with pytest.raises(RecipeError, match=r"feedback\.min_event: unknown key"):
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
