"""Severities that readers left out: whose they are, and why some stay unknown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from negalign_train.severity.judges.base import Judgement, ReportPair
from negalign_train.severity.judges.rules import RulesJudge
from negalign_train.severity.judges.uses.filling import fill_severities
from negalign_train.severity.reading.context import CaseContext
from negalign_train.vocabulary.errors import DataError
from negalign_train.vocabulary.records import CATEGORIES, Event, SeverityScore

MakeEvent = Callable[..., Event]


class Fixed:
    """A judge with one answer."""

    name, version = "fixed", "1"

    def __init__(self, severity: float | None, reason: str | None = None) -> None:
        self.answer = Judgement("fixed", "1", None, reason)
        if severity is not None:
            severities = dict.fromkeys(CATEGORIES, 0.0) | {"temporal_error": severity}
            self.answer = Judgement("fixed", "1", SeverityScore(severities))
        self.asked: list[ReportPair] = []

    def judge(self, pairs: Sequence[ReportPair]) -> list[Judgement]:
        self.asked += pairs
        return [self.answer for _ in pairs]


def open_event(make_event: MakeEvent, event_id: str, **overrides: object) -> Event:
    return replace(
        make_event(event_id=event_id, **overrides), errors=(), severities=None, severity_source=None
    )


def test_missing_severities_are_filled_from_the_readers_edit(make_event: MakeEvent) -> None:
    graded = make_event(event_id="a")
    first, *others = (
        open_event(make_event, name, completion="Findings: Small left pleural effusion.")
        for name in "bcd"
    )
    found = fill_severities(
        [graded, first, *others],
        {"b": "Findings: Small right pleural effusion.", "c": "Thank you."},
        RulesJudge(),
    )
    assert found.events[0] == graded
    assert found.events[1].severity_source == "scorer"
    assert found.events[1].total_severity == 0.25
    assert found.events[2:] == tuple(others)
    assert found.unknown == {"c": "no_statement_in_reference", "d": "no_reference"}
    assert found.refusals.counts == {"no_reference": 1, "no_statement_in_reference": 1}


def test_a_scorer_that_finds_nothing_in_a_rejected_report_knows_nothing(
    make_event: MakeEvent,
) -> None:
    reject = make_event(
        event_id="a", grade="reject", errors=(),
        completion="Findings: Small left pleural effusion.",
        edited="Findings: A small pleural effusion on the left.",
    )  # fmt: skip
    found = fill_severities([reject], {"a": str(reject.edited)}, RulesJudge())
    assert found.events == (reject,)
    assert found.unknown == {"a": "scorer_found_nothing"}


def test_any_judge_fills_and_its_label_stands_in_the_record(make_event: MakeEvent) -> None:
    event, judge = open_event(make_event, "a"), Fixed(0.5)
    halved = lambda score: SeverityScore({n: s / 2 for n, s in score.severities.items()})  # noqa: E731
    (filled,) = fill_severities([event], {"a": "Right."}, judge, "fixed 1", halved).events
    assert filled.severities == dict.fromkeys(CATEGORIES, 0.0) | {"temporal_error": 0.25}
    assert (filled.severity_source, filled.severity_judge) == ("scorer", "fixed 1")
    assert judge.asked == [ReportPair("Right.", event.completion, CaseContext(None, "cough"))]


def test_a_judge_that_cannot_score_leaves_severities_unknown(make_event: MakeEvent) -> None:
    event = open_event(make_event, "a")
    found = fill_severities([event], {"a": "Right."}, Fixed(None, "judge_bad_answer"))
    assert found.events == (event,)
    assert found.unknown == {"a": "judge_bad_answer"}


def test_a_judge_that_is_down_fills_nothing_in_silence(make_event: MakeEvent) -> None:
    event = open_event(make_event, "a")
    with pytest.raises(DataError, match="failed on 1 of 1 reports"):
        fill_severities([event], {"a": "Right."}, Fixed(None, "judge_unreachable"))


def test_age_and_indication_of_the_prompt_price_what_a_reader_left_out(
    make_event: MakeEvent,
) -> None:
    def filled(prompt: str) -> float | None:
        event = open_event(make_event, "a", completion="Lingular pneumonia.", prompt=prompt)
        found = fill_severities([event], {"a": "Lingular consolidation."}, RulesJudge())
        return found.events[0].total_severity

    # With a fever they are one disease, so the scorer finds nothing where the reader saw an error.
    assert filled("Indication: Fever and cough. Comparison: none.") is None
    assert filled("Indication: Fall. Comparison: none.") == 0.0625
