"""Graded events to candidate pairs (DESIGN 2.3, middle column), before caps and weights. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from negalign_train.approval import edit_refusal, known_severity, text_key
from negalign_train.errors import PreferenceError
from negalign_train.fingerprint import fingerprint
from negalign_train.marks import priced_marks
from negalign_train.records import ErrorMark, Event, Prompt


@dataclass(frozen=True)
class Edge:
    """One candidate pair: ``chosen`` over ``rejected`` for ``prompt``.

    ``margin`` is dS and may still be too small. ``errors`` are the marks on the rejected text,
    ``trust`` the lower of the readers' who judged the two texts.
    """

    case_id: str
    prompt: Prompt
    chosen: str
    rejected: str
    margin: float
    trust: float
    errors: tuple[ErrorMark, ...]

    @property
    def identity(self) -> str:
        """Fingerprint of case, prompt and texts: the same pair built twice has the same one."""
        return fingerprint([self.case_id, self.prompt, self.chosen, self.rejected])


def prompt_key(prompt: Prompt) -> str:
    """Fingerprint of a prompt, white space and letter case aside: what "the same prompt" means."""
    messages = [{"content": prompt}] if isinstance(prompt, str) else list(prompt)
    return fingerprint([sorted((k, v.lower().split()) for k, v in m.items()) for m in messages])


def newest_events(events: Iterable[Event]) -> list[Event]:
    """The newest revision of every event, sorted by event id.

    Raises:
        PreferenceError: one (event_id, revision) stands for two different events.
    """
    newest: dict[str, Event] = {}
    for event in events:
        other = newest.get(event.event_id)
        if other is not None and other.revision == event.revision and other != event:
            raise PreferenceError(
                f"event {event.event_id} revision {event.revision} comes twice with different "
                "content; give the second one a higher revision"
            )
        if other is None or event.revision > other.revision:
            newest[event.event_id] = event
    return sorted(newest.values(), key=lambda event: event.event_id)


def root_prompts(events: Sequence[Event]) -> dict[str, Prompt]:
    """Event id to the prompt its negotiation began with: its own, outside a thread."""
    roots = {event.event_id: event.prompt for event in events}
    for turns in _threads(events):
        roots |= {event.event_id: turns[0].prompt for event in turns}
    return roots


def build_edges(
    events: Sequence[Event], trust: Mapping[str, float], refused: Counter[str]
) -> list[Edge]:
    """Every candidate pair of the table: edits, accepted completions of a prompt, threads.

    ``events`` are sorted and distinct. Events that give no edge are counted in ``refused``. Every
    pair of a thread stands under its first prompt, so that they share one prefix tree.
    """
    roots = root_prompts(events)
    edges: list[Edge] = []
    accepted: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        if event.grade == "accept":
            accepted[prompt_key(roots[event.event_id])].append(event)
    for event in events:
        prompt = roots[event.event_id]
        reason = edit_refusal(event)
        if reason is not None:
            refused[reason] += 1
        if event.grade == "accept":
            continue
        if known_severity(event) is None:
            refused["no_severity"] += 1
        elif event.edited is None:
            better = _accepted_for(event, accepted[prompt_key(prompt)])
            if better is not None:
                edges.append(_edge(better, event, prompt, trust))
            elif event.thread_id is None:
                refused["no_accepted_completion"] += 1
        elif reason is None:
            edges.append(_edit_edge(event, event.edited, prompt, trust))
    for turns in _threads(events):
        edges += _thread_edges(turns, trust, refused)
    return edges


def _threads(events: Sequence[Event]) -> list[list[Event]]:
    threads: dict[tuple[str, str], list[Event]] = defaultdict(list)
    for event in events:
        if event.thread_id is not None:
            threads[event.case_id, event.thread_id].append(event)
    return [
        sorted(threads[key], key=lambda event: (event.turn, event.event_id))
        for key in sorted(threads)
    ]


def _thread_edges(
    turns: Sequence[Event], trust: Mapping[str, float], refused: Counter[str]
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
            refused["rejected_turn"] += 1
        else:
            edges.append(_edge(later, earlier, turns[0].prompt, trust))
    return edges


def _accepted_for(event: Event, accepted: Sequence[Event]) -> Event | None:
    """The accepted completion to set against this one: of its own case first, then by event id."""
    others = [a for a in accepted if text_key(a.completion) != text_key(event.completion)]
    return min(others, key=lambda a: (a.case_id != event.case_id, a.event_id), default=None)


def _edit_edge(event: Event, edited: str, prompt: Prompt, trust: Mapping[str, float]) -> Edge:
    return Edge(
        case_id=event.case_id,
        prompt=prompt,
        chosen=edited,
        rejected=event.completion,
        margin=known_severity(event) or 0.0,  # the reader's own text has S = 0
        trust=trust.get(event.reader.id, 1.0),
        errors=priced_marks(event),
    )


def _edge(better: Event, worse: Event, prompt: Prompt, trust: Mapping[str, float]) -> Edge:
    return Edge(
        case_id=worse.case_id,
        prompt=prompt,
        chosen=better.completion,
        rejected=worse.completion,
        margin=(known_severity(worse) or 0.0) - (known_severity(better) or 0.0),
        trust=min(trust.get(event.reader.id, 1.0) for event in (better, worse)),
        errors=priced_marks(worse),
    )
