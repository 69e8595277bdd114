"""Drafts for people: which cases are written first, and what is put beside them unseen."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from negalign_train.cases.splits import group_fraction
from negalign_train.progress import Tick, no_tick
from negalign_train.review.drafts import Order, QueuedDraft, QueueError, draft_id_of
from negalign_train.review.queue import DraftQueue
from negalign_train.severity.alone.score import score_alone
from negalign_train.vocabulary.records import Case, Event, Generator, Prompt

UNREADABLE_FLAGS = 3
"""Doubt of a draft that the scorer cannot read, in flags."""


@dataclass(frozen=True)
class Written:
    """A draft as a generator gives it. ``entropy`` is the mean over its tokens in nats, None where
    the generator does not say.
    """

    text: str
    entropy: float | None = None


Writer = Callable[[Sequence[Prompt]], Sequence[Written]]


@dataclass(frozen=True)
class Drafting:
    """How drafts are written and ordered. ``audit_share`` of them come up a second time, unseen.

    Reports are written and queued ``chunk`` by chunk: a run that is stopped loses one at most.
    """

    generator: Generator
    decoding: Mapping[str, Any]
    order: Order = "random"
    audit_share: float = 0.05
    seed: int = 1
    chunk: int = 16

    def __post_init__(self) -> None:
        if not 0 <= self.audit_share <= 1:
            raise QueueError(f"audit share {self.audit_share} is not in [0, 1]; give 0.05")


@dataclass
class Drafted:
    """``cases = known + empty + queued``; ``repeats`` and ``gold`` were queued beside them."""

    cases: int = 0
    known: int = 0
    empty: int = 0
    queued: int = 0
    repeats: int = 0
    gold: int = 0


def doubt(text: str, prompt: Prompt, entropy: float | None) -> float:
    """How doubtful a draft is, for ``uncertain``: its mean token entropy, and one more for each
    flag of the scorer that knows no right report.
    """
    score = score_alone(text, prompt)
    flags = UNREADABLE_FLAGS if score is None else len(score.flags)
    return flags + (entropy or 0.0)


def write_drafts(
    queue: DraftQueue,
    cases: Sequence[Case],
    write: Writer,
    settings: Drafting,
    tick: Tick = no_tick,
) -> Drafted:
    """Writes the drafts that are not there yet into the queue; run again, it goes on."""
    done = Drafted(cases=len(cases))
    ids = {
        case.case_id: draft_id_of(case.case_id, settings.generator, settings.decoding)
        for case in cases
    }
    known = queue.known(ids.values())
    rest = [case for case in cases if ids[case.case_id] not in known]
    done.known = len(cases) - len(rest)
    for first in range(0, len(rest), settings.chunk):
        tick(first, len(rest))
        part = rest[first : first + settings.chunk]
        drafts: list[QueuedDraft] = []
        for case, written in zip(part, write([case.prompt for case in part]), strict=True):
            if not written.text.strip():
                done.empty += 1
                continue
            drafts.extend(_queued(case, ids[case.case_id], written, settings))
        queue.add(drafts)
        done.queued += sum(draft.kind == "plain" for draft in drafts)
        done.repeats += sum(draft.kind == "repeat" for draft in drafts)
    tick(len(rest), len(rest))
    return done


def _queued(
    case: Case, draft_id: str, written: Written, settings: Drafting
) -> Iterator[QueuedDraft]:
    drawn = group_fraction(draft_id, settings.seed)
    uncertain = settings.order == "uncertain"
    first = QueuedDraft(
        draft_id=draft_id,
        case_id=case.case_id,
        prompt=case.prompt,
        draft=written.text,
        generator=settings.generator,
        priority=1 + (doubt(written.text, case.prompt, written.entropy) if uncertain else drawn),
        reason="uncertain" if uncertain else "random",
        thread_id=draft_id,
        decoding=settings.decoding,
    )
    yield first
    if group_fraction(draft_id, settings.seed + 1) < settings.audit_share:
        yield QueuedDraft(
            draft_id=f"{draft_id}-2",
            case_id=case.case_id,
            prompt=case.prompt,
            draft=written.text,
            generator=settings.generator,
            priority=drawn,  # after all first readings, so that nobody meets it at once again
            reason="blinded",
            thread_id=f"{draft_id}-2",
            decoding=settings.decoding,
            kind="repeat",
            same_as=draft_id,
        )


def gold_drafts(events: Sequence[Event], seed: int) -> Iterator[QueuedDraft]:
    """Graded events as items whose answer is known, scattered among the other drafts."""
    for event in events:
        draft_id = f"{draft_id_of(event.case_id, event.generator, {'gold': event.event_id})}"
        yield QueuedDraft(
            draft_id=draft_id,
            case_id=event.case_id,
            prompt=event.prompt,
            draft=event.completion,
            generator=event.generator,
            priority=1 + group_fraction(draft_id, seed),
            reason="blinded",
            thread_id=draft_id,
            kind="gold",
            gold=event,
        )
