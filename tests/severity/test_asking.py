"""Asking a judge for many reports: in order, once each, with a word now and then."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from negalign_train.progress import time_left
from negalign_train.severity.judges.base import Judgement, ReportPair
from negalign_train.severity.judges.uses import asking
from negalign_train.severity.judges.uses.asking import (
    judge_all,
    refuse_speechless,
    unscored_reasons,
)
from negalign_train.vocabulary.errors import DataError


class Told:
    """A judge whose reason for a pair is told."""

    name, version = "told", "1"

    def __init__(self, reason: Callable[[str], str]) -> None:
        self.reason, self.asked = reason, list[str]()

    def judge(self, pairs: Sequence[ReportPair]) -> list[Judgement]:
        self.asked += [pair.candidate for pair in pairs]
        return [Judgement("told", "1", None, self.reason(pair.candidate)) for pair in pairs]


def pairs_of(count: int) -> list[ReportPair]:
    return [ReportPair("Right.", str(number)) for number in range(count)]


def test_answers_keep_their_order_and_equal_pairs_are_asked_once():
    judge = Told(lambda text: f"r{text}")
    pairs = [*pairs_of(150), *pairs_of(3)]
    assert [word.reason for word in judge_all(judge, pairs)] == [
        f"r{pair.candidate}" for pair in pairs
    ]
    assert len(judge.asked) == 150
    assert judge_all(judge, []) == []


def test_a_slow_judge_says_how_far_it_is_and_how_long_it_will_take(monkeypatch):
    seconds = iter(range(0, 10_000, 30))
    clock = lambda: float(next(seconds))  # noqa: E731
    monkeypatch.setattr(
        asking, "time_left", lambda what, progress: time_left(what, progress, clock)
    )
    lines: list[str] = []
    judge_all(Told(lambda text: "empty_candidate"), pairs_of(160), progress=lines.append)
    assert [line.split(",")[0] for line in lines] == [
        "judge told on 160 reports: 40%", "judge told on 160 reports: 80%",
    ]  # fmt: skip
    assert all(" left" in line for line in lines)


def test_a_judge_that_fails_from_the_start_is_not_asked_for_the_rest():
    judge = Told(lambda text: "judge_unreachable")
    with pytest.raises(DataError, match=r"failed on 64 of 64 reports \(judge_unreachable 64\)"):
        judge_all(judge, pairs_of(1000))
    assert len(judge.asked) == 64


def test_half_of_the_reports_may_fail_and_one_more_may_not():
    judge = Told(lambda text: "judge_timeout" if int(text) < 5 else "too_long")
    assert unscored_reasons(judge_all(judge, pairs_of(10))) == {"judge_timeout": 5, "too_long": 5}
    with pytest.raises(DataError, match="failed on 5 of 9 reports"):
        judge_all(judge, pairs_of(9))
    assert len(judge_all(judge, pairs_of(9), known=1)) == 9


def test_a_judge_without_a_word_for_a_plain_report_is_refused_by_the_recipes_key():
    with pytest.raises(DataError, match=r"severity\.judge: judge told gives no score .*too_long"):
        refuse_speechless(Told(lambda text: "too_long"), "severity.judge")
