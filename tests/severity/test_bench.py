"""A judge's figures on an expert set, on a set small enough to work out by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from negalign_train.severity.judges.base import Judgement, ReportPair
from negalign_train.severity.trust.agreement import AgreementSettings
from negalign_train.severity.trust.expert.bench import (
    HeldFigures,
    ask_judge,
    bench_report,
    pairs_of,
)
from negalign_train.severity.trust.expert.expert_set import (
    ExpectationTest,
    ExpertSet,
    RankingTest,
    RatedReport,
    Rating,
)
from negalign_train.severity.trust.expert.expressions import parse_expectation
from negalign_train.vocabulary.records import CATEGORIES, SeverityScore

SETTINGS = AgreementSettings(num_bootstrap=200, confidence=0.9, seed=3)


class TableJudge:
    """Severities of each candidate from a table; one that is not there cannot be scored.

    ``correct_weight`` is what every report got right; None: the judge does not know, and has no Q.
    """

    name = "table"
    version = "1"

    def __init__(
        self, table: Mapping[str, Mapping[str, float]], correct_weight: float | None = None
    ) -> None:
        self._table, self._correct_weight = table, correct_weight
        self.asked: list[ReportPair] = []

    def judge(self, pairs: Sequence[ReportPair]) -> list[Judgement]:
        self.asked += pairs
        return [self._one(pair.candidate) for pair in pairs]

    def _one(self, candidate: str) -> Judgement:
        if candidate not in self._table:
            return Judgement(self.name, self.version, None, "unreadable_candidate")
        severities = dict.fromkeys(CATEGORIES, 0.0) | dict(self._table[candidate])
        score = SeverityScore(severities, (), severities, self._correct_weight)
        return Judgement(self.name, self.version, score)


def pair(candidate: str) -> ReportPair:
    return ReportPair("reference", candidate)


def rated(candidate: str, case: str, *amounts: tuple[float, float]) -> RatedReport:
    """A report with (R1, R2) of each rater."""
    ratings = [
        Rating(f"r{n}", {"false_positive": a, "false_negative": b}, a + b)
        for n, (a, b) in enumerate(amounts)
    ]
    return RatedReport(candidate, case, pair(candidate), tuple(ratings))


def ranking(id_: str, *ranks: tuple[str, ...]) -> RankingTest:
    return RankingTest(id_, id_, tuple(tuple(map(pair, rank)) for rank in ranks))


def expectation(id_: str, candidate: str, expect: str) -> ExpectationTest:
    return ExpectationTest(id_, id_, "kind", pair(candidate), parse_expectation(expect))


TABLE = {
    "right": {},
    "extra": {"false_positive": 0.5},
    "missed": {"false_negative": 1.0},
    "both": {"false_positive": 1.0, "false_negative": 1.0},
}


def test_order_and_categories_of_rated_reports():
    reports = (
        rated("right", "a", (0, 0), (0, 0)),
        rated("extra", "a", (0, 0), (1, 0)),
        rated("missed", "b", (1, 0), (0, 2)),
        rated("both", "b", (2, 2), (2, 1)),
        rated("unread", "c", (0, 0), (0, 0)),
    )
    judge = TableJudge(TABLE)
    expert_set = ExpertSet(rated=reports)
    answers = ask_judge("table", judge, pairs_of(expert_set), lambda _: None)
    report = bench_report(expert_set, [answers], SETTINGS)
    assert (report.num_rated, report.left_out) == (4, 1)
    (figures,) = report.judges
    assert figures.unscorable == {"unreadable_candidate": 1}
    assert figures.rated is not None
    order = figures.rated.order["S"]
    # S 0, 0.5, 1, 2 against consensus 0, 0.5, 1.5, 3.5: one order.
    assert order.spearman.value == pytest.approx(1.0)
    assert order.kendall.value == pytest.approx(1.0)
    assert order.pairwise.value == order.pairwise_in_case.value == 1.0
    added = figures.rated.categories["false_positive"]
    # Half of the raters or more charge R1 in extra, missed and both; the judge in extra and both.
    assert (added.num_expert, added.num_judge) == (3, 2)
    assert added.precision.value == 1.0
    assert added.recall.value == pytest.approx(2 / 3)
    assert set(figures.rated.categories) == {"false_positive", "false_negative"}
    # Rater 0 says 0, 0, 1, 4, rater 1 says 0, 1, 2, 3: of six pairs five are in one order, and the
    # pair that rater 0 ties counts half where rater 0 judges and not at all where rater 1 does.
    assert report.raters is not None
    assert report.raters.pairwise.value == pytest.approx((5.5 / 6 + 1.0) / 2)


def test_a_ranking_holds_only_in_strict_order_with_equals_equal():
    expert_set = ExpertSet(
        rankings=(
            ranking("right", ("right",), ("extra",), ("both",)),
            ranking("wrong", ("missed",), ("extra",)),
            ranking("tied", ("right",), ("right ",)),
            ranking("equal", ("right", "right "), ("both",)),
            ranking("unequal", ("right", "extra"), ("both",)),
            ranking("unread", ("right",), ("unread",)),
        )
    )
    judge = TableJudge(TABLE | {"right ": {}})
    answers = ask_judge("table", judge, pairs_of(expert_set), lambda _: None)
    (figures,) = bench_report(expert_set, [answers], SETTINGS).judges
    held = figures.rankings["S"]
    assert held.failed == ("wrong", "tied", "unequal")
    assert held.unknown == ("unread",)
    assert (held.num_held, held.num_tests) == (2, 6)
    assert held.held.value == pytest.approx(2 / 6)
    assert held.held.low is not None
    assert held.held.high is not None
    assert held.held.low < 2 / 6 < held.held.high


def test_an_expectation_on_what_a_judge_does_not_give_is_unknown():
    expert_set = ExpertSet(
        expectations=(
            expectation("holds", "both", "R1 > 0 and S == 2"),
            expectation("fails", "extra", "R2 > 0"),
            expectation("unread", "unread", "S == 0"),
            expectation("quality", "extra", "Q == 0.4"),  # 0.5 / (0.5 + 0.5 + 0.25)
        )
    )

    def figures_of(judge: TableJudge) -> HeldFigures:
        answers = ask_judge("table", judge, pairs_of(expert_set), lambda _: None)
        (figures,) = bench_report(expert_set, [answers], SETTINGS).judges
        assert figures.expectations is not None
        return figures.expectations

    without, with_quality = figures_of(TableJudge(TABLE)), figures_of(TableJudge(TABLE, 0.5))
    assert without.failed == with_quality.failed == ("fails",)
    assert without.unknown == ("unread", "quality")
    assert with_quality.unknown == ("unread",)
    assert without.kinds == {"kind": (1, 4)}
    assert with_quality.kinds == {"kind": (2, 4)}


def test_q_ranks_beside_s_where_the_judge_knows_it():
    """Q of one reference is in the order of S, so both say the same of a ranking."""
    expert_set = ExpertSet(
        rated=(rated("right", "a", (0, 0)), rated("both", "b", (1, 1))),
        rankings=(ranking("right", ("right",), ("extra",), ("both",)),),
    )
    for judge, totals in ((TableJudge(TABLE), {"S"}), (TableJudge(TABLE, 1.0), {"S", "Q"})):
        answers = ask_judge("table", judge, pairs_of(expert_set), lambda _: None)
        (figures,) = bench_report(expert_set, [answers], SETTINGS).judges
        assert figures.rated is not None
        assert set(figures.rated.order) == totals
        held = {name for name, figure in figures.rankings.items() if figure.num_held == 1}
        assert held == totals
    assert figures.rankings["Q"].unknown == ()


def test_a_pair_that_comes_twice_is_asked_once():
    expert_set = ExpertSet(
        rated=(rated("extra", "a", (0, 0)),),
        rankings=(ranking("r", ("right",), ("extra",)),),
        expectations=(expectation("e", "extra", "S > 0"),),
    )
    judge, told = TableJudge(TABLE), list[int]()
    ask_judge("table", judge, pairs_of(expert_set), told.append)
    assert [asked.candidate for asked in judge.asked] == ["extra", "right"]
    assert sum(told) == 2


def test_the_intervals_draw_cases_and_not_reports():
    """Ten copies of each of two cases: the cases are two, so a draw may hold one of them alone."""
    tests = tuple(
        ExpectationTest(f"{case}{n}", case, "kind", pair("extra"), parse_expectation(expect))
        for case, expect in (("a", "R1 > 0"), ("b", "R1 == 0"))
        for n in range(10)
    )
    expert_set = ExpertSet(expectations=tests)
    answers = ask_judge("table", TableJudge(TABLE), pairs_of(expert_set), lambda _: None)
    (figures,) = bench_report(expert_set, [answers], SETTINGS).judges
    assert figures.expectations is not None
    held = figures.expectations.held
    assert (held.low, held.value, held.high) == (0.0, 0.5, 1.0)
