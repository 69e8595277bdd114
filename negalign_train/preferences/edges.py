"""Graded events to candidate pairs (DESIGN 2.3, middle column), before caps and weights. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from negalign_train.preferences.view import LogView, threads
from negalign_train.storage.fingerprint import fingerprint
from negalign_train.vocabulary.approval import edit_refusal, known_severity, text_key, usable_edit
from negalign_train.vocabulary.marks import priced_marks
from negalign_train.vocabulary.records import ErrorMark, Event, Prompt


@dataclass(frozen=True)
class Edge:
    """One candidate pair: ``chosen`` over ``rejected`` for ``prompt``.

    ``delta_S`` is S(rejected) - S(chosen) and may still be too small. ``errors`` are the marks on
    the rejected text, ``trust`` is the lower trust of the readers who graded the two texts.
    """

    case_id: str
    prompt: Prompt
    chosen: str
    rejected: str
    delta_S: float
    trust: float
    errors: tuple[ErrorMark, ...]
    fresh: bool
    """Whether this cycle makes the pair; another one made it where it is not."""

    @property
    def identity(self) -> str:
        """Fingerprint of case, prompt and texts: the same pair built twice has the same one."""
        return fingerprint([self.case_id, self.prompt, self.chosen, self.rejected])


def build_edges(view: LogView, trust: Mapping[str, float], refused: Counter[str]) -> list[Edge]:
    """Every candidate pair of the table: edits, accepted completions of a case, threads.

    Fresh events that give no edge are counted in ``refused``. Every pair of a thread stands under
    its first prompt, so that they share one prefix tree.
    """
    events = view.rooted()
    edges: list[Edge] = []
    accepted: dict[tuple[str, str], list[Event]] = defaultdict(list)
    for event in events:
        if event.grade == "accept":
            accepted[view.place(event)].append(event)
    for event in events:
        fresh = view.is_fresh(event)
        reason = edit_refusal(event)
        if reason is not None:
            refused[reason] += fresh
        if event.grade == "accept":
            continue
        edited = usable_edit(event)
        if known_severity(event) is None:
            refused["no_severity"] += fresh
        elif edited is None:
            better = _accepted_for(event, accepted[view.place(event)], view)
            if better is not None:
                edges.append(_edge(better, event, view, trust))
            elif event.thread_id is None:
                refused["no_accepted_completion"] += fresh
        else:
            edges.append(_edit_edge(event, edited, view, trust))
    for turns in threads(events):
        edges += _thread_edges(turns, view, trust, refused)
    return edges


def _thread_edges(
    turns: Sequence[Event], view: LogView, trust: Mapping[str, float], refused: Counter[str]
) -> list[Edge]:
    """Later turn over earlier turn, for every two turns of known S; all under the first prompt.

    A rejected turn is never chosen, even where its S is the lower one.
    """
    known = [event for event in turns if known_severity(event) is not None]
    edges = []
    for earlier, later in combinations(known, 2):
        same_text = text_key(earlier.completion) == text_key(later.completion)
        if earlier.turn == later.turn or same_text:
            continue
        if later.grade == "reject":
            refused["rejected_turn"] += view.is_fresh(earlier, later)
        else:
            edges.append(_edge(later, earlier, view, trust))
    return edges


def _accepted_for(event: Event, accepted: Sequence[Event], view: LogView) -> Event | None:
    """The accepted completion to set against this one: of its own case id first, then the earliest
    cycle's, so that a later accept makes no second pair, then by event id.
    """

    def rank(other: Event) -> tuple[bool, int, str]:
        return other.case_id != event.case_id, view.cycles[other.event_id], other.event_id

    others = [a for a in accepted if text_key(a.completion) != text_key(event.completion)]
    return min(others, key=rank, default=None)


def _edit_edge(event: Event, edited: str, view: LogView, trust: Mapping[str, float]) -> Edge:
    return Edge(
        case_id=event.case_id,
        prompt=view.roots[event.event_id],
        chosen=edited,
        rejected=event.completion,
        delta_S=known_severity(event) or 0.0,  # the reader's own text has S = 0
        trust=trust.get(event.reader.id, 1.0),
        errors=priced_marks(event),
        fresh=view.is_fresh(event),
    )


def _edge(better: Event, worse: Event, view: LogView, trust: Mapping[str, float]) -> Edge:
    return Edge(
        case_id=worse.case_id,
        prompt=view.roots[worse.event_id],
        chosen=better.completion,
        rejected=worse.completion,
        delta_S=(known_severity(worse) or 0.0) - (known_severity(better) or 0.0),
        trust=min(trust.get(event.reader.id, 1.0) for event in (better, worse)),
        errors=priced_marks(worse),
        fresh=view.is_fresh(better, worse),
    )
