"""Compare ways to train on equal feedback: every arm through `negalign cycle`, several seeds.

An arm is the embedded recipe with some keys changed (`recipes/embedded/arms.yaml`). In cycle 1 all
arms of a seed see the same drafts and the same readings. It prints one table and writes one JSON;
workspaces stay under --out, so a stopped comparison goes on where it was.

    python scripts/ablation.py --arms uniform,default --seeds 1,2,3 --cycles 1 --out runs/ablation
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import yaml

from negalign_train.evaluation.bootstrap import BootstrapSettings, Comparison, paired_bootstrap
from negalign_train.report.result import Check, CycleResult
from negalign_train.storage.workspace import Workspace
from negalign_train.vocabulary.records import ScoredReport

ROOT = Path(__file__).resolve().parent.parent
RECIPE = ROOT / "recipes" / "embedded" / "cycle.yaml"
ARMS = ROOT / "recipes" / "embedded" / "arms.yaml"


def merged(base: Any, change: Any) -> Any:
    """``base`` with the keys of ``change`` replaced, mappings merged; lists replaced whole."""
    if not isinstance(base, dict) or not isinstance(change, dict):
        return copy.deepcopy(change)
    return {
        key: merged(base.get(key), change[key]) if key in change else copy.deepcopy(base[key])
        for key in [*base, *(key for key in change if key not in base)]
    }


def arm_recipe(arms: dict[str, Any], name: str) -> dict[str, Any]:
    """The recipe of one arm: the embedded one, its candidates replaced or each changed."""
    recipe = yaml.safe_load(RECIPE.read_text(encoding="utf-8"))
    change = copy.deepcopy(arms[name])
    of_each = change.pop("each_candidate", {})
    recipe = merged(recipe, change)
    recipe["candidates"] = [merged(candidate, of_each) for candidate in recipe["candidates"]]
    return dict(recipe)


def run_arm(
    name: str, recipe: dict[str, Any], seed: int, args: argparse.Namespace
) -> list[CycleResult]:
    """The results of the cycles of one arm and seed."""
    folder = args.out / name / f"seed{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    if args.feedback_cases is not None:
        recipe = merged(recipe, {"cases": {"num_feedback_cases": args.feedback_cases}})
    path = folder / "cycle.yaml"
    path.write_text(yaml.safe_dump(recipe, sort_keys=False), encoding="utf-8")
    command = [
        sys.executable, "-m", "negalign_train.commands.cli", "cycle", "--config", str(path),
        "--workspace", str(folder / "workspace"), "--seed", str(seed),
        "--cycles", str(args.cycles), "--json",
    ]  # fmt: skip
    env = os.environ | {"OMP_NUM_THREADS": str(args.threads)}
    done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=ROOT, check=False)
    if done.returncode != 0:
        raise SystemExit(f"arm {name}, seed {seed} failed:\n{done.stderr[-3000:]}")
    results = [CycleResult.from_json(json.loads(line), name) for line in done.stdout.splitlines()]
    print(
        f"{name:24} seed {seed}: S {known(results[0].mean_S_before):.3f} -> "
        f"{known(results[-1].mean_S_after):.3f}  {[result.decision for result in results]}",
        flush=True,
    )
    return results


def known(value: float | None) -> float:
    """A mean that needs one scored case.

    Raises:
        SystemExit: no case was scored.
    """
    if value is None:
        raise SystemExit("no held-out case was scored for parent and candidate")
    return value


def total_change(workspace: Path, results: list[CycleResult]) -> Comparison | None:
    """The last champion against the model before the first cycle, on the same held-out cases."""
    from negalign_train.cycle.steps.evaluate import evaluation_path, read_evaluation

    promoted = [result for result in results if result.decision == "promoted"]
    if not promoted:
        return None
    last = promoted[-1]
    cycles = Workspace(workspace)
    before = read_evaluation(evaluation_path(cycles, 1, results[0].parent))
    after = read_evaluation(evaluation_path(cycles, last.cycle, last.chosen_candidate.adapter))
    settings = BootstrapSettings(
        level=0.025, num_bootstrap=4000, severe_threshold=0.8, seed=last.seed
    )
    return paired_bootstrap(before.reports, after.reports, settings)


def change_line(name: str, seed: int, results: list[CycleResult], out: Path) -> str:
    """One seed of one arm as a table row: S before and after, its interval, severe errors."""
    comparison = total_change(out / name / f"seed{seed}" / "workspace", results)
    first, last = results[0], results[-1]
    start = known(first.mean_S_before)
    if comparison is None:
        return f"| {name} | {seed} | {start:.3f} | nothing promoted | | | |"
    change = comparison.total
    worse = [category for category, rise in comparison.per_category.items() if rise.low > 0]
    return (
        f"| {name} | {seed} | {start:.3f} → {known(last.mean_S_after):.3f} "
        f"| {100 * change.estimate / start:+.0f} % "
        f"| [{change.low:+.3f}, {change.high:+.3f}] "
        f"| {known(first.severe_rate_before):.3f} → {known(last.severe_rate_after):.3f} "
        f"| {', '.join(worse) or 'none'} |"
    )


def pooled_reports(out: Path, name: str, runs: dict[int, list[CycleResult]]) -> list[ScoredReport]:
    """The last candidate's held-out reports of all seeds; a seed's cases are its own."""
    from negalign_train.cycle.steps.evaluate import evaluation_path, read_evaluation

    reports = []
    for seed, results in runs.items():
        last = results[-1]
        place = Workspace(out / name / f"seed{seed}" / "workspace")
        path = evaluation_path(place, last.cycle, last.chosen_candidate.adapter)
        reports += [
            replace(r, case_id=f"{seed} {r.case_id}", group=f"{seed} {r.group}")
            for r in read_evaluation(path).reports
        ]
    return reports


def against_first(out: Path, runs: dict[str, dict[int, list[CycleResult]]]) -> str:
    """Each arm's last candidate against the first arm's, cases of all seeds pooled."""
    first, *others = runs
    lines = [f"| against {first} | difference of S | 95 % interval |", "|---|---|---|"]
    reference = pooled_reports(out, first, runs[first])
    settings = BootstrapSettings(level=0.025, num_bootstrap=4000, severe_threshold=0.8, seed=0)
    for name in others:
        found = paired_bootstrap(reference, pooled_reports(out, name, runs[name]), settings)
        assert found is not None  # the gate would have been inconclusive
        change = found.total
        line = f"| {name} | {change.estimate:+.3f} | [{change.low:+.3f}, {change.high:+.3f}] |"
        lines.append(line)
    return "\n".join(lines)


def row(name: str, runs: list[list[CycleResult]]) -> dict[str, Any]:
    """One arm over its seeds. S is that of the last cycle's candidate, promoted or not."""

    def over_seeds(values: list[float | None]) -> dict[str, float]:
        scored = [known(value) for value in values]
        return {"mean": mean(scored), "sd": stdev(scored) if len(scored) > 1 else 0.0}

    firsts, lasts = [results[0] for results in runs], [results[-1] for results in runs]
    finals = [last.chosen_candidate for last in lasts]
    return {
        "arm": name,
        "seeds": len(runs),
        "S_start": over_seeds([first.mean_S_before for first in firsts]),
        "S_end": over_seeds([final.mean_S for final in finals]),
        "S_champion": over_seeds([last.mean_S_after for last in lasts]),
        "readers_S_start": over_seeds([_by_readers(first).mean_S_before for first in firsts]),
        "readers_S_end": over_seeds([_by_readers(last).mean_S_after for last in lasts]),
        "severe_end": over_seeds([final.severe_rate for final in finals]),
        "promoted": sum(result.decision == "promoted" for results in runs for result in results),
        "cycles": sum(len(results) for results in runs),
        "seconds_per_cycle": mean([result.seconds for results in runs for result in results]),
    }


