"""Judges on an expert set: how well each follows radiologists. Pure, but for the clock."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

from negalign_train.severity.judges.base import Judge, Judgement, ReportPair
from negalign_train.severity.trust.agreement import AgreementSettings, Estimate
from negalign_train.severity.trust.expert.expert_set import (
    ExpectationTest,
    ExpertSet,
    RankingTest,
    RatedReport,
)
from negalign_train.severity.trust.expert.expressions import EQUAL_WITHIN
from negalign_train.severity.trust.expert.figures import (
    CategoryFigures,
    OrderFigures,
    category_figures,
    order_figures,
    rater_figures,
    share,
)
from negalign_train.vocabulary.records import SeverityScore
from negalign_train.vocabulary.taxonomy import taxonomy

BENCH_SCHEMA = "negalign.bench/1"
TOTALS = ("S", "Q")
"""What reports are ranked by."""
_BATCH = 64


@dataclass(frozen=True)
class Answers:
    """One judge's answers to every pair of a set, and the wall time they took."""

    spec: str
    judge: str
    version: str
    judgements: Mapping[ReportPair, Judgement]
    seconds: float

    def values(self, pair: ReportPair) -> dict[str, float] | None:
        """R1 to R9 and the totals of a pair; None where it has no score."""
        score = self.judgements[pair].score
        return None if score is None else score_values(score)


@dataclass(frozen=True)
class RatedFigures:
    """A judge on the rated reports that every judge scored: its order by each total, and by
    category.
    """

    num_reports: int
    order: Mapping[str, OrderFigures]
    categories: Mapping[str, CategoryFigures]


@dataclass(frozen=True)
class HeldFigures:
    """Tests that hold or do not. ``unknown``: tests that the judge could not score, or whose total
    it does not give; they do not hold. ``failed`` and ``unknown`` are ids.
    """

    num_tests: int
    num_held: int
    held: Estimate
    kinds: Mapping[str, tuple[int, int]]
    failed: tuple[str, ...]
    unknown: tuple[str, ...]


@dataclass(frozen=True)
class JudgeBench:
    """One judge on the whole set."""

    spec: str
    judge: str
    version: str
    unscorable: Mapping[str, int]
    seconds_per_thousand: float
    rated: RatedFigures | None
    rankings: Mapping[str, HeldFigures]
    expectations: HeldFigures | None


@dataclass(frozen=True)
class BenchReport:
    """All judges on one set. ``raters``: one rater against the others, on the same reports.
    ``left_out``: rated reports that not every judge could score.
    """

    num_rated: int
    num_rankings: int
    num_expectations: int
    left_out: int
    raters: OrderFigures | None
    judges: tuple[JudgeBench, ...]

    def to_json(self) -> dict[str, Any]:
        """Categories by their ids."""
        ids = {category.name: category.id for category in taxonomy()}
        value = asdict(self)
        for judge in value["judges"]:
            if judge["rated"] is not None:
                rows = judge["rated"]["categories"]
                judge["rated"]["categories"] = {ids[name]: row for name, row in rows.items()}
        return {"schema": BENCH_SCHEMA} | value


def score_values(score: SeverityScore) -> dict[str, float]:
    """R1 to R9, S, and Q where the judge knows it, by the names that an expectation uses."""
    values = {c.id: score.severities[c.name] for c in taxonomy()}
    values["S"] = score.total
    return values if score.quality is None else values | {"Q": score.quality}


def pairs_of(expert_set: ExpertSet) -> list[ReportPair]:
    """Every pair that a judge is asked, each once, in order."""
    pairs = [report.pair for report in expert_set.rated]
    pairs += [pair for test in expert_set.rankings for rank in test.ranks for pair in rank]
    pairs += [test.pair for test in expert_set.expectations]
    return list(dict.fromkeys(pairs))


def ask_judge(
    spec: str, judge: Judge, pairs: Sequence[ReportPair], progress: Callable[[int], None]
) -> Answers:
    """The judge's answers; ``progress`` is told of each batch how many pairs it had."""
    judgements: dict[ReportPair, Judgement] = {}
    start = time.perf_counter()
    for first in range(0, len(pairs), _BATCH):
        batch = pairs[first : first + _BATCH]
        judgements |= zip(batch, judge.judge(batch), strict=True)
        progress(len(batch))
    return Answers(spec, judge.name, judge.version, judgements, time.perf_counter() - start)


