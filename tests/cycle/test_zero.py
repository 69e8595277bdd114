"""Cycle zero: supervised training on a case file's own reports, merged into a base model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from negalign_train.cases.source import generator_cases
from negalign_train.cycle.opening.plan import LocatedRecipe
from negalign_train.cycle.steps import train as train_step
from negalign_train.cycle.zero import WarmUp, warm_up
from negalign_train.evaluation.divergence import reference_logps, tokenise_completions
from negalign_train.progress import silent
from negalign_train.recipe.candidate import CandidateSettings
from negalign_train.storage.fingerprint import base_digest
from negalign_train.training.policy.loading import load_for_inference, load_tokenizer
from negalign_train.training.run import main
from negalign_train.vocabulary.errors import DataError, RecipeError
from negalign_train.vocabulary.resources import data_path
from tests.cycles import RECIPE, small_recipe

CANDIDATE = CandidateSettings.model_validate(
    {
        "name": "sft",
        "method": "sft",
        "start": "fresh",
        "lora": {"r": 4, "lora_alpha": 8},
        "trainer": {
            "learning_rate": 1e-3,
            "max_steps": 4,
            "per_device_train_batch_size": 8,
            "logging_steps": 2,
        },
    }
)


def job_of(out: Path, **recipe: Any) -> WarmUp:
    located = LocatedRecipe(small_recipe(**recipe), RECIPE)
    return WarmUp(located, "embedded", out, CANDIDATE, seed=1, max_examples=24)


@pytest.fixture
def launches(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Launches run in this process; their candidate files."""
    configs: list[Path] = []

    def launch(_accelerate: Path, config: Path, log: Path, _progress: object) -> int:
        configs.append(config)
        log.write_text("")
        return main(["--config", str(config)])

    monkeypatch.setattr(train_step, "_launch", launch)
    return configs


def test_it_writes_a_base_model_that_finds_its_reports_likelier(
    tmp_path: Path, launches: list[Path]
) -> None:
    job = job_of(tmp_path / "warm")
    before = base_digest(data_path("embedded"))
    done = warm_up(job, silent)
    assert (done.num_examples, len(launches)) == (24, 1)
    assert base_digest(data_path("embedded")) == before != done.base_digest
    assert base_digest(done.folder) == done.base_digest
    provenance = json.loads((done.folder / "PROVENANCE.json").read_text())
    assert provenance["trained_from"]["base_digest"] == before
    cases = generator_cases(job.located.recipe.cases, 1, 24)
    tokenizer = load_tokenizer(done.folder)
    reports = tokenise_completions(
        tokenizer, [case.prompt for case in cases], [case.reference for case in cases]
    )
    start, end = (
        reference_logps(load_for_inference(folder, None), reports, 8)
        for folder in (data_path("embedded"), done.folder)
    )
    assert end > start + 0.002  # nats a token; the embedded generator knows such reports already
    # What the run measured with the adapter is what the merged weights give.
    assert done.logps_after > done.logps_before
    mean = reports.num_tokens / len(cases)
    assert done.logps_after == pytest.approx(end * mean, rel=1e-3)
    assert [path.name for path in tmp_path.iterdir()] == ["warm"]


def test_stopped_it_goes_on_with_the_finished_training(
    tmp_path: Path, launches: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = job_of(tmp_path / "warm")
    with monkeypatch.context() as patched:
        patched.setattr("negalign_train.cycle.zero._merge", interrupted)
        with pytest.raises(KeyboardInterrupt):
            warm_up(job, silent)
    assert (job.work_dir.is_dir(), job.out.exists()) == (True, False)
    warm_up(job, silent)
    assert len(launches) == 1
    assert (job.work_dir.exists(), job.out.is_dir()) == (False, True)


def interrupted(*_: Any) -> str:
    raise KeyboardInterrupt


def test_a_folder_that_is_there_and_a_4_bit_base_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="choose another --out"):
        warm_up(job_of(tmp_path), silent)
    job = job_of(tmp_path / "warm", model={"quantisation": "nf4"})
    with pytest.raises(RecipeError, match="set it to none"):
        warm_up(job, silent)


def test_the_command_says_what_it_wrote(
    negalign: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, launches: list[Path]
) -> None:
    path = tmp_path / "cycle.yaml"
    path.write_text(RECIPE.read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.chdir(Path(__file__).resolve().parents[2])
    code, out, _ = negalign(
        "sft", "--config", path, "--model", "embedded", "--out", tmp_path / "warm",
        "--max-examples", 8, "--batch-size", 8, "--json",
    )  # fmt: skip
    written = json.loads(out[out.index("{") :])
    assert (code, written["examples"]) == (0, 8)
    assert written["base_digest"] == base_digest(tmp_path / "warm")
    code, _, err = negalign(
        "sft", "--config", path, "--model", "no/such-model", "--out", tmp_path / "other"
    )
    assert code == 1
    assert "'no/such-model' is no folder" in err


def test_a_log_alone_has_no_reports_for_a_generator(tmp_path: Path) -> None:
    job = job_of(
        tmp_path / "warm",
        cases={"source": "log", "num_evaluation_cases": 0},
        feedback={"source": "log"},
    )
    with pytest.raises(DataError, match="method: sft trains on what readers approved of"):
        warm_up(job, silent)
