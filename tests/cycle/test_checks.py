"""What a cycle refuses before it fetches a model or reads a report."""

from __future__ import annotations

import copy

import pytest
import yaml

from negalign_train.cycle import run as cycle_run
from negalign_train.cycle.opening.checks import check_readers, check_recipe
from negalign_train.cycle.opening.plan import LocatedRecipe
from negalign_train.recipe.candidate import MAX_SEED
from negalign_train.recipe.cycle import CycleRecipe
from negalign_train.storage.database import open_database
from negalign_train.storage.workspace import Workspace
from negalign_train.vocabulary.errors import CycleError, RecipeError
from tests.cycles import RECIPE, small_recipe


def trusting(**trust: float) -> CycleRecipe:
    names = {name.replace("_", "-"): value for name, value in trust.items()}
    return small_recipe(
        feedback={"source": "log"}, preferences={"reader_trust": names}
    )  # fmt: skip


def test_a_trust_for_nobody_names_the_nearest_reader_and_all_there_are():
    with pytest.raises(CycleError) as error:
        check_readers(trusting(r_O3=0.5, r_07=0.5), ["r-03", "r-07", "dr-lee"])
    assert str(error.value) == (
        "preferences.reader_trust names r-O3 (did you mean r-03?), who graded nothing in the log; "
        "its readers are dr-lee, r-03, r-07. Correct the id, or take it out"
    )


def test_an_empty_log_has_no_reader_to_trust():
    with pytest.raises(CycleError, match="its readers are nobody"):
        check_readers(trusting(r_1=0.5), [])


def test_readers_of_the_log_and_of_the_panel_may_be_trusted():
    check_readers(trusting(r_1=0.5), ["r-1"])
    panel = small_recipe(preferences={"reader_trust": {"sim-reader-3": 0.5}})
    check_readers(panel, [])
    with pytest.raises(CycleError, match=r"sim-reader-4 \(did you mean sim-reader-"):
        check_readers(small_recipe(preferences={"reader_trust": {"sim-reader-4": 0.5}}), [])


def wrong_scheduler() -> CycleRecipe:
    candidates = copy.deepcopy(yaml.safe_load(RECIPE.read_text())["candidates"][:1])
    candidates[0]["trainer"]["lr_scheduler_type"] = "no-such"
    return small_recipe(candidates=candidates)


def test_what_trl_refuses_is_told_before_the_base_model_is_looked_for(tmp_path, monkeypatch):
    def never(*_):
        raise AssertionError("the cycle was opened")

    monkeypatch.setattr(cycle_run, "open_cycle", never)
    located = LocatedRecipe(wrong_scheduler(), RECIPE)
    place = Workspace(tmp_path / "w")
    engine = open_database(f"sqlite:///{tmp_path / 'n.db'}")
    with pytest.raises(RecipeError, match="candidate dpo: trainer: DPOConfig refuses it"):
        list(cycle_run.run_cycles(place, engine, located, 3, print, 1))
    assert not place.root.exists()


@pytest.mark.parametrize(("launch", "taken"), [("cpu", False), ("cpu_2proc", True)])
def test_grpos_groups_are_filled_by_all_processes_of_the_launch(launch, taken):
    """Two rows a device: two processes hold a whole group of four, one does not."""
    recipe = small_recipe(
        accelerate_config=f"recipes/accelerate/{launch}.yaml",
        candidates=[
            {
                "name": "grpo", "method": "grpo",
                "reward": {"length_weight": 0.1, "length_slack": 0.2, "unscorable": -9.0},
                "trainer": {
                    "learning_rate": 1.0e-3, "beta": 0.02, "max_steps": 4, "num_generations": 4,
                    "per_device_train_batch_size": 2,
                },
            }
        ],
    )  # fmt: skip
    if taken:
        check_recipe(LocatedRecipe(recipe, RECIPE), 3)
        return
    with pytest.raises(RecipeError, match="must be divisible by num_generations"):
        check_recipe(LocatedRecipe(recipe, RECIPE), 3)


def test_a_seed_above_the_bound_is_refused():
    located = LocatedRecipe(small_recipe(), RECIPE)
    check_recipe(located, MAX_SEED)
    with pytest.raises(RecipeError, match=rf"seed 20261125 is not in \[0, {MAX_SEED}\]"):
        check_recipe(located, 20261125)