def bench_report(
    expert_set: ExpertSet,
    answers: Sequence[Answers],
    settings: AgreementSettings,
    progress: Callable[[int], None] = lambda _: None,
) -> BenchReport:
    """Every judge's figures; all judges are measured on the same reports.

    ``progress`` is told of resamples: ``num_bootstrap`` for the raters and for each judge's order
    by each total.
    """
    common = [
        report
        for report in expert_set.rated
        if all(one.judgements[report.pair].score is not None for one in answers)
    ]
    return BenchReport(
        num_rated=len(common),
        num_rankings=len(expert_set.rankings),
        num_expectations=len(expert_set.expectations),
        left_out=len(expert_set.rated) - len(common),
        raters=rater_figures(common, settings, progress) if common else None,
        judges=tuple(_judge_bench(one, expert_set, common, settings, progress) for one in answers),
    )


def _judge_bench(
    answers: Answers,
    expert_set: ExpertSet,
    common: Sequence[RatedReport],
    settings: AgreementSettings,
    progress: Callable[[int], None],
) -> JudgeBench:
    asked = answers.judgements
    reasons = Counter(j.reason or "unknown" for j in asked.values() if j.score is None)
    return JudgeBench(
        answers.spec,
        answers.judge,
        answers.version,
        dict(reasons),
        1000 * answers.seconds / max(1, len(asked)),
        _rated(answers, common, settings, progress) if common else None,
        {name: _rankings(answers, expert_set.rankings, name, settings) for name in TOTALS}
        if expert_set.rankings
        else {},
        _expectations(answers, expert_set.expectations, settings)
        if expert_set.expectations
        else None,
    )


def _rated(
    answers: Answers,
    reports: Sequence[RatedReport],
    settings: AgreementSettings,
    progress: Callable[[int], None],
) -> RatedFigures:
    rows = [row for report in reports if (row := answers.values(report.pair)) is not None]
    cases = [report.case for report in reports]
    experts = [report.consensus for report in reports]
    order = {
        name: order_figures([row[name] for row in rows], experts, cases, settings, progress)
        for name in TOTALS
        if all(name in row for row in rows)
    }
    named = [{c.name: row[c.id] for c in taxonomy()} for row in rows]
    return RatedFigures(len(reports), order, category_figures(named, reports, settings))


def _rankings(
    answers: Answers, tests: Sequence[RankingTest], total: str, settings: AgreementSettings
) -> HeldFigures:
    return _figures(
        [(t.id, t.case, "ranking", _ranking_holds(answers, t, total)) for t in tests], settings
    )


def _ranking_holds(answers: Answers, test: RankingTest, total: str) -> bool | None:
    """Whether every better rank scores lower, and equally good candidates the same."""
    ranks: list[list[float]] = []
    for rank in test.ranks:
        rows = [answers.values(pair) for pair in rank]
        known = [row[total] for row in rows if row is not None and total in row]
        if len(known) != len(rank):
            return None
        ranks.append(known)
    if any(max(rank) - min(rank) > EQUAL_WITHIN for rank in ranks):
        return False
    return all(max(better) < min(worse) - EQUAL_WITHIN for better, worse in pairwise(ranks))


def _expectations(
    answers: Answers, tests: Sequence[ExpectationTest], settings: AgreementSettings
) -> HeldFigures:
    results: list[tuple[str, str, str, bool | None]] = []
    for test in tests:
        values = answers.values(test.pair)
        known = values is not None and test.expectation.names <= values.keys()
        holds = test.expectation.holds(values) if known and values is not None else None
        results.append((test.id, test.case, test.kind, holds))
    return _figures(results, settings)


def _figures(
    results: Sequence[tuple[str, str, str, bool | None]], settings: AgreementSettings
) -> HeldFigures:
    """From (id, case, kind, whether it holds; None where that is unknown)."""
    kinds: dict[str, tuple[int, int]] = {}
    for _, _, kind, holds in results:
        held, total = kinds.get(kind, (0, 0))
        kinds[kind] = held + (holds is True), total + 1
    held_share = share(
        [float(holds is True) for *_, holds in results],
        [case for _, case, _, _ in results],
        settings,
    )
    return HeldFigures(
        len(results),
        sum(holds is True for *_, holds in results),
        held_share,
        dict(sorted(kinds.items())),
        tuple(id_ for id_, _, _, holds in results if holds is False),
        tuple(id_ for id_, _, _, holds in results if holds is None),
    )
