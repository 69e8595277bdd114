"""Real reports end to end: OpenI cases, a small generator from scratch, two feedback cycles.

Prints the champion's scores after each cycle beside the constant-template baseline and SFT on the
same readers' edits. Readers know the MeSH codes; the gate scores against the reports. The
data stays where it is: nothing of it is written outside --workspace.

    python scripts/run_openi.py --csv indiana_reports.csv --workspace workspace-openi --seed 1
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import yaml
from benchmarks.openi_rows import cycle_rows, generator_row, print_rows, template_row
from generators.openi import composed_cases

from negalign_train.cases.source import generator_cases
from negalign_train.offline import go_offline
from negalign_train.recipe.cycle import CycleRecipe
from negalign_train.storage.database import open_database
from negalign_train.storage.workspace import Workspace, publishing
from negalign_train.vocabulary.records import Case

ROOT = Path(__file__).resolve().parent.parent
RECIPE = ROOT / "recipes" / "openi" / "cycle.yaml"
ARMS = ROOT / "recipes" / "embedded" / "arms.yaml"


def train_generator(
    cases: list[Case], folder: Path, seed: int, epochs: int, num_composed: int
) -> float:
    """Trains the generator into ``folder`` if it is not there; returns the seconds it took.

    It sees every report ``epochs`` times, and each composed one once.
    """
    if folder.exists():
        return 0.0
    import torch
    from generators.small import Schedule, build_model, build_tokenizer, encode, train_model

    started = time.monotonic()
    torch.manual_seed(seed)
    composed = composed_cases(cases, num_composed, seed)
    shown = [*cases * epochs, *composed]
    prompts, reports = [str(case.prompt) for case in shown], [case.reference for case in shown]
    tokenizer = build_tokenizer([*prompts, *reports], vocab_size=2048)
    model = build_model(2048, hidden=192, layers=4)
    schedule = Schedule(1, 64, 3e-3, 0.05, seed, bf16=True)
    train_model(model, encode(tokenizer, prompts, reports), schedule)
    with publishing(folder) as staging:
        model.save_pretrained(staging)
        tokenizer.save_pretrained(staging)
    return time.monotonic() - started


def recipe_for(csv: Path, model_dir: Path, candidates: list[dict[str, Any]] | None) -> CycleRecipe:
    """The OpenI recipe with this machine's paths, and with ``candidates``, if any."""
    recipe = yaml.safe_load(RECIPE.read_text(encoding="utf-8"))
    recipe["cases"]["path"] = str(csv.resolve())
    recipe["model"]["model_name_or_path"] = str(model_dir.resolve())
    if candidates is not None:
        recipe["candidates"] = candidates
    return CycleRecipe.model_validate(recipe)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], allow_abbrev=False)
    parser.add_argument("--csv", type=Path, required=True, help="indiana_reports.csv")
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cycles", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=8, help="passes over the real reports")
    parser.add_argument("--composed", type=int, default=45_000, help="composed reports")
    args = parser.parse_args()
    go_offline()
    from negalign_train.cycle.opening.plan import LocatedRecipe
    from negalign_train.cycle.run import run_cycles

    model_dir = args.workspace / f"generator-seed{args.seed}-{args.epochs}-{args.composed}"
    cases = generator_cases(recipe_for(args.csv, model_dir, None).cases, args.seed)
    seconds = train_generator(cases, model_dir, args.seed, args.epochs, args.composed)
    sft = yaml.safe_load(ARMS.read_text(encoding="utf-8"))["sft"]["candidates"]
    arms = {
        "recipe": recipe_for(args.csv, model_dir, None),
        "sft": recipe_for(args.csv, model_dir, sft),
    }
    rows = [template_row(cases, arms["recipe"], args.seed)]
    for name, recipe in arms.items():
        place = Workspace(args.workspace / f"{name}-seed{args.seed}")
        located = LocatedRecipe(recipe, RECIPE)
        engine = open_database(place.database_url)
        results = list(run_cycles(place, engine, located, args.seed, print, args.cycles))
        if name == "recipe":
            rows.append(generator_row(results[0]))
        for result in results:
            rows += cycle_rows(result)
    print_rows(rows)
    figures = {"rows": rows, "generator_seconds": round(seconds), "seed": args.seed}
    (args.workspace / "openi.json").write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
