"""The figures of ``bench_severity.py``: recall, false alarms, paraphrases, ranking, MeSH, speed.

A judge here is a callable of (reference, candidate): ``Verdict`` with S and, where it knows them,
the nine severities. Baselines give S only: one number per pair, larger is worse.
"""

from __future__ import annotations

import gc
import importlib
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import cycle, islice, pairwise
from pathlib import Path
from random import Random
from statistics import mean
from typing import Any, NamedTuple

from negalign_train.records import Case
from negalign_train.severity.score import score_report
from negalign_train.simulate.inject import OPERATIONS, inject
from negalign_train.simulate.mesh_text import patterns
from negalign_train.simulate.paraphrase import paraphrase


class Verdict(NamedTuple):
    """S of a pair, and its nine severities; None where the judge has no categories."""

    total: float
    severities: Mapping[str, float] | None = None


Judge = Callable[[str, str], Verdict | None]


def rules(reference: str, candidate: str) -> Verdict | None:
    """The package's own scorer."""
    score = score_report(reference, candidate)
    return None if score is None else Verdict(score.total, score.severities)


def finding_count(reference: str, candidate: str) -> Verdict:
    """How many findings one of the two names and the other does not; negation is not read."""
    names = [
        {name for name, pattern in patterns().findings.items() if pattern.search(text.lower())}
        for text in (reference, candidate)
    ]
    return Verdict(float(len(names[0] ^ names[1])))


def bleu() -> Judge:
    """100 minus sentence BLEU (sacrebleu, effective order)."""
    metric = importlib.import_module("sacrebleu").BLEU(effective_order=True)
    return lambda reference, candidate: Verdict(
        100.0 - metric.sentence_score(candidate, [reference]).score
    )


def rouge_l() -> Judge:
    """1 minus ROUGE-L F1 (rouge-score)."""
    module = importlib.import_module("rouge_score.rouge_scorer")
    scorer = module.RougeScorer(["rougeL"])
    return lambda reference, candidate: Verdict(
        1.0 - scorer.score(reference, candidate)["rougeL"].fmeasure
    )


TRAPS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("Mild cardiomegaly.", "The cardiac silhouette is mildly enlarged.", ()),
    ("No pleural effusion.", "Pleural effusion.", ("false_positive",)),
    ("Mild pulmonary edema.", "Severe pulmonary edema.", ("wrong_severity",)),
    (
        "Stable bibasilar atelectasis without consolidation.",
        "New right lower lobe consolidation.",
        ("false_positive", "false_negative", "temporal_error"),
    ),
)


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


def one_per_group(cases: Sequence[Case]) -> list[Case]:
    """The first case of each duplicate group."""
    return list({case.group: case for case in reversed(cases)}.values())[::-1]


def recall(
    judge: Judge, cases: Sequence[Case], limit: int, seed: int
) -> dict[str, dict[str, float]]:
    """Per operation: the share of injected errors whose category the judge finds.

    At most ``limit`` reports per operation, in the order of ``cases``.
    """
    table: dict[str, dict[str, float]] = {}
    for name, operation in OPERATIONS.items():
        made = hits = 0
        for case in cases:
            if made == limit:
                break
            truth = [finding.name for finding in case.findings]
            injection = inject(case.reference, name, seed, true_findings=truth)
            if injection is None:
                continue
            made += 1
            verdict = judge(case.reference, injection.text)
            found = verdict is not None and verdict.severities is not None
            hits += found and verdict.severities[operation.category] > 0  # type: ignore
        table[name] = {"category": operation.category, "n": made, "found": hits}  # type: ignore
    return table


def by_category(operations: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Recall per category, over all its operations."""
    sums: dict[str, Counter[str]] = {}
    for row in operations.values():
        sums.setdefault(row["category"], Counter()).update(n=row["n"], found=row["found"])
    return {
        name: {"n": c["n"], "recall": c["found"] / c["n"]} for name, c in sums.items() if c["n"]
    }


def false_alarms(judge: Judge, cases: Sequence[Case]) -> float:
    """The share of untouched reports that cost anything against themselves."""
    verdicts = [judge(case.reference, case.reference) for case in cases]
    return mean(verdict is None or verdict.total > 0 for verdict in verdicts)


def paraphrases(judge: Judge, cases: Sequence[Case], seed: int) -> dict[str, float]:
    """The share of reworded reports that cost nothing; those no rule changes are left out."""
    free = changed = 0
    for case in cases:
        text = paraphrase(case.reference, seed)
        if text != case.reference:
            changed += 1
            verdict = judge(case.reference, text)
            free += verdict is not None and verdict.total == 0
    return {"n": changed, "S_is_0": free / max(1, changed)}


_RANKED = (
    "false_negation", "false_prediction", "change_severity", "change_location",
    "add_device", "omission", "temporal_error", "overinterpretation",
)  # fmt: skip


def error_chain(case: Case, seed: int, length: int) -> list[str]:
    """The reworded report with 0, 1, ... errors in it, each on top of the last."""
    order = list(_RANKED)
    Random(f"chain:{seed}:{case.case_id}").shuffle(order)
    texts = [paraphrase(case.reference, seed)]
    for name in order:
        if len(texts) > length:
            break
        truth = [finding.name for finding in case.findings]
        injection = inject(texts[-1], name, seed, true_findings=truth)
        if injection is not None:
            texts.append(injection.text)
    return texts


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


def ranking(judge: Judge, chains: Sequence[Sequence[str]], references: Sequence[str]) -> Any:
    """Spearman of S with the number of errors put in, and how often one more error costs more."""
    counts: list[float] = []
    totals: list[float] = []
    ordered = pairs = 0
    for reference, texts in zip(references, chains, strict=True):
        verdicts = [judge(reference, text) for text in texts]
        values = [float("inf") if v is None else v.total for v in verdicts]
        counts += range(len(values))
        totals += values
        ordered += sum(b > a for a, b in pairwise(values))
        pairs += len(values) - 1
    return {"spearman": spearman(counts, totals), "one_more_costs_more": ordered / max(1, pairs)}


def distinct_pairs(cases: Sequence[Case]) -> Iterator[tuple[str, str]]:
    """Endless pairs of report and reworded report, no text twice."""
    for number, case in enumerate(cycle(cases)):
        tail = f" Film number {number}."
        yield case.reference + tail, paraphrase(case.reference, number) + tail


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
