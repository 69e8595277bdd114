"""Which judge could be trusted when: one log, each judge labels it, trains on its labels and gates.

The embedded generator drafts, simulated readers grade and edit, and their severities are hidden:
each judge gives its own, pairs are weighed by them, and the same judge decides in the gate. The
simulation's ground truth, which no judge sees, then says whether the labels followed it, whether
the candidate was truly better, and whether the judge knew. In later cycles `self` is the candidate
that it promoted itself.

Judges: rules, self, ensemble, any spec of `negalign judge compare`; `finetuned` is trained here on
readers' severities of other cases and on injected errors; `readers` keeps the readers' own
severities (the rules decide in its gate): what hiding them costs. It prints Markdown and writes
judge_ablation.json; everything stays under --out, so a stopped run goes on where it was.

    python scripts/judge_ablation.py --judges readers,rules,self,finetuned --seeds 1,2,3 \
        --cycles 2 --out runs/judges
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.judge_arms import CycleOutcome, Size


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def prepare(out: Path, seed: int, size: Size, args: argparse.Namespace) -> dict[str, str]:
    """The logs of a seed, and what each judge's recipe says. The fine-tuned judge learns from the
    first seed that is prepared.
    """
    from benchmarks.judge_arms import read_log, simulation_recipe
    from benchmarks.judge_log import train_finetuned, write_logs

    folder = out / f"seed{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    write_logs(folder, simulation_recipe(size), size.cycles, seed, say)
    specs = {judge: judge for judge in args.judges.split(",")}
    if "finetuned" in specs:
        events = read_log(folder / f"graded-{size.cycles + 1}.jsonl")
        trained = train_finetuned(args.out, events, args.injected, args.encoder, say)
        specs["finetuned"] = f"finetuned:{trained.resolve()}"
    return specs


def check_settings(out: Path, settings: dict[str, object]) -> None:
    """Refuses to go on in a folder that another size was begun in."""
    path = out / "settings.json"
    if path.is_file() and json.loads(path.read_text()) != settings:
        raise SystemExit(f"{out} was begun with {path.read_text().strip()}; give another --out")
    out.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(settings) + "\n")


class Progress:
    """Says what is done and how long the rest will take."""

    def __init__(self, total: int) -> None:
        self.total, self.done, self.start = total, 0, time.monotonic()

    def step(self, what: str) -> None:
        self.done += 1
        left = (time.monotonic() - self.start) / self.done * (self.total - self.done)
        say(f"{self.done} of {self.total} cycles: {what}; about {left / 60:.0f} min left")


def run_arm(
    folder: Path, judge: str, spec: str, size: Size, seed: int, threads: int, progress: Progress
) -> list[CycleOutcome]:
    """The cycles of one judge and seed. The arm ends where its labels give nothing to train on."""
    from benchmarks.judge_arms import NO_PAIRS, outcome_of, run_cycle_of, without_pairs

    outcomes: list[CycleOutcome] = []
    for cycle in range(1, size.cycles + 1):
        result = None
        if not outcomes or outcomes[-1].decision != NO_PAIRS:
            result = run_cycle_of(folder, judge, spec, size, seed, cycle, threads)
        outcome = without_pairs(folder, judge, seed, cycle)
        if result is not None:
            outcome = outcome_of(folder, judge, size, seed, result)
        outcomes.append(outcome)
        progress.step(f"{judge}, seed {seed}, cycle {cycle}: {outcome.decision}")
    return outcomes


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, allow_abbrev=False, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--judges", default="readers,rules,self,finetuned", help="comma-separated")
    parser.add_argument("--seeds", default="1,2,3", help="comma-separated")
    parser.add_argument("--cycles", type=int, default=2, help="cycles of each judge and seed")
    parser.add_argument("--cases", type=int, default=400, help="cases drafted for each cycle")
    parser.add_argument("--held-out", type=int, default=400, help="held-out cases")
    parser.add_argument(
        "--injected", type=int, default=5000, help="injected errors that `finetuned` learns from"
    )
    parser.add_argument(
        "--encoder", type=Path, help="encoder of `finetuned`; default: a small random one"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder; a stopped run goes on")
    parser.add_argument("--workers", type=int, default=2, help="arms at a time")
    parser.add_argument("--threads", type=int, default=1, help="threads of each arm")
    args = parser.parse_args()
    judges = args.judges.split(",")
    seeds = [int(seed) for seed in args.seeds.split(",")]
    from benchmarks.judge_arms import READERS, Size
    from benchmarks.judge_tables import as_json, decision_table, label_table, trust_lines

    from negalign_train.recipe.judge_spec import parse_specs

    if named := [judge for judge in judges if judge not in (READERS, "finetuned")]:
        parse_specs(",".join(named))
    size = Size(args.cases, args.held_out, args.cycles)
    encoder = None if args.encoder is None else str(args.encoder)
    check_settings(args.out, {"size": vars(size), "injected": args.injected, "encoder": encoder})
    progress = Progress(len(judges) * len(seeds) * args.cycles)
    with ThreadPoolExecutor(args.workers) as pool:
        jobs = []
        for seed in seeds:
            specs = prepare(args.out, seed, size, args)
            folder = args.out / f"seed{seed}"
            jobs += [
                pool.submit(
                    run_arm, folder, judge, specs[judge], size, seed, args.threads, progress
                )
                for judge in judges
            ]
        for job in as_completed(jobs):
            job.result()  # a failure shows at once
    outcomes = [outcome for job in jobs for outcome in job.result()]
    outcomes.sort(key=lambda each: (judges.index(each.judge), each.cycle, each.seed))
    rows = {"settings": vars(size), "rows": as_json(outcomes)}
    (args.out / "judge_ablation.json").write_text(json.dumps(rows, indent=2) + "\n")
    print(f"{label_table(outcomes)}\n\n{decision_table(outcomes)}\n")
    print("Could it be trusted?\n")
    print("\n".join(f"- {line}" for line in trust_lines(outcomes)))


if __name__ == "__main__":
    main()
