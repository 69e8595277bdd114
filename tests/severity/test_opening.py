"""A spec becomes a judge in one place; name and version are there before any weight is."""

from __future__ import annotations

import json

import pytest

from negalign_train.severity.judges.base import ReportPair
from negalign_train.severity.judges.opening import GeneratorFolders, JudgeSetup, open_judge
from negalign_train.severity.judges.rules import rules_version
from negalign_train.training.policy import judge_setup as setups
from negalign_train.training.policy.judge_setup import judge_setup
from negalign_train.vocabulary.errors import DataError, RecipeError
from tests.tiny import write_tiny_model
from tests.tiny_judges import write_nli

PAIR = ReportPair("Left pneumothorax.", "Right pneumothorax.")


@pytest.fixture(scope="module")
def generator(tmp_path_factory):
    folder = tmp_path_factory.mktemp("generator")
    write_tiny_model(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 1024}))
    return folder


def test_self_is_the_recipes_own_generator_and_nothing_outside_a_recipe(generator):
    own = open_judge("self", judge_setup(GeneratorFolders(generator)))
    named = open_judge(f"self:{generator}", judge_setup())
    assert (own.name, own.version) == ("self", named.version)
    assert own.judge([PAIR])[0].score == named.judge([PAIR])[0].score is not None
    with pytest.raises(RecipeError, match="give self:DIR"):
        open_judge("self", judge_setup())


def test_weights_are_loaded_by_the_first_pair_and_not_before(generator, tmp_path, monkeypatch):
    loads = []

    def load(*arguments):
        loads.append(arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(setups, "load_for_inference", load)
    judge = open_judge(f"self:{generator}", judge_setup(dtype="bfloat16", device="cpu"))
    assert judge.version
    assert loads == []
    with pytest.raises(KeyboardInterrupt):
        judge.judge([PAIR])
    assert loads == [(generator, None, "bfloat16", "cpu")]


def test_an_ensemble_without_a_file_is_the_mean_of_rules_and_self(generator):
    setup = judge_setup(GeneratorFolders(generator))
    scores = [open_judge(spec, setup).judge([PAIR])[0].score for spec in ("rules", "self")]
    joined = open_judge("ensemble", setup).judge([PAIR])[0].score
    assert joined is not None
    rules, own = (score.severities["wrong_location"] for score in scores if score is not None)
    assert joined.severities["wrong_location"] == pytest.approx((rules + own) / 2)
    assert rules != own


def test_other_weights_are_another_version(tmp_path):
    first = open_judge(f"nli:{write_nli(tmp_path / 'a')}", judge_setup())
    other = write_nli(tmp_path / "b", {0: "ENTAILMENT", 1: "NEUTRAL", 2: "CONTRADICTION"})
    assert open_judge(f"nli:{other}", judge_setup()).version != first.version
    assert open_judge("rules", JudgeSetup()).version == rules_version()


def test_a_judge_without_its_files_is_refused(tmp_path):
    with pytest.raises(DataError, match="download the model first"):
        open_judge(f"nli:{tmp_path / 'none'}", judge_setup())
    (tmp_path / "both.json").write_text(
        json.dumps(
            {"schema": "negalign.ensemble/1", "how": "mean", "judges": ["rules", "ensemble"]}
        )
    )
    with pytest.raises(RecipeError, match="ensemble of ensembles"):
        open_judge(f"ensemble:{tmp_path / 'both.json'}", judge_setup())
