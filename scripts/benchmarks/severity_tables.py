"""The tables of ``bench_severity.py``, in Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import mean
from typing import Any


def _number(value: float | None, digits: int = 3) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _judges(rows: Mapping[str, Any]) -> None:
    print(
        "\n| judge | n | not scored | traps | untouched > 0 | rewordings S = 0 "
        "| found, mean of categories | Spearman | one more costs more | s per 1,000 |"
    )
    print("|---" * 10 + "|")
    for name, row in rows.items():
        ranking, recall = row["ranking"], row.get("recall")
        mean_recall = mean(r["recall"] for r in recall.values()) if recall else None
        cells = [
            name,
            str(row["reports"]),
            _number(row["not_scored"]),
            f"{sum(row['traps_passed'])}/4",
            _number(row["false_alarms"]),
            _number(row["paraphrases"]["S_is_0"]),
            _number(mean_recall),
            _number(ranking["spearman"]),
            _number(ranking["one_more_costs_more"]),
            _number(row["seconds_per_thousand"], 2),
        ]
        print(f"| {' | '.join(cells)} |")


def _operations(rows: Mapping[str, Any]) -> None:
    """Found / n of every operation, a column for each judge that has categories."""
    able = {name: row["operations"] for name, row in rows.items() if "operations" in row}
    if not able:
        return
    print(f"\n| operation | category | {' | '.join(able)} |\n{'|---' * (2 + len(able))}|")
    for operation, first in next(iter(able.values())).items():
        cells = [f"{row[operation]['found']}/{row[operation]['n']}" for row in able.values()]
        print(f"| {operation} | {first['category']} | {' | '.join(cells)} |")


def _mesh(result: Mapping[str, Any]) -> None:
    print("\n| finding | MeSH heads | n | precision | recall | F1 |\n|---|---|---|---|---|---|")
    for name, row in result["mesh"].items():
        heads = ", ".join(row["heads"][:3])
        numbers = f"{row['precision']:.2f} | {row['recall']:.2f} | {row['f1']:.2f}"
        print(f"| {name} | {heads} | {row['n']} | {numbers} |")
    print(f"\nMeSH macro F1 of {len(result['mesh'])} findings: {result['mesh_macro_f1']:.3f}")


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _itself(row: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Real reports against themselves, as lines of the summary."""
    lines = [
        (f"real reports against themselves ({row['n']}): something costs", _percent(row["costly"])),
        ("... R1, R2, R4 to R8 at 0", _percent(1 - row["compared"])),
    ]
    for width, wrapped in row["wrapped"].items():
        lines += [
            (f"... wrapped at {width}: something costs", _percent(wrapped["costly"])),
            (f"... wrapped at {width} = unwrapped", _percent(1 - wrapped["differs"])),
        ]
    return lines


def _summary(result: Mapping[str, Any]) -> None:
    """The figures that the rules are held to, one a line."""
    lines = [
        (f"pairs of {kinds['file']} that hold", f"{kinds['held']}/{kinds['n']}")
        for kinds in result["kinds"]
    ]
    if result["itself"]["n"]:
        lines += _itself(result["itself"])
    if (rules := result["judges"].get("rules")) is not None:
        lines += [
            (f"injected errors found, {name}", _percent(row["recall"]))
            for name, row in (rules.get("recall") or {}).items()
        ]
        lines += [
            ("false alarms on untouched reports", _percent(rules["false_alarms"])),
            ("rewordings at S = 0", _percent(rules["paraphrases"]["S_is_0"])),
        ]
    lines += [
        (f"own language pairs, {half.replace('_', ' ')}", f"{row['right']}/{row['n']}")
        for half, row in result["language"].items()
    ]
    lines.append(("distinct pairs a second, one core", f"{result['speed']['pairs_per_s']:.0f}"))
    print("\n| what | figure |\n|---|---|")
    for what, figure in lines:
        print(f"| {what} | {figure} |")


def show(result: Mapping[str, Any]) -> None:
    """All tables of a result."""
    print(f"{result['reports']} reports in {result['groups']} groups of the {result['part']} part")
    _summary(result)
    _judges(result["judges"])
    _operations(result["judges"])
    _mesh(result)
    speed = result["speed"]
    print(f"{speed['pairs_per_s']:.0f} pairs/s, cached {speed['cached_factor']:.0f} times faster")
    for sample in result["memory"]:
        print(f"{sample['pairs']:>9} pairs: {sample['rss_mib']:.0f} MiB")
    if result["missing"]:
        print(f"left out, not installed: {', '.join(result['missing'])}")
