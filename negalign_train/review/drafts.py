"""What the queue holds and what a reader answers: frozen records, and the rows they lie in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from sqlalchemy import BigInteger, Double, Integer, Text, column, table

from negalign_train.feedback.schema import event_to_dict, parse_event
from negalign_train.storage.fingerprint import fingerprint
from negalign_train.vocabulary.errors import NegalignError
from negalign_train.vocabulary.records import ErrorMark, Event, Generator, Grade, Prompt

Order = Literal["random", "uncertain"]
ORDERS = get_args(Order)
Reason = Literal["random", "uncertain", "blinded", "revision"]
"""Why a draft stands where it does: drawn, doubtful, an audit's second reading, or the answer to a
critique."""
Kind = Literal["plain", "gold", "repeat"]
"""A draft like any other, one whose right grade is known, or a second copy. Readers never see it.
"""

DRAFTS = table(
    "drafts",
    *(
        column(name, Text)
        for name in (
            "draft_id", "case_id", "prompt", "draft", "base", "adapter", "decoding", "reason",
            "kind", "same_as", "gold", "thread_id", "state", "reader_id", "answer_sha256",
            "queued_at",
        )
    ),
    *(column(name, Double) for name in ("priority", "locked_until", "shown_at")),
    column("turn", Integer),
    column("revision", BigInteger),
)  # fmt: skip


class QueueError(NegalignError):
    """The queue of drafts cannot give or take what was asked."""


@dataclass(frozen=True)
class QueuedDraft:
    """One report that waits for a reader. A higher ``priority`` comes first.

    ``decoding`` is how the report was generated. ``same_as`` names the draft that a repeat is a
    copy of, ``gold`` is the graded event that a gold item's answer is measured against.
    """

    draft_id: str
    case_id: str
    prompt: Prompt
    draft: str
    generator: Generator
    priority: float
    reason: Reason
    thread_id: str
    decoding: Mapping[str, Any] = field(default_factory=dict)
    kind: Kind = "plain"
    same_as: str | None = None
    gold: Event | None = None
    turn: int = 1


@dataclass(frozen=True)
class Answer:
    """What a reader says of a draft. ``seconds`` None: the time since it was shown is taken."""

    grade: Grade
    errors: tuple[ErrorMark, ...] = ()
    edited: str | None = None
    seconds: float | None = None
    saw_ai: bool = True


def row_of(draft: QueuedDraft, queued_at: str) -> dict[str, Any]:
    """A draft as a new row of the queue."""
    return {
        "draft_id": draft.draft_id,
        "case_id": draft.case_id,
        "prompt": json.dumps(draft.prompt, ensure_ascii=False),
        "draft": draft.draft,
        "base": draft.generator.base,
        "adapter": draft.generator.adapter,
        "decoding": json.dumps(dict(draft.decoding), sort_keys=True),
        "priority": draft.priority,
        "reason": draft.reason,
        "kind": draft.kind,
        "same_as": draft.same_as,
        "gold": None if draft.gold is None else json.dumps(event_to_dict(draft.gold)),
        "thread_id": draft.thread_id,
        "turn": draft.turn,
        "state": "waiting",
        "revision": 0,
        "queued_at": queued_at,
    }


def draft_of(row: Mapping[str, Any]) -> QueuedDraft:
    """A row of the queue as a draft."""
    prompt = json.loads(row["prompt"])
    return QueuedDraft(
        draft_id=row["draft_id"],
        case_id=row["case_id"],
        prompt=prompt if isinstance(prompt, str) else tuple(prompt),
        draft=row["draft"],
        generator=Generator(row["base"], row["adapter"]),
        priority=row["priority"],
        reason=row["reason"],
        thread_id=row["thread_id"],
        decoding=json.loads(row["decoding"]),
        kind=row["kind"],
        same_as=row["same_as"],
        gold=None if row["gold"] is None else parse_event(json.loads(row["gold"])),
        turn=row["turn"],
    )


def draft_id_of(case_id: str, generator: Generator, decoding: Mapping[str, Any]) -> str:
    """The same case, generator and decoding give the same id: drafting goes on where it stopped."""
    parts = [case_id, generator.base, generator.adapter, dict(decoding)]
    return f"draft-{fingerprint(parts)[:16]}"


def event_id_of(draft_id: str) -> str:
    """The id of the feedback event that answers a draft."""
    return f"review-{draft_id}"
