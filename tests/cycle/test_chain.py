"""A candidate that continues another one of the same cycle."""

import copy

import pytest
import yaml
from safetensors.torch import load_file

from negalign_train.recipe.candidate import CandidateRun
from negalign_train.recipe.cycle import CycleRecipe, load_yaml
from negalign_train.registry.manifest import read_manifest
from negalign_train.storage.workspace import read_json
from negalign_train.training.policy.loading import load_policy
from negalign_train.training.running.outputs import run_identity
from negalign_train.vocabulary.errors import RecipeError
from tests.cycles import RECIPE, run, small_recipe
from tests.tiny import write_parent, write_run
from tests.training.test_grpo import (
    adapter_state,
    assert_equal,
    make_run,
    make_trainer,
    saved_state,
)


def chained(**changes):
    """The shipped recipe's first candidate, shortened, and a second that continues it."""
    first = yaml.safe_load(RECIPE.read_text(encoding="utf-8"))["candidates"][0]
    keys = {k: v for k, v in first["trainer"].items() if k != "num_train_epochs"}
    first["trainer"] = keys | {"max_steps": 4}
    second = copy.deepcopy(first) | {"name": "dpo+dpo", "start": "dpo"} | changes
    return [first, second]


def test_the_second_candidate_trains_on_from_the_first_and_both_descend_from_the_parent(tmp_path):
    recipe = small_recipe(
        candidates=chained(),
        cases={"num_feedback_cases": 50, "num_evaluation_cases": 24},
        evaluation={"num_kl_cases": 8},
        gate={"min_cases": 20},
    )
    first = run(tmp_path, recipe, cycles=1)[0]
    folder = tmp_path / "cycles" / "c0001" / "candidates"
    told = yaml.safe_load((folder / "dpo+dpo" / "candidate.yaml").read_text())
    assert told["earlier_adapter_dir"] == str(folder / "dpo" / "adapter")
    assert told["parent_adapter_dir"] is None
    # Held to the base, it starts with a margin that the first one had won.
    metrics = {name: read_json(folder / name / "metrics.json") for name in ("dpo", "dpo+dpo")}
    assert metrics["dpo+dpo"]["loss_start"] < metrics["dpo"]["loss_start"] - 1e-3
    weights = [
        load_file(folder / name / "adapter" / "adapter_model.safetensors") for name in metrics
    ]
    assert all(not weights[0][key].equal(weights[1][key]) for key in weights[0])
    second = run(tmp_path, recipe, cycles=2)[1]
    for summary, parent in ((first, None), (second, first.champion)):
        ids = {each.name: each.adapter for each in summary.candidates}
        records = {k: read_manifest(tmp_path / "adapters" / v).record for k, v in ids.items()}
        assert {record.parent_id for record in records.values()} == {parent}
        assert records["dpo"].details == {}
        assert records["dpo+dpo"].details == {"Continues within the cycle": "candidate dpo"}


@pytest.mark.parametrize(("root", "expected"), [("parent", True), ("fresh", False)])
def test_a_chain_descends_from_the_parent_if_its_first_link_does(root, expected):
    first, second = chained()
    third = copy.deepcopy(second) | {"name": "third", "start": "dpo+dpo"}
    recipe = small_recipe(candidates=[first | {"start": root}, second, third])
    assert [recipe.continues_parent(each) for each in recipe.candidates] == [expected] * 3


def test_policy_and_reference_of_a_chained_run_are_two_adapters(base, parent, tmp_path):
    earlier = write_parent(tmp_path / "earlier", base, seed=9)
    run_file = make_run(
        tmp_path, base, parent_adapter_dir=parent, earlier_adapter_dir=earlier,
        candidate={"start": "dpo"},
    )  # fmt: skip
    model = make_trainer(run_file).model
    assert_equal(adapter_state(model, "default"), saved_state(earlier))
    assert_equal(adapter_state(model, "ref"), saved_state(parent))


def test_a_run_is_another_one_when_the_adapter_it_continues_is(base, parent, tmp_path):
    found = set()
    for seed in (8, 9):
        earlier = write_parent(tmp_path / f"earlier{seed}", base, seed=seed)
        run_file = write_run(
            tmp_path, base, parent_adapter_dir=parent, earlier_adapter_dir=earlier,
            candidate={"start": "dpo"},
        )  # fmt: skip
        assert isinstance(run_file, CandidateRun)
        load_policy(run_file)
        found.add(run_identity(run_file))
    assert len(found) == 2


def test_a_start_without_its_adapter_is_refused(base, parent, tmp_path):
    for keys in (
        {"candidate": {"start": "dpo"}},
        {"candidate": {"start": "parent"}, "earlier_adapter_dir": parent},
    ):
        with pytest.raises(ValueError, match="earlier_adapter_dir goes with a start that names"):
            write_run(tmp_path, base, **keys)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"start": "kto"}, "start 'kto' is neither parent, fresh nor a candidate listed before it"),
        ({"start": "dpo+dpo"}, "is neither parent, fresh nor a candidate listed before it"),
        ({"lora": {"r": 8, "lora_alpha": 16}}, "its lora section is not that of candidate dpo"),
        ({"name": "fresh"}, "'fresh' is reserved and cannot name a candidate"),
    ],
)
def test_a_chain_that_cannot_be_is_refused_with_the_recipe(tmp_path, changes, message):
    recipe = yaml.safe_load(RECIPE.read_text(encoding="utf-8"))
    path = tmp_path / "cycle.yaml"
    path.write_text(yaml.safe_dump(recipe | {"candidates": chained(**changes)}))
    with pytest.raises(RecipeError, match=message):
        load_yaml(path, CycleRecipe)
