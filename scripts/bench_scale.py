"""What a cycle costs as feedback grows, and over many cycles with capped replay.

The first table times each stage on N pairs of the sample log's kind: building the preferences,
tokenising, scoring the reference, and a training step of the embedded recipe's `dpo` candidate
through the launched entry point. Steps are timed on a sample. Above --max-trained pairs the last
two are not run but taken from the largest size that was, and marked so. The second table runs
`negalign cycle` again and again in one workspace and prints the seconds of each step of a cycle.

    python scripts/bench_scale.py --preset cpu --json out.json

It leaves out the time of readers, and of drafting on a real model.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from build_sample_log import sample_events

from negalign_train.preferences.build import build_preferences
from negalign_train.preferences.files import write_pairs, write_prompts, write_unpaired
from negalign_train.recipe.candidate import CandidateRun
from negalign_train.recipe.cycle import CycleRecipe, load_yaml
from negalign_train.report.result import CycleResult
from negalign_train.storage.fingerprint import base_digest
from negalign_train.storage.workspace import Workspace, read_json
from negalign_train.vocabulary.records import Event, PreferencePair
from negalign_train.vocabulary.resources import data_path

ROOT = Path(__file__).resolve().parent.parent
RECIPE = ROOT / "recipes" / "embedded" / "cycle.yaml"
SEED = 1
HELD_OUT = 0.4
"""Of the drafted cases. About half of these have an approved text; retention needs 20 groups."""
GROWTH_HEAD = (
    "| pairs | preferences s | tokenise s | reference s | step ms | steps | train s | peak MB |\n"
    "|---|---|---|---|---|---|---|---|   (* extrapolated)"
)
CYCLES_HEAD = (
    "\n| cycle | pairs (replayed) | retention cases | retention | seconds | by step |\n"
    "|---|---|---|---|---|---|"
)


@dataclass(frozen=True)
class Preset:
    """``sizes`` in pairs; ``steps`` timed of each training; ``cases`` drafted in each cycle."""

    sizes: tuple[int, ...]
    max_trained: int
    steps: int
    cycles: int
    cases: int


PRESETS = {
    "smoke": Preset((50, 100, 200), max_trained=100, steps=4, cycles=2, cases=120),
    "cpu": Preset((1000, 4000, 16000, 64000), max_trained=4000, steps=40, cycles=20, cases=120),
}


def grown(events: Sequence[Event], count: int) -> list[Event]:
    """``count`` events: ``events`` again and again, each time as cases of their own."""
    made: list[Event] = []
    for copy in range(math.ceil(count / len(events))):
        made += [
            replace(
                event,
                event_id=f"{event.event_id}-{copy}",
                case_id=f"{event.case_id}-{copy}",
                thread_id=event.thread_id and f"{event.thread_id}-{copy}",
                prompt=f"{event.prompt} Accession {copy}.",
            )
            for event in events
        ]
    return made[:count]


def run_of(recipe: CycleRecipe, folder: Path, steps: int) -> CandidateRun:
    """The recipe's first candidate on ``folder``'s pairs, stopped after ``steps``."""
    candidate = recipe.candidates[0]
    keys = {k: v for k, v in candidate.trainer.items() if k != "num_train_epochs"}
    candidate = candidate.model_copy(update={"trainer": keys | {"max_steps": steps}})
    model_dir = data_path("embedded")
    return CandidateRun(
        candidate=candidate, model_dir=model_dir, base_digest=base_digest(model_dir),
        base_name="negalign-embedded", dtype=recipe.model.dtype,
        max_new_tokens=recipe.model.max_new_tokens, parent_adapter_dir=None,
        pairs_path=folder / "pairs.parquet", unpaired_path=folder / "unpaired.parquet",
        prompts_path=folder / "prompts.parquet", output_dir=folder / "out", seed=SEED,
    )  # fmt: skip


def train(run: CandidateRun, folder: Path) -> dict[str, Any]:
    """Seconds of the reference and of one step, and the process's peak memory."""
    config = folder / "candidate.yaml"
    config.write_text(yaml.safe_dump(run.model_dump(mode="json", by_alias=True)))
    command = [sys.executable, "-m", "negalign_train.training.run", "--config", str(config)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    if done.returncode != 0:
        raise SystemExit(f"training failed:\n{done.stderr[-3000:]}")
    metrics = json.loads((run.output_dir / "metrics.json").read_text())
    log = [json.loads(line) for line in (run.output_dir / "log.jsonl").read_text().splitlines()]
    runtime = next(entry["train_runtime"] for entry in log if "train_runtime" in entry)
    return {
        "reference": metrics["seconds"]["reference"],
        "step": runtime / metrics["num_steps"],
        "peak_rss_mb": metrics["peak_rss_mb"],
    }


def build(recipe: CycleRecipe, events: Sequence[Event], size: int, folder: Path) -> dict[str, Any]:
    """Builds preferences until there are ``size`` pairs, writes and tokenises them, timed."""
    from negalign_train.training.policy.loading import load_tokenizer
    from negalign_train.training.rows.tokenise import tokenise_pairs

    groups = {event.case_id: event.case_id for event in events}
    start = time.perf_counter()
    made = build_preferences(events, recipe.preferences, 1, groups)
    write_pairs(folder / "pairs.parquet", made.pairs[:size])
    write_unpaired(folder / "unpaired.parquet", made.unpaired)
    write_prompts(folder / "prompts.parquet", made.prompts)
    built = time.perf_counter()
    if len(made.pairs) < size:
        raise SystemExit(f"{len(events)} events gave {len(made.pairs)} pairs, wanted {size}")
    pairs: Sequence[PreferencePair] = made.pairs[:size]
    rows = tokenise_pairs(load_tokenizer(data_path("embedded")), pairs)
    assert len(rows) == size
    return {"preferences": built - start, "tokenise": time.perf_counter() - built}


def grow(recipe: CycleRecipe, preset: Preset, folder: Path) -> list[dict[str, Any]]:
    """One row per size: seconds by stage, and the whole training."""
    trainer = recipe.candidates[0].trainer
    # Copies of one text count against max_pairs_per_chosen: too few cases would give too few pairs.
    cases = min(max(preset.sizes) * 2, 8000)
    events = sample_events(cases, SEED)
    pairs = len(
        build_preferences(
            events, recipe.preferences, 1, {event.case_id: event.case_id for event in events}
        ).pairs
    )
    rows: list[dict[str, Any]] = []
    for size in preset.sizes:
        place = folder / str(size)
        place.mkdir()
        # A twentieth more: the last copy may end within a thread.
        some = grown(events, math.ceil(1.05 * size * len(events) / pairs) + 10)
        row: dict[str, Any] = {"pairs": size, "events": len(some), "extrapolated": []}
        row |= build(recipe, some, size, place)
        if size <= preset.max_trained:
            row |= train(run_of(recipe, place, preset.steps), place)
        else:
            row["reference"] = rows[-1]["reference"] * size / rows[-1]["pairs"]
            row |= {"step": rows[-1]["step"], "peak_rss_mb": None}
            row["extrapolated"] = ["reference", "step"]
        per_step = trainer["per_device_train_batch_size"] * trainer["gradient_accumulation_steps"]
        row["steps"] = trainer["num_train_epochs"] * math.ceil(size / per_step)
        row["training_extrapolated"] = row["steps"] * row["step"]
        rows.append(row)
        print(growth_line(row), flush=True)
    return rows


def growth_line(row: dict[str, Any]) -> str:
    def cell(name: str, digits: int = 1) -> str:
        return f"{row[name]:.{digits}f}{'*' if name in row['extrapolated'] else ''}"

    rss = "–" if row["peak_rss_mb"] is None else f"{row['peak_rss_mb']:.0f}"
    return (
        f"| {row['pairs']} | {cell('preferences')} | {cell('tokenise')} | {cell('reference')} "
        f"| {1000 * row['step']:.0f}{'*' if 'step' in row['extrapolated'] else ''} "
        f"| {row['steps']} | {row['training_extrapolated']:.0f}* | {rss} |"
    )


def repeat(preset: Preset, folder: Path) -> list[dict[str, Any]]:
    """Results of cycles in one workspace, each with its seconds by step."""
    recipe = yaml.safe_load(RECIPE.read_text(encoding="utf-8"))
    recipe["cases"] |= {
        "num_feedback_cases": preset.cases,
        "num_evaluation_cases": preset.cases,
    }
    recipe["preferences"]["held_out_fraction"] = HELD_OUT
    recipe["feedback"]["min_events"] = 1
    recipe["candidates"][0]["trainer"]["num_train_epochs"] = 1
    recipe["gate"]["min_cases"] = 2
    recipe["evaluation"]["num_kl_cases"] = min(64, preset.cases)
    path = folder / "cycle.yaml"
    path.write_text(yaml.safe_dump(recipe, sort_keys=False), encoding="utf-8")
    command = [
        sys.executable, "-m", "negalign_train.commands.cli", "cycle", "--config", str(path),
        "--workspace", str(folder / "workspace"), "--seed", str(SEED),
        "--cycles", str(preset.cycles), "--json",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    if done.returncode != 0:
        raise SystemExit(f"cycles failed:\n{done.stderr[-3000:]}")
    rows = []
    for line in done.stdout.splitlines():
        result = CycleResult.from_json(json.loads(line), "standard output")
        rows.append(
            {
                "cycle": result.cycle,
                "pairs": result.data.pairs,
                "pairs_replayed": result.data.pairs_replayed,
                "retention_cases": sum(result.retention.num_cases.values()),
                "retention": retention_state(folder / "workspace", result.cycle),
                "seconds": result.seconds,
                "seconds_by_step": dict(result.seconds_by_step),
                "decision": result.decision,
            }
        )
        print(cycle_line(rows[-1]), flush=True)
    return rows


def retention_state(workspace: Path, cycle: int) -> str:
    """Held, broken, open or not applied: what the first candidate's gate record says."""
    path = Workspace(workspace).cycle_dir(cycle) / "gate_record.json"
    criteria = read_json(path)["records"][0]["criteria"]
    return str(next(each["state"] for each in criteria if each["name"] == "retention"))


def cycle_line(row: dict[str, Any]) -> str:
    steps = " ".join(f"{name} {seconds:.1f}" for name, seconds in row["seconds_by_step"].items())
    return (
        f"| {row['cycle']} | {row['pairs']} ({row['pairs_replayed']}) | {row['retention_cases']} "
        f"| {row['retention']} | {row['seconds']:.1f} | {steps} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], allow_abbrev=False)
    parser.add_argument("--preset", choices=sorted(PRESETS), default="smoke")
    parser.add_argument("--json", type=Path, required=True, help="where the figures go")
    parser.add_argument("--only", choices=("growth", "cycles"), help="one of the two tables")
    args = parser.parse_args()
    preset = PRESETS[args.preset]
    recipe = load_yaml(RECIPE, CycleRecipe)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    figures: dict[str, Any] = {"preset": args.preset}
    with tempfile.TemporaryDirectory() as folder:
        if args.only != "cycles":
            print(GROWTH_HEAD, flush=True)
            figures["growth"] = grow(recipe, preset, Path(folder))
        if args.only != "growth":
            print(CYCLES_HEAD, flush=True)
            figures["cycles"] = repeat(preset, Path(folder))
    args.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
