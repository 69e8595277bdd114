"""The log as preferences see it: root prompts of threads, what counts as one case, what is new."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from negalign_train.preferences.joining import Joined
from negalign_train.storage.fingerprint import fingerprint
from negalign_train.vocabulary.approval import approved_text, text_key
from negalign_train.vocabulary.errors import PreferenceError
from negalign_train.vocabulary.records import Event, Prompt

Verdict = tuple[str, tuple[str, ...]]
"""A case and a text's key: what a reader approved or disapproved of."""


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


def threads(events: Iterable[Event]) -> list[list[Event]]:
    """The turns of every thread in order; a thread is one negotiation of one case."""
    turns: dict[tuple[str, str], list[Event]] = defaultdict(list)
    for event in events:
        if event.thread_id is not None:
            turns[event.case_id, event.thread_id].append(event)
    return [sorted(turns[key], key=lambda e: (e.turn, e.event_id)) for key in sorted(turns)]


def root_events(events: Iterable[Event]) -> dict[str, Event]:
    """Event id to the event its negotiation began with: itself, outside a thread.

    Give the whole log: a first turn may have come cycles ago. A thread without its first turn has
    no entry, since the prompt of a later one holds the critique.
    """
    everything = list(events)
    roots = {event.event_id: event for event in everything if event.thread_id is None}
    for turns in threads(everything):
        if turns[0].turn == 1:
            roots |= {event.event_id: turns[0] for event in turns}
    return roots


@dataclass(frozen=True)
class LogView:
    """The newest revisions of a log's events, by id, and what joins them.

    ``roots`` maps event ids to the prompts that their negotiations began with, where these are
    known. ``cases`` maps every case id to the name of the case it is. ``cycles`` maps event ids to
    the cycle that makes their examples: the one that read the event, or its first turn if later.
    """

    events: tuple[Event, ...]
    roots: Mapping[str, Prompt]
    cases: Mapping[str, str]
    cycles: Mapping[str, int]
    cycle: int

    def rooted(self) -> list[Event]:
        """The events whose root prompt is known: only they can train."""
        return [event for event in self.events if event.event_id in self.roots]

    def is_fresh(self, *events: Event) -> bool:
        """Whether the present cycle makes the example of ``events``: that of the newest one."""
        return max(self.cycles[event.event_id] for event in events) == self.cycle

    def verdict(self, case_id: str, text: str) -> Verdict:
        return self.cases[case_id], text_key(text)

    def place(self, event: Event) -> tuple[str, str]:
        """Case and root prompt: completions of one place can be set against each other."""
        return self.cases[event.case_id], prompt_key(self.roots[event.event_id])

    def contradicted(self) -> frozenset[Verdict]:
        """Texts that one event approves and another disapproves of, for one case.

        Grades count here and severities do not: a text of no known S is disapproved of all the
        same.
        """
        texts = ((event, approved_text(event)) for event in self.events)
        approved = {self.verdict(event.case_id, text) for event, text in texts if text is not None}
        return frozenset(approved & self._graded({"partial", "reject"}))

    def rejected(self) -> frozenset[Verdict]:
        """Texts that a reader rejected: none of them is ever chosen."""
        return frozenset(self._graded({"reject"}))

    def _graded(self, grades: set[str]) -> set[Verdict]:
        graded = (event for event in self.events if event.grade in grades)
        return {self.verdict(event.case_id, event.completion) for event in graded}


def view_log(
    events: Iterable[Event], cycle: int, cycles: Mapping[str, int], *, join_equal_prompts: bool
) -> LogView:
    """The view that cycle ``cycle`` has of a log. ``cycles`` tells which cycle read the newest
    revision of an event; one that it does not name is of the present cycle.

    A case is a case: two patients may have one prompt. With ``join_equal_prompts`` the case source
    says that a prompt holds all there is to know, and cases of one root prompt are one case.
    """
    newest = newest_events(events)
    roots = root_events(newest)
    read_in = {event.event_id: cycles.get(event.event_id, cycle) for event in newest}
    return LogView(
        events=tuple(newest),
        roots={name: root.prompt for name, root in roots.items()},
        cases=_same_cases(newest, roots if join_equal_prompts else {}),
        cycles={
            name: max(own, read_in[roots[name].event_id]) if name in roots else own
            for name, own in read_in.items()
        },
        cycle=cycle,
    )


def _same_cases(events: Sequence[Event], roots: Mapping[str, Event]) -> dict[str, str]:
    """Case id to the name of the case, the smallest id among those that share a root prompt."""
    joined = Joined()
    for event in events:
        joined.find(("case", event.case_id))
        if event.event_id in roots:
            joined.join(
                ("case", event.case_id), ("prompt", prompt_key(roots[event.event_id].prompt))
            )
    return {
        case_id: component[0] for component in joined.components("case") for case_id in component
    }
