"""The queue of drafts: nothing answered is lost, doubled, or given to two readers."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine

from negalign_train.feedback.store import FeedbackStore
from negalign_train.review.drafts import Answer, QueuedDraft, QueueError, event_id_of
from negalign_train.review.queue import LOCK_SECONDS, DraftQueue, QueueState, Taken
from negalign_train.storage.database import open_database
from negalign_train.vocabulary.errors import FeedbackError
from negalign_train.vocabulary.records import ErrorMark, Generator, Reader

FIRST = QueuedDraft(
    draft_id="d1",
    case_id="c1",
    prompt="Indication: cough.",
    draft="Small left effusion.",
    generator=Generator("negalign-embedded", "c0001-dpo-1"),
    priority=2.0,
    reason="random",
    thread_id="d1",
    decoding={"method": "greedy"},
)
SECOND = replace(FIRST, draft_id="d2", case_id="c2", thread_id="d2", priority=1.0)
REJECT = Answer("reject", (ErrorMark("false_positive", 0.5, (0, 5)),), seconds=3.0)


class Clock:
    """Time that stands still until it is told to move."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 2, 12, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def move(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def engine(database_url: str) -> Engine:
    return open_database(database_url)


@pytest.fixture
def queue(engine: Engine, clock: Clock) -> DraftQueue:
    queue = DraftQueue(engine, clock)
    queue.add([FIRST, SECOND])
    return queue


def test_the_highest_priority_comes_first_and_stays_until_it_is_answered(queue: DraftQueue) -> None:
    assert queue.claim("r1") == FIRST
    assert queue.claim("r1") == FIRST
    queue.answer("d1", "r1", REJECT)
    assert queue.claim("r1") == SECOND


def test_two_readers_never_have_one_draft(queue: DraftQueue) -> None:
    assert [queue.claim("r1"), queue.claim("r2"), queue.claim("r3")] == [FIRST, SECOND, None]
    assert queue.state() == QueueState(waiting=2, locked=2, answered=0)
    with pytest.raises(QueueError, match="not with reader r2"):
        queue.answer("d1", "r2", REJECT)


def test_a_lock_runs_out(queue: DraftQueue, clock: Clock) -> None:
    queue.claim("r1")
    clock.move(LOCK_SECONDS + 1)
    assert queue.claim("r2") == FIRST
    with pytest.raises(QueueError, match="not with reader r1"):
        queue.answer("d1", "r1", REJECT)


def test_released_drafts_are_for_anyone(queue: DraftQueue) -> None:
    queue.claim("r1")
    assert queue.release("r1") == 1
    assert queue.claim("r2") == FIRST


def test_an_answer_is_the_event_that_its_draft_asked_for(
    queue: DraftQueue, engine: Engine, clock: Clock
) -> None:
    queue.claim("r1")
    clock.move(12)
    taken = queue.answer("d1", "r1", replace(REJECT, seconds=None, edited="No effusion."))
    assert taken == Taken("review-d1", 1, new=True)
    ((_, event),) = FeedbackStore(engine).events()
    assert event.event_id == event_id_of("d1")
    assert (event.case_id, event.prompt, event.completion) == ("c1", FIRST.prompt, FIRST.draft)
    assert event.reader == Reader("r1", seconds=12.0, saw_ai=True)
    assert event.generator == FIRST.generator
    assert (event.grade, event.edited, event.thread_id, event.turn) == (
        "reject", "No effusion.", "d1", 1,
    )  # fmt: skip
    assert event.errors == REJECT.errors


def test_the_same_answer_twice_adds_nothing(queue: DraftQueue, engine: Engine) -> None:
    queue.claim("r1")
    first = queue.answer("d1", "r1", REJECT)
    assert queue.answer("d1", "r1", REJECT) == replace(first, new=False)
    assert len(FeedbackStore(engine).events()) == 1
    with pytest.raises(QueueError, match="another answer"):
        queue.answer("d1", "r1", Answer("accept"))


def test_an_illegal_answer_changes_neither_log_nor_queue(queue: DraftQueue, engine: Engine) -> None:
    queue.claim("r1")
    beyond = Answer("reject", (ErrorMark("false_positive", 0.5, (0, 999)),))
    with pytest.raises(FeedbackError):
        queue.answer("d1", "r1", beyond)
    assert FeedbackStore(engine).events() == []
    assert queue.claim("r1") == FIRST


def test_a_failing_queue_takes_the_event_back(
    queue: DraftQueue, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue.claim("r1")

    def dies(*_: object, **__: object) -> None:
        raise RuntimeError("killed")

    monkeypatch.setattr("negalign_train.review.queue._set", dies)
    with pytest.raises(RuntimeError):
        queue.answer("d1", "r1", REJECT)
    assert FeedbackStore(engine).events() == []


def test_an_answer_taken_back_is_revised_by_its_reader_alone(
    queue: DraftQueue, engine: Engine, clock: Clock
) -> None:
    queue.claim("r1")
    queue.answer("d1", "r1", REJECT)
    with pytest.raises(QueueError, match="no answer of reader r2"):
        queue.reopen("d1", "r2")
    queue.reopen("d1", "r1")
    clock.move(LOCK_SECONDS + 1)
    assert queue.claim("r2") == SECOND
    assert queue.claim("r1") == FIRST
    assert queue.answer("d1", "r1", Answer("accept")) == Taken("review-d1", 2, new=True)
    assert [event.grade for _, event in FeedbackStore(engine).events()] == ["accept"]


def test_a_repeat_waits_for_the_draft_it_copies(queue: DraftQueue) -> None:
    again = replace(FIRST, draft_id="d1-2", thread_id="d1-2", priority=9.0, kind="repeat")
    queue.add([replace(again, same_as="d1", reason="blinded")])
    shown = queue.claim("r1")
    assert shown == FIRST
    queue.answer("d1", "r1", REJECT)
    shown = queue.claim("r1")
    assert shown is not None
    assert shown.draft_id == "d1-2"


def test_a_draft_is_queued_once(queue: DraftQueue) -> None:
    queue.claim("r1")
    queue.answer("d1", "r1", REJECT)
    added = queue.add([FIRST, SECOND])
    assert (added.queued, added.known) == (0, 2)
    assert queue.state() == QueueState(waiting=1, locked=0, answered=1)
