"""The scorer of a report alone on OpenI: flags on real reports, and errors that it sees.

A real report's flag is called false here, though radiologists do contradict themselves and coders
list what no sentence says. Run: python scripts/bench_alone.py --openi indiana_reports.csv
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import get_args

from benchmarks.alone_figures import false_flags, recall_rows
from benchmarks.severity_material import one_per_group

from negalign_train.cases.openi import Part, load_openi, part_of
from negalign_train.severity.alone.score import alone_version
from negalign_train.storage.atomic import replacing
from negalign_train.vocabulary.records import Case


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--openi", type=Path, required=True, help="the CSV of OpenI's reports")
    parser.add_argument("--part", choices=get_args(Part), default="test",
                        help="the part of OpenI that is measured")  # fmt: skip
    parser.add_argument("--limit", type=int, default=300, help="reports for each kind of error")
    parser.add_argument("--seed", type=int, default=1, help="seed of the errors")
    parser.add_argument("--out", type=Path, help="JSON file of the figures")
    return parser.parse_args()


def cases_of(path: Path, part: str) -> list[Case]:
    return one_per_group([case for case in load_openi(path) if part_of(case.group) == part])


def main() -> None:
    chosen = options()
    cases = cases_of(chosen.openi, chosen.part)
    alone, beside = (false_flags(cases, with_prompt=each) for each in (False, True))
    print(f"{len(cases)} reports, {chosen.part} part, one per group, version {alone_version()}\n")
    print("| flag on a real report | alone | with its prompt |\n|---|---|---|")
    for kind in sorted({*alone, *beside}, key=lambda kind: (kind == "any", kind)):
        print(f"| {kind} | {alone[kind] / len(cases):.1%} | {beside[kind] / len(cases):.1%} |")
    rows = list(recall_rows(cases, chosen.limit, chosen.seed))
    print("\n| error | reports | flagged alone | with the prompt |\n|---|---|---|---|")
    for row in rows:
        shares = [f"{n / row.made:.1%}" if row.made else "-" for n in
                  (row.without_prompt, row.with_prompt)]  # fmt: skip
        print(f"| {row.name} | {row.made} | {shares[0]} | {shares[1]} |")
    if chosen.out is not None:
        value = {
            "part": chosen.part, "reports": len(cases), "version": alone_version(),
            "false_flags": {"alone": alone, "with_prompt": beside},
            "recall": [asdict(row) for row in rows],
        }  # fmt: skip
        with replacing(chosen.out) as temporary:
            temporary.write_text(json.dumps(value, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
