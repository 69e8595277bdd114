"""Small cycles on the embedded generator, for the tests of the cycle."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from negalign_train.cycle.opening.declared import declared, recipe_keys
from negalign_train.cycle.opening.plan import LocatedRecipe, Plan
from negalign_train.cycle.run import run_cycles
from negalign_train.recipe.cycle import CycleRecipe
from negalign_train.report.result import CycleResult
from negalign_train.storage.database import open_database
from negalign_train.storage.fingerprint import file_sha256
from negalign_train.storage.workspace import Workspace
from negalign_train.vocabulary.resources import data_path

ROOT = Path(__file__).resolve().parent.parent
RECIPE = ROOT / "recipes" / "embedded" / "cycle.yaml"


def small_recipe(**changes) -> CycleRecipe:
    """The shipped recipe at a size that takes seconds."""
    data = yaml.safe_load(RECIPE.read_text(encoding="utf-8"))
    data["cases"] |= {"num_feedback_cases": 160, "num_evaluation_cases": 100}
    data["feedback"]["min_events"] = 20
    data["evaluation"] |= {"num_kl_cases": 16, "max_retention_cases": 20}
    # What 100 cases can show.
    data["gate"] |= {"min_cases": 50, "max_severe_rate_increase": 0.15}
    data["gate"] |= {"max_category_increase": 0.15, "max_category_increase_overall": 0.15}
    data["gate"] |= {"max_retention_increase": 1.0}
    data["candidates"] = data["candidates"][:1]
    for section, values in changes.items():
        data[section] = data[section] | values if isinstance(values, dict) else values
    if data["feedback"]["source"] == "log":
        for unread in ("readers", "draft_temperature"):
            data["feedback"].pop(unread, None)
        data["cases"]["num_feedback_cases"] = 0
    return CycleRecipe.model_validate(data)


def plan_of(recipe: CycleRecipe, **overrides: Any) -> Plan:
    """A plan of cycle 1 from the bare base."""
    fields: dict[str, Any] = {
        "cycle": 1,
        "seed": 1,
        "created_at": "2026-01-01T00:00:00+00:00",
        "recipe": declared(recipe),
        "recipe_keys": recipe_keys(recipe),
        "parent": None,
        "approved": None,
        "after_sequence": 0,
        "base_name": "negalign-embedded",
        "base_source": "embedded",
        "base_revision": None,
        "base_folder": str(data_path("embedded")),
        "base_digest": "a" * 64,
        "cases_sha256": None,
    }
    return Plan(**fields | overrides)


def run(
    folder: Path, recipe: CycleRecipe, cycles: int | None = None, progress=lambda _: None
) -> list[CycleResult]:
    place = Workspace(folder)
    engine = open_database(place.database_url)
    return list(run_cycles(place, engine, LocatedRecipe(recipe, RECIPE), 3, progress, cycles))


def without_times(result: CycleResult) -> CycleResult:
    """What must not depend on when and how often the cycle was started."""
    return replace(result, seconds=0.0, seconds_by_step={}, training={})


def digests(folder: Path) -> dict[str, str]:
    return {p.name: file_sha256(p) for p in sorted(folder.iterdir()) if p.is_file()}


def run_two_cycles(folder: Path) -> tuple[Any, ...]:
    """Two cycles in one workspace, with the base model's bytes before and after."""
    before = digests(data_path("embedded"))
    first = run(folder, small_recipe(), cycles=1)
    frozen = {path.name: digests(path) for path in Workspace(folder).adapters_dir.iterdir()}
    results = run(folder, small_recipe(), cycles=2)
    return folder, before, first, frozen, results
