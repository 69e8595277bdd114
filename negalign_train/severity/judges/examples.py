"""Events whose readers gave severities, as material to compare, calibrate and train judges."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from negalign_train.severity.judges.base import ReportPair
from negalign_train.severity.reading.context import NO_CONTEXT, CaseContext, context_of
from negalign_train.vocabulary.approval import approved_text, text_key, usable_edit
from negalign_train.vocabulary.case_ids import CASE_OF_TWO_STUDIES, cases_of_two_studies
from negalign_train.vocabulary.records import CATEGORIES, Event, Refusals


@dataclass(frozen=True)
class GradedExample:
    """One report, what it is judged against, and what its reader said of it."""

    event_id: str
    case_id: str
    group: str
    reference: str
    candidate: str
    severities: Mapping[str, float]
    context: CaseContext = NO_CONTEXT

    @property
    def pair(self) -> ReportPair:
        """What a judge is asked."""
        return ReportPair(self.reference, self.candidate, self.context)

    @property
    def total(self) -> float:
        """The reader's S."""
        return float(sum(self.severities.values()))

    @property
    def row(self) -> tuple[float, ...]:
        """The nine severities in the order of ``CATEGORIES``."""
        return tuple(self.severities[name] for name in CATEGORIES)


def _approved(events: Iterable[Event]) -> dict[str, list[str]]:
    """Case id to the texts that readers approved of and none rejected, last turns first."""
    events = list(events)
    rejected = {(e.case_id, text_key(e.completion)) for e in events if e.grade == "reject"}
    texts: dict[str, list[str]] = defaultdict(list)
    ordered = sorted(events, key=lambda e: (e.turn, e.created_at, e.event_id), reverse=True)
    for event in ordered:
        text = approved_text(event)
        if text is not None and (event.case_id, text_key(text)) not in rejected:
            texts[event.case_id].append(text)
    return texts


def graded_examples(
    events: Sequence[Event], groups: Mapping[str, str], *, own_edit_only: bool = False
) -> tuple[list[GradedExample], Refusals]:
    """Examples of the events whose severities a reader gave, in order of event id.

    What a report is judged against is its reader's own edit; else another text of the same case
    that a reader approved of. A text is never judged against itself: every judge is right there.

    Args:
        events: one revision of each event.
        groups: split group of each case id.
        own_edit_only: leave out what has no edit of its own: only there did the reader who gave
            the severities also say what is right.

    Returns:
        The examples, and how many events were left out, by reason: ``case_of_two_studies``,
        ``no_reader_severities``, ``no_reference``.
    """
    mixed = cases_of_two_studies(events)
    approved = _approved(events)
    examples: list[GradedExample] = []
    refused: Counter[str] = Counter()
    for event in sorted(events, key=lambda event: event.event_id):
        if event.case_id in mixed:
            refused[CASE_OF_TWO_STUDIES] += 1
            continue
        if event.severities is None or event.severity_source != "reader":
            refused["no_reader_severities"] += 1
            continue
        others = [] if own_edit_only else approved[event.case_id]
        reference = usable_edit(event) or next(
            (text for text in others if text_key(text) != text_key(event.completion)), None
        )
        if reference is None:
            refused["no_reference"] += 1
            continue
        group = groups[event.case_id]
        examples.append(
            GradedExample(
                event.event_id,
                event.case_id,
                group,
                reference,
                event.completion,
                event.severities,
                context_of(event.prompt),
            )
        )
    return examples, Refusals(dict(refused))
