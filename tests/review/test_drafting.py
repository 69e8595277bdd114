"""Drafts for people: which come first, what is put beside them, and going on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from negalign_train.review.drafting import Drafting, Written, doubt, gold_drafts, write_drafts
from negalign_train.review.drafts import Answer, QueueError
from negalign_train.review.queue import DraftQueue
from negalign_train.storage.database import open_database
from negalign_train.vocabulary.records import Case, Event, Generator, Prompt

CASES = [Case(f"c{n}", f"c{n}", f"Indication: {n}.", "Normal.") for n in range(6)]
SETTINGS = Drafting(Generator("base"), {"method": "greedy"}, chunk=2)
GOOD = "No pneumothorax. The heart is normal in size."


@pytest.fixture
def queue(tmp_path: Path) -> DraftQueue:
    return DraftQueue(open_database(f"sqlite:///{tmp_path / 'negalign.db'}"))


def write(prompts: Sequence[Prompt]) -> list[Written]:
    """Entropy grows with the case's number; case 3 has no draft."""
    numbers = [int(str(prompt).split()[1].rstrip(".")) for prompt in prompts]
    return [Written("" if n == 3 else GOOD, entropy=float(n)) for n in numbers]


def read_all(queue: DraftQueue) -> list[str]:
    """Case ids in the order in which a reader gets them."""
    order = []
    while (draft := queue.claim("r1")) is not None:
        order.append(draft.case_id)
        queue.answer(draft.draft_id, "r1", Answer("accept"))
    return order


def test_every_case_is_accounted_for(queue: DraftQueue) -> None:
    done = write_drafts(queue, CASES, write, Drafting(Generator("base"), {}, audit_share=0))
    assert (done.cases, done.queued, done.empty, done.known, done.repeats) == (6, 5, 1, 0, 0)


def test_uncertain_drafts_come_first(queue: DraftQueue) -> None:
    uncertain = Drafting(Generator("base"), {}, order="uncertain", audit_share=0)
    write_drafts(queue, CASES, write, uncertain)
    assert read_all(queue) == ["c5", "c4", "c2", "c1", "c0"]


def test_flags_make_a_draft_doubtful() -> None:
    contradiction = "There is a pneumothorax. There is no pneumothorax."
    assert doubt(contradiction, "", 0.2) >= doubt(GOOD, "", 0.2) + 1
    assert doubt(GOOD, "", None) == 0


def test_audited_drafts_come_up_again_after_all_others(queue: DraftQueue) -> None:
    done = write_drafts(queue, CASES, write, Drafting(Generator("base"), {}, audit_share=1.0))
    assert done.repeats == 5
    order = read_all(queue)
    assert sorted(order[:5]) == sorted(order[5:]) == ["c0", "c1", "c2", "c4", "c5"]


def test_a_stopped_run_goes_on_with_the_rest(queue: DraftQueue) -> None:
    asked: list[int] = []

    def stopped(prompts: Sequence[Prompt]) -> list[Written]:
        if len(asked) == 1:
            raise KeyboardInterrupt
        asked.append(len(prompts))
        return write(prompts)

    with pytest.raises(KeyboardInterrupt):
        write_drafts(queue, CASES, stopped, SETTINGS)
    done = write_drafts(queue, CASES, write, SETTINGS)
    assert (done.known, done.queued, done.empty) == (2, 3, 1)


def test_gold_items_keep_their_graded_event_and_show_nothing_of_it(
    queue: DraftQueue, make_event: Callable[..., Event]
) -> None:
    (item,) = gold_drafts([make_event()], seed=1)
    queue.add([item])
    claimed = queue.claim("r1")
    assert claimed == item
    assert claimed.kind == "gold"
    assert claimed.gold == make_event()
    assert "gold" not in claimed.draft_id


def test_a_share_beyond_one_is_refused() -> None:
    with pytest.raises(QueueError, match=r"1\.5"):
        Drafting(Generator("base"), {}, audit_share=1.5)
