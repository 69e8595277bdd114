"""The figures of ``bench_severity.py``: recall, false alarms, paraphrases, ranking, speed, memory.

A judge here is a callable of (reference, candidate): ``Verdict`` with S and, where it knows them,
the nine severities. A pair that a judge cannot score has none, and counts in ``not_scored`` alone.
"""

from __future__ import annotations

import gc
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import islice, pairwise
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

from benchmarks.severity_material import TRAPS, Material, TextPair, distinct_pairs
from negalign_train.simulate.injection.reports import OPERATIONS
from negalign_train.simulate.paraphrase import paraphrase
from negalign_train.vocabulary.records import Case


class Verdict(NamedTuple):
    """S of a pair, and its nine severities; None where the judge has no categories."""

    total: float
    severities: Mapping[str, float] | None = None


Judge = Callable[[str, str], Verdict | None]
Answer = Callable[[Sequence[TextPair]], list[Verdict | None]]
"""A judge of many pairs at once."""


def one_by_one(judge: Judge) -> Answer:
    return lambda pairs: [judge(reference, candidate) for reference, candidate in pairs]


def looked_up(verdicts: Mapping[TextPair, Verdict | None]) -> Judge:
    """A judge of pairs that were judged before, in batches."""
    return lambda reference, candidate: verdicts[reference, candidate]


def traps(judge: Judge) -> list[bool]:
    """Whether each of the four known traps is passed (categories above 0, or S = 0)."""
    passed = []
    for reference, candidate, categories in TRAPS:
        verdict = judge(reference, candidate)
        if verdict is None:
            passed.append(False)
        elif not categories:
            passed.append(verdict.total == 0)
        elif verdict.severities is None:
            passed.append(verdict.total > 0)
        else:
            passed.append(all(verdict.severities[name] > 0 for name in categories))
    return passed


def _scored(judge: Judge, pairs: Sequence[TextPair]) -> list[Verdict]:
    verdicts = (judge(reference, candidate) for reference, candidate in pairs)
    return [verdict for verdict in verdicts if verdict is not None]


def _share(hits: Sequence[bool]) -> float | None:
    """None where there is nothing to take a share of."""
    return mean(hits) if hits else None


def recall(
    judge: Judge, injected: Mapping[str, Sequence[TextPair]]
) -> dict[str, dict[str, Any]] | None:
    """Per operation: in how many of the reports the injected error's category is seen.

    None for a judge without categories.
    """
    table: dict[str, dict[str, Any]] = {}
    for name, pairs in injected.items():
        category = OPERATIONS[name].category
        verdicts = _scored(judge, pairs)
        if any(verdict.severities is None for verdict in verdicts):
            return None
        num_seen = sum((verdict.severities or {})[category] > 0 for verdict in verdicts)
        table[name] = {"category": category, "n": len(verdicts), "found": num_seen}
    return table


def by_category(operations: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Recall per category, over all its operations."""
    sums: dict[str, Counter[str]] = {}
    for row in operations.values():
        sums.setdefault(row["category"], Counter()).update(n=row["n"], found=row["found"])
    return {
        name: {"n": c["n"], "recall": c["found"] / c["n"]} for name, c in sums.items() if c["n"]
    }


def _ranks(values: Sequence[float]) -> list[float]:
    """Ranks from 1, ties at their mean."""
    order = sorted(range(len(values)), key=values.__getitem__)
    ranks = [0.0] * len(values)
    at = 0
    while at < len(order):
        end = at
        while end < len(order) and values[order[end]] == values[order[at]]:
            end += 1
        for index in order[at:end]:
            ranks[index] = (at + end + 1) / 2
        at = end
    return ranks


def spearman(first: Sequence[float], second: Sequence[float]) -> float:
    """Spearman's rank correlation with mean ranks for ties."""
    a, b = _ranks(first), _ranks(second)
    mean_a, mean_b = mean(a), mean(b)
    shared = sum((x - mean_a) * (y - mean_b) for x, y in zip(a, b, strict=True))
    spread = (sum((x - mean_a) ** 2 for x in a) * sum((y - mean_b) ** 2 for y in b)) ** 0.5
    return shared / spread if spread else 0.0


def ranking(judge: Judge, chains: Sequence[tuple[str, Sequence[str]]]) -> dict[str, Any]:
    """Spearman of S with the number of injected errors, and how often one more error costs more.

    Chains of which one text cannot be scored are left out.
    """
    counts: list[float] = []
    totals: list[float] = []
    steps: list[bool] = []
    used = 0
    for reference, texts in chains:
        values = [verdict.total for verdict in _scored(judge, [(reference, t) for t in texts])]
        if len(values) < len(texts):
            continue
        used += 1
        counts += range(len(values))
        totals += values
        steps += [b > a for a, b in pairwise(values)]
    correlation = spearman(counts, totals) if totals else None
    return {"n": used, "spearman": correlation, "one_more_costs_more": _share(steps)}


def judge_figures(judge: Judge, material: Material) -> dict[str, Any]:
    """All figures of one judge; recall only for one that has categories."""
    pairs = material.pairs()
    untouched = _scored(judge, material.untouched)
    reworded = _scored(judge, material.reworded)
    figures: dict[str, Any] = {
        "reports": len(material.untouched),
        "not_scored": 1 - len(_scored(judge, pairs)) / len(pairs),
        "traps_passed": traps(judge),
        "false_alarms": _share([verdict.total > 0 for verdict in untouched]),
        "paraphrases": {"n": len(reworded), "S_is_0": _share([v.total == 0 for v in reworded])},
        "ranking": ranking(judge, material.chains),
    }
    operations = recall(judge, material.injected)
    if operations is not None:
        figures["operations"] = operations
        figures["recall"] = by_category(operations)
    return figures


def seconds_per_thousand(answer: Answer, cases: Sequence[Case], count: int, first: int) -> float:
    """CPU seconds per 1,000 pairs on one core, on texts that the judge has not seen.

    Args:
        first: number of the first of ``distinct_pairs``.
    """
    pairs = list(islice(distinct_pairs(cases, first), count))
    gc.collect()
    started = time.process_time()
    answer(pairs)
    return (time.process_time() - started) / count * 1000


def speed(judge: Judge, cases: Sequence[Case], count: int) -> dict[str, float]:
    """Pairs a second on distinct texts, and on the same pairs again (one core, CPU time)."""
    pairs = list(islice(distinct_pairs(cases), count))
    gc.collect()
    started = time.process_time()
    for reference, candidate in pairs:
        judge(reference, candidate)
    cold = time.process_time() - started
    repeated = pairs[-min(1000, len(pairs)) :]
    started = time.process_time()
    for reference, candidate in repeated:
        judge(reference, candidate)
    again = time.process_time() - started
    factor = (cold / len(pairs)) / max(again / len(repeated), 1e-9)
    return {"pairs_per_s": len(pairs) / cold, "cached_factor": factor}


def memory(judge: Judge, cases: Sequence[Case], count: int, samples: int) -> list[dict[str, float]]:
    """Resident memory in MiB after every ``count / samples`` distinct pairs."""
    page = os.sysconf("SC_PAGE_SIZE")
    taken = []
    references = [case.reference for case in cases]
    words = [paraphrase(reference, 1) for reference in references]
    for number in range(count):
        at, tail = number % len(references), f" Film number {number}."
        judge(references[at] + tail, words[at] + tail)
        if (number + 1) % max(1, count // samples) == 0:
            resident = int(Path("/proc/self/statm").read_text().split()[1]) * page / 2**20
            taken.append({"pairs": number + 1, "rss_mib": resident})
    return taken