def _by_readers(result: CycleResult) -> Check:
    assert result.readers_check is not None  # every arm is a simulation
    return result.readers_check


def table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| arm | S start | S end | readers' S end | severe errors | promoted |",
        "|---|---|---|---|---|---|",
    ]
    for r in sorted(rows, key=lambda r: r["readers_S_end"]["mean"]):
        end, readers, severe = r["S_end"], r["readers_S_end"], r["severe_end"]
        lines.append(
            f"| {r['arm']} | {r['S_start']['mean']:.3f} | {end['mean']:.3f} ± {end['sd']:.3f} "
            f"| {readers['mean']:.3f} ± {readers['sd']:.3f} "
            f"| {severe['mean']:.3f} | {r['promoted']}/{r['cycles']} |"
        )
    return "\n".join(lines)


def main() -> None:
    arms = yaml.safe_load(ARMS.read_text(encoding="utf-8"))
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], allow_abbrev=False)
    parser.add_argument("--arms", required=True, help=f"comma-separated, of: {', '.join(arms)}")
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--cycles", type=int, default=1)
    parser.add_argument("--feedback-cases", type=int, help="cases a cycle; default: the recipe's")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--workers", type=int, default=2, help="runs at a time")
    parser.add_argument("--threads", type=int, default=1, help="threads of each run")
    args = parser.parse_args()
    names = args.arms.split(",")
    unknown = set(names) - set(arms)
    if unknown:
        parser.error(f"unknown arms {sorted(unknown)}; {ARMS} has {sorted(arms)}")
    seeds = [int(seed) for seed in args.seeds.split(",")]
    with ThreadPoolExecutor(args.workers) as pool:
        jobs = {
            name: [pool.submit(run_arm, name, arm_recipe(arms, name), s, args) for s in seeds]
            for name in names
        }
        runs = {
            name: {seed: job.result() for seed, job in zip(seeds, jobs[name], strict=True)}
            for name in names
        }
    print("| arm | seed | S | change | 95 % interval | severe errors | categories shown higher |")
    print("|---|---|---|---|---|---|---|")
    for name, by_seed in runs.items():
        for seed, results in by_seed.items():
            print(change_line(name, seed, results, args.out))
    print()
    rows = [row(name, list(by_seed.values())) for name, by_seed in runs.items()]
    (args.out / "ablation.json").write_text(json.dumps({"rows": rows}, indent=2) + "\n")
    print(table(rows))
    if len(names) > 1:
        print("\n" + against_first(args.out, runs))


if __name__ == "__main__":
    main()
