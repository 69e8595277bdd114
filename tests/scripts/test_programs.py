"""The scripts and what they shipped: recipes of every arm, the sample log, the embedded model."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from ablation import ARMS, arm_recipe, merged, row
from build_embedded import DIGESTED, digest_of, training_texts
from build_sample_log import sample_events
from generators.small import Schedule, build_model, build_tokenizer, encode, train_model

from negalign_train.cases.synthetic import synthetic_cases
from negalign_train.feedback.schema import event_to_dict
from negalign_train.recipe.cycle import CycleRecipe
from negalign_train.report.result import Check
from negalign_train.storage.fingerprint import base_digest
from negalign_train.vocabulary.resources import data_path
from tests.results import CANDIDATE, make_result

ROOT = Path(__file__).resolve().parents[2]
ARM_NAMES = sorted(yaml.safe_load(ARMS.read_text(encoding="utf-8")))


PROGRAMS = sorted(
    path for path in (ROOT / "scripts").rglob("*.py") if "__main__" in path.read_text("utf-8")
)
_NO_TORCH = """
import runpy, sys
sys.path.insert(0, sys.argv[1])
sys.argv = sys.argv[2:]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit as stopped:
    assert stopped.code == 0
heavy = {"torch", "transformers", "trl", "peft", "datasets"} & set(sys.modules)
sys.exit(f"imported {heavy} for --help" if heavy else 0)
"""


def test_there_are_programs_and_the_others_are_helpers():
    assert len(PROGRAMS) >= 7
    helpers = set((ROOT / "scripts").rglob("*.py")) - set(PROGRAMS)
    assert [path for path in helpers if "ArgumentParser(" in path.read_text("utf-8")] == []


@pytest.mark.parametrize("script", PROGRAMS, ids=lambda path: path.stem)
def test_every_script_answers_help_without_torch(script):
    done = subprocess.run(
        [sys.executable, "-c", _NO_TORCH, str(script.parent), str(script), "--help"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "usage:" in done.stdout
    assert len(done.stdout.split("options:")[0].split()) > 8  # a sentence, beside the usage


@pytest.mark.parametrize("name", ARM_NAMES)
def test_every_arm_is_a_recipe_and_differs_from_the_default(name):
    arms = yaml.safe_load(ARMS.read_text(encoding="utf-8"))
    recipe = CycleRecipe.model_validate(arm_recipe(arms, name))
    default = CycleRecipe.model_validate(arm_recipe(arms, "default"))
    if name != "default":
        assert recipe != default
    # What is compared with must be the same in all arms.
    assert (recipe.model, recipe.cases, recipe.feedback, recipe.gate, recipe.evaluation) == (
        default.model, default.cases, default.feedback, default.gate, default.evaluation,
    )  # fmt: skip


def test_merging_replaces_leaves_and_keeps_the_rest():
    base = {"a": {"b": 1, "c": [1, 2]}, "d": 4}
    assert merged(base, {"a": {"c": [3]}}) == {"a": {"b": 1, "c": [3]}, "d": 4}


def test_a_row_is_the_mean_over_seeds_of_the_last_cycle():
    def result(start, end):
        return make_result(
            mean_S_before=start,
            mean_S_after=end,
            candidates=(replace(CANDIDATE, mean_S=end, severe_rate=0.1),),
            readers_check=Check(400, start, end + 0.1, -0.6, -0.4),
        )

    found = row("x", [[result(1.0, 0.5)], [result(0.8, 0.3)]])
    assert found["S_start"]["mean"] == pytest.approx(0.9)
    assert found["S_end"] == {"mean": pytest.approx(0.4), "sd": pytest.approx(0.1414, abs=1e-4)}
    assert (found["promoted"], found["cycles"]) == (2, 2)


def test_the_sample_log_is_what_its_script_writes():
    lines = (data_path("sample_feedback.jsonl")).read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == [
        event_to_dict(event) for event in sample_events(200, 0)
    ]


def test_the_embedded_generator_is_the_one_its_provenance_describes():
    folder = data_path("embedded")
    provenance = json.loads((folder / "PROVENANCE.json").read_text())
    assert provenance["base_digest"] == base_digest(folder)
    made_with = provenance["command"]
    texts = training_texts(DIGESTED, int(made_with["seed"]), float(made_with["habit_scale"]))
    assert provenance["texts_sha256"] == digest_of(texts)
    assert sum(path.stat().st_size for path in folder.iterdir()) < 12_000_000


def test_the_small_generator_learns_what_it_is_shown():
    cases = synthetic_cases(0, 16, seed=1)
    prompts, reports = [str(case.prompt) for case in cases], [case.reference for case in cases]
    tokenizer = build_tokenizer([*prompts, *reports], 400)
    model = build_model(400, hidden=64, layers=2)
    rows = encode(tokenizer, prompts, reports)
    assert tokenizer.decode(rows[0][0][rows[0][1] :]) == reports[0] + "<|end|>"
    losses = train_model(model, rows, Schedule(20, 8, 3e-3, 0.0, seed=0, bf16=False))
    assert len(losses) == 40
    assert losses[-1] < 0.7 * losses[0]
