"""Measure the severity judges: one table and one JSON. It trains and tunes nothing.

Figures are taken on the OpenI test half (``cases.openi.part_of``), which nobody read while the
lexicon and the rules were extended. Without sacrebleu or rouge-score (`pip install -e .[bench]`)
that baseline is left out and named in `missing`.

    python scripts/bench_severity.py --openi indiana_reports.csv --out runs/bench_severity.json
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import severity_codes as codes
import severity_figures as figures
from severity_figures import Judge

from negalign_train.cases.openi import load_openi, part_of
from negalign_train.records import Case
from negalign_train.severity.lexicon import lexicon

_BASELINES = {"BLEU": figures.bleu, "ROUGE-L": figures.rouge_l}


def judges() -> tuple[dict[str, Judge], list[str]]:
    """The judges by name, and the baselines whose package is not installed."""
    found: dict[str, Judge] = {"rules": figures.rules, "finding count": figures.finding_count}
    missing = []
    for name, make in _BASELINES.items():
        try:
            found[name] = make()
        except ModuleNotFoundError:
            missing.append(name)
    return found, missing


def judge_figures(judge: Judge, cases: Sequence[Case], args: argparse.Namespace) -> dict[str, Any]:
    """All figures of one judge; recall only for one that has categories."""
    chains = [figures.error_chain(case, args.seed, 4) for case in cases[: args.chains]]
    references = [case.reference for case in cases[: args.chains]]
    found: dict[str, Any] = {
        "traps_passed": figures.traps(judge),
        "false_alarms": figures.false_alarms(judge, cases),
        "paraphrases": figures.paraphrases(judge, cases, args.seed),
        "ranking": figures.ranking(judge, chains, references),
    }
    verdict = judge(cases[0].reference, cases[0].reference)
    if verdict is not None and verdict.severities is not None:
        found["operations"] = figures.recall(judge, cases, args.limit, args.seed)
        found["recall"] = figures.by_category(found["operations"])
    return found


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Every figure, as written to --out. Speed comes first, while the caches are empty."""
    part = [case for case in load_openi(args.openi) if part_of(case.group) == args.part]
    cases = figures.one_per_group(part)[: args.cases]
    speed = figures.speed(figures.rules, cases, args.pairs)
    table, missing = judges()
    mesh = codes.mesh_agreement(part, codes.raw_texts(args.openi), 30)
    heads = codes.heads_of(args.openi)
    return {
        "part": args.part,
        "lexicon_version": lexicon().version,
        "reports": len(part),
        "groups": len(cases),
        "seed": args.seed,
        "speed": speed,
        "judges": {name: judge_figures(judge, cases, args) for name, judge in table.items()},
        "missing": missing,
        "mesh_macro_f1": mean(row["f1"] for row in mesh.values()),
        "mesh": {name: row | {"heads": heads[name]} for name, row in mesh.items()},
        "memory": figures.memory(figures.rules, cases, args.memory_pairs, 10),
    }


def show(result: dict[str, Any]) -> None:
    """The tables of the result, in Markdown."""
    print(f"{result['reports']} reports in {result['groups']} groups of the {result['part']} half")
    print("\n| judge | traps | false alarms | paraphrases S = 0 | Spearman | one more costs more |")
    print("|---|---|---|---|---|---|")
    for name, row in result["judges"].items():
        ranking = row["ranking"]
        print(
            f"| {name} | {sum(row['traps_passed'])}/4 | {row['false_alarms']:.3f} "
            f"| {row['paraphrases']['S_is_0']:.3f} | {ranking['spearman']:.3f} "
            f"| {ranking['one_more_costs_more']:.3f} |"
        )
    for name, row in result["judges"].items():
        if "operations" in row:
            print(f"\n| {name}: operation | category | n | recall |\n|---|---|---|---|")
            for operation, found in row["operations"].items():
                share = found["found"] / found["n"] if found["n"] else float("nan")
                print(f"| {operation} | {found['category']} | {found['n']} | {share:.3f} |")
    print("\n| finding | MeSH heads | n | precision | recall | F1 |\n|---|---|---|---|---|---|")
    for name, row in result["mesh"].items():
        heads = ", ".join(row["heads"][:3])
        numbers = f"{row['precision']:.2f} | {row['recall']:.2f} | {row['f1']:.2f}"
        print(f"| {name} | {heads} | {row['n']} | {numbers} |")
    print(f"\nMeSH macro F1 of {len(result['mesh'])} findings: {result['mesh_macro_f1']:.3f}")
    speed = result["speed"]
    print(f"{speed['pairs_per_s']:.0f} pairs/s, cached {speed['cached_factor']:.0f} times faster")
    for sample in result["memory"]:
        print(f"{sample['pairs']:>9} pairs: {sample['rss_mib']:.0f} MiB")
    if result["missing"]:
        print(f"left out, not installed: {', '.join(result['missing'])}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--openi", type=Path, required=True, help="the OpenI CSV")
    parser.add_argument("--out", type=Path, required=True, help="where the JSON goes")
    parser.add_argument("--part", choices=("development", "test"), default="test")
    parser.add_argument("--cases", type=int, default=None, help="at most so many groups")
    parser.add_argument("--limit", type=int, default=1000, help="reports per operation")
    parser.add_argument("--chains", type=int, default=300, help="reports for the ranking")
    parser.add_argument("--pairs", type=int, default=5000, help="pairs for the speed")
    parser.add_argument("--memory-pairs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    result = measure(args)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    show(result)


if __name__ == "__main__":
    main(parse())
