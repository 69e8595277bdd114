"""Reader and log statistics, worked out by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from negalign_train.feedback.stats import (
    CategoryStats,
    GeneratorStats,
    LogStats,
    ReaderStats,
    log_stats,
)
from negalign_train.vocabulary.records import CATEGORIES, ErrorMark, Event, Generator, Reader

MakeEvent = Callable[..., Event]


def test_statistics_of_a_small_log(make_event: MakeEvent) -> None:
    """r-1: S 0.5 and 0, 10 s and 30 s. r-2: one unscored reject, time unknown. Mean S 0.25."""
    one, two = Reader("r-1", seconds=10.0), Reader("r-1", seconds=30.0)
    events = [
        make_event(event_id="a", reader=one, thread_id="t", edit_type="correction"),
        make_event(event_id="b", reader=two, grade="accept", case_id="c-2", thread_id="t"),
        make_event(event_id="c", reader=Reader("r-2"), grade="reject", errors=(), case_id="c-3"),
    ]
    found = log_stats(events)
    assert found.readers == (
        ReaderStats("r-1", 2, 2 / 3, {"accept": 1, "partial": 1, "reject": 0}, 0.25, 20.0, 0),
        ReaderStats("r-2", 1, 1 / 3, {"accept": 0, "partial": 0, "reject": 1}, None, None, 0),
    )
    assert found == LogStats(
        events=3,
        cases=3,
        threads=1,
        edited=2,
        edit_types={"correction": 1},
        unscored=1,
        grades={"accept": 1, "partial": 1, "reject": 1},
        mean_severity=0.25,
        categories=tuple(
            CategoryStats(name, 1, 0.25) if name == "wrong_location" else CategoryStats(name, 0, 0)
            for name in CATEGORIES
        ),
        readers=found.readers,
        generators=(GeneratorStats("embedded", "c0003-dpo-1f9a", 3, 1.0),),
    )


@pytest.mark.parametrize(
    ("change", "near_duplicates"),
    [
        ({"completion": "FINDINGS: small left pleural effusion,  the heart"}, 1),
        ({"completion": "Findings: small right pleural effusion. The heart"}, 0),
        ({"completion": "Findings: small left pleural effusion. The heart", "case_id": "x"}, 0),
    ],
)
def test_a_reader_grading_one_report_twice_is_counted(
    make_event: MakeEvent, change: dict[str, str], near_duplicates: int
) -> None:
    """Same words on the same case count, whatever case and punctuation; other cases do not."""
    first = make_event(event_id="a", completion="Findings: small left pleural effusion. The heart")
    found = log_stats([first, make_event(event_id="b", **change)])
    assert [reader.near_duplicates for reader in found.readers] == [near_duplicates]


def test_two_readers_on_one_report_are_no_duplicates(make_event: MakeEvent) -> None:
    found = log_stats([make_event(), make_event(event_id="b", reader=Reader("other"))])
    assert [reader.near_duplicates for reader in found.readers] == [0, 0]


def test_a_category_counts_events_not_marks(make_event: MakeEvent) -> None:
    marks = (ErrorMark("device_error", 0.25), ErrorMark("device_error", 0.25))
    found = log_stats([make_event(errors=marks), make_event(event_id="b", grade="accept")])
    assert found.categories[CATEGORIES.index("device_error")] == CategoryStats(
        "device_error", 1, 0.25
    )


def test_an_empty_log_has_unknown_means_not_zeros() -> None:
    found = log_stats([])
    assert (found.events, found.mean_severity, found.readers) == (0, None, ())
    assert {category.mean_severity for category in found.categories} == {None}


def test_shares_by_generator_count_base_and_adapter(make_event: MakeEvent) -> None:
    writers = [("m", "a1"), ("m", None), ("gpt", None), ("gpt", None)]
    events = [
        make_event(event_id=f"e{n}", generator=Generator(base, adapter))
        for n, (base, adapter) in enumerate(writers)
    ]
    assert log_stats(events).generators == (
        GeneratorStats("gpt", None, 2, 0.5),
        GeneratorStats("m", None, 1, 0.25),
        GeneratorStats("m", "a1", 1, 0.25),
    )
