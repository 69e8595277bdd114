"""A cycle can die anywhere and be run again; a hand on the champion stops it."""

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
import yaml

from negalign_train.cycle.opening.plan import LocatedRecipe, open_cycle
from negalign_train.cycle.run import run_cycles
from negalign_train.registry.adapters import Registry
from negalign_train.report.result import CycleResult
from negalign_train.storage.database import open_database
from negalign_train.storage.workspace import Workspace
from negalign_train.vocabulary.errors import CycleError, RegistryError
from tests.cycles import RECIPE, ROOT, run, small_recipe, without_times

STEPS = ("gathering", "building", "evaluating the parent", "training", "publishing",
         "evaluating candidate", "deciding")  # fmt: skip


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
        sys.executable, "-m", "negalign_train.commands.cli", "cycle", "--config", str(recipe),
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
    result = CycleResult.from_json(json.loads(done.stdout), "standard output")
    expected = without_times(two_cycles[2][0])
    assert result.mean_S_after == expected.mean_S_after
    assert result.champion == expected.champion


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
    with pytest.raises(CycleError, match=r"was started with another seed \(3, not 4\)"):
        list(run_cycles(place, engine, located, 4, lambda _: None, 2))


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


def test_the_next_cycle_starts_from_the_base_once_the_champion_is_withdrawn(two_cycles, tmp_path):
    folder = Path(shutil.copytree(two_cycles[0], tmp_path / "workspace"))
    place = Workspace(folder)
    engine = open_database(place.database_url)
    registry = Registry(place, engine)
    champion = registry.resolve("champion")
    located = LocatedRecipe(small_recipe(), RECIPE)
    before = open_cycle(place, engine, located, 3, "2026-01-01T00:00:00Z").plan
    assert (before.parent, before.approved) == (champion, None)
    registry.approve(champion, by="anna", reason="reader study")
    registry.rollback("base", by="anna", reason="complaints")
    after = open_cycle(place, engine, located, 3, "2026-01-01T00:00:00Z").plan
    assert (after.parent, after.approved) == (None, champion)


def test_a_withdrawn_champion_stops_the_cycle_that_began_from_it_with_the_way_back(
    two_cycles, tmp_path
):
    folder = Path(shutil.copytree(two_cycles[0], tmp_path / "workspace"))
    place = Workspace(folder)
    engine = open_database(place.database_url)
    registry = Registry(place, engine)
    champion = registry.resolve("champion")
    located = LocatedRecipe(small_recipe(), RECIPE)
    context = open_cycle(place, engine, located, 3, "2026-01-01T00:00:00Z")
    (context.folder / "snapshot.parquet").write_bytes(b"")
    registry.rollback("base", by="anna", reason="complaints")
    with pytest.raises(CycleError, match=f"negalign adapters promote {champion} --reason WHY"):
        open_cycle(place, engine, located, 3, "2026-01-01T00:00:00Z")


@pytest.mark.parametrize("begun", [False, True])
def test_a_damaged_champion_starts_no_cycle_and_finishes_none(two_cycles, tmp_path, begun):
    folder = Path(shutil.copytree(two_cycles[0], tmp_path / "workspace"))
    place = Workspace(folder)
    engine = open_database(place.database_url)
    registry = Registry(place, engine)
    located = LocatedRecipe(small_recipe(), RECIPE)
    if begun:
        context = open_cycle(place, engine, located, 3, "2026-01-01T00:00:00Z")
        (context.folder / "snapshot.parquet").write_bytes(b"")
    weights = registry.path("champion") / "adapter_model.safetensors"
    damaged = bytearray(weights.read_bytes())
    damaged[-1] ^= 1
    weights.write_bytes(damaged)
    with pytest.raises(RegistryError, match=r"adapter_model\.safetensors"):
        open_cycle(place, engine, located, 3, "2026-01-01T00:00:00Z")
    # Between two steps of a cycle that was opened before.
    if begun:
        with pytest.raises(RegistryError, match=r"adapter_model\.safetensors"):
            context.adapter_dir(context.plan.parent)
