"""Measure the severity judges: one table and one JSON. It tunes nothing.

Figures are taken on the OpenI test half (``cases.openi.part_of``), which nobody read while the
lexicon and the rules were extended; ``--part reserve`` takes a third of the other half, which was
set aside later. ``--kinds`` adds pairs with expectations from a file. The
`finetuned` judge is trained here, on errors injected into the rest. `nli` has random weights, as
the control of chance, unless `--nli` names a model. What needs a package that is not installed
(BLEU and ROUGE: `pip install -e .[bench]`; `encoder`) is left out and named in `missing`. Five to
six minutes of one core, and as much again for the million pairs of memory.

    python scripts/bench_severity.py --openi indiana_reports.csv --out runs/bench_severity.json
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks import severity_baselines as baselines
from benchmarks import severity_codes as codes
from benchmarks import severity_figures as figures
from benchmarks import severity_judges as judges
from benchmarks.severity_entries import Entry, Settings
from benchmarks.severity_kinds import kinds_figures
from benchmarks.severity_language import language_figures
from benchmarks.severity_material import Material, make_material, one_per_group
from benchmarks.severity_self import self_figures
from benchmarks.severity_tables import show

from negalign_train.cases.openi import load_openi, part_of
from negalign_train.quiet import quieten
from negalign_train.severity.words.lexicon import lexicon
from negalign_train.vocabulary.records import Case


def settings_of(args: argparse.Namespace, work_dir: Path) -> Settings:
    return Settings(
        only=args.only,
        work_dir=work_dir,
        seed=args.seed,
        finetuned_reports=args.finetuned_reports,
        slow_reports=args.slow_reports,
        training_examples=args.training_examples,
        training_epochs=args.training_epochs,
        learning_rate=args.learning_rate,
        nli_dir=args.nli,
        encoder_dir=args.encoder,
    )


def row_of(entry: Entry, cases: Sequence[Case], material: Material, number: int) -> dict[str, Any]:
    """All figures of one judge, row ``number`` of the table, and what it costs."""
    started = time.perf_counter()
    pairs = material.pairs()
    verdicts = dict(zip(pairs, entry.answer(pairs), strict=True))
    row = figures.judge_figures(figures.looked_up(verdicts), material)
    # Pairs of its own: members of an ensemble remember what they were asked.
    first = (number + 1) * 1_000_000
    cost = figures.seconds_per_thousand(entry.answer, cases, entry.cost_pairs, first)
    seconds = round(time.perf_counter() - started, 1)
    print(f"{entry.name}: {len(pairs)} pairs, {seconds} s", flush=True)
    return row | {"seconds_per_thousand": cost, "pairs": len(pairs), "measured_in_s": seconds}


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Every figure, as written to --out. Speed comes first, while the caches are empty."""
    everything = load_openi(args.openi)
    part = [case for case in everything if part_of(case.group) == args.part]
    other = one_per_group([case for case in everything if part_of(case.group) != args.part])
    texts = codes.raw_texts(args.openi)
    cases = one_per_group(part)[: args.cases]
    speed = figures.speed(baselines.rules, cases, args.pairs)
    # Before torch is there: what grows is the scorer's.
    memory = figures.memory(baselines.rules, cases, args.memory_pairs, 10)
    make = partial(make_material, limit=args.limit, chains=args.chains, seed=args.seed)
    table: dict[str, Any] = {}
    with TemporaryDirectory() as work_dir:
        entries, report = judges.entries_of(settings_of(args, Path(work_dir)), other)
        materials = {n: make(cases[:n]) for n in {entry.reports for entry in entries}}
        for number, entry in enumerate(entries):
            table[entry.name] = row_of(entry, cases, materials[entry.reports], number)
    mesh = codes.mesh_agreement(part, texts, 30)
    heads = codes.heads_of(args.openi)
    return report | {
        "part": args.part,
        "lexicon_version": lexicon().version,
        "reports": len(part),
        "groups": len(cases),
        "seed": args.seed,
        "speed": speed,
        "kinds": [kinds_figures(path) for path in args.kinds],
        "itself": self_figures([texts[case.case_id] for case in part]),
        "language": language_figures(),
        "judges": table,
        "mesh_macro_f1": mean(row["f1"] for row in mesh.values()),
        "mesh": {name: row | {"heads": heads[name]} for name, row in mesh.items()},
        "memory": memory,
    }


def names(value: str) -> tuple[str, ...]:
    """The judges of ``--only``."""
    chosen = tuple(part.strip() for part in value.split(","))
    if wrong := sorted(set(chosen) - set(judges.NAMES)):
        raise argparse.ArgumentTypeError(
            f"{', '.join(wrong)}: no such judge; choose from {', '.join(judges.NAMES)}"
        )
    return chosen


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    add = parser.add_argument
    add("--openi", type=Path, required=True, help="the OpenI CSV")
    add("--out", type=Path, required=True, help="where the JSON goes")
    add("--part", choices=("development", "reserve", "test"), default="test")
    add(
        "--kinds",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="pairs with expectations, one JSON object a line; may be repeated",
    )
    add("--only", type=names, default=judges.NAMES, help=f"of {','.join(judges.NAMES)}")
    add("--nli", type=Path, default=None, help="folder of a real NLI model")
    add("--encoder", type=Path, default=None, help="folder of an encoder for finetuned and encoder")
    add("--cases", type=int, default=None, help="at most so many groups")
    add("--limit", type=int, default=1000, help="reports per operation")
    add("--chains", type=int, default=300, help="reports for the ranking")
    add("--finetuned-reports", type=int, default=1000, help="groups for finetuned and ensemble")
    add("--slow-reports", type=int, default=20, help="groups for nli and self")
    add("--training-examples", type=int, default=5000)
    add("--training-epochs", type=int, default=4)
    add("--learning-rate", type=float, default=1e-3, help="of finetuned; 2e-5 with --encoder")
    add("--pairs", type=int, default=5000, help="pairs for the speed")
    add("--memory-pairs", type=int, default=1_000_000, help="0: no memory run")
    add("--seed", type=int, default=1)
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    quieten()
    result = measure(args)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    show(result)


if __name__ == "__main__":
    main(parse())
