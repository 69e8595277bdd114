"""Severities that readers left out, by a judge, against the readers' own edits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from negalign_train.progress import Progress, silent
from negalign_train.severity.judges.base import Judge, ReportPair
from negalign_train.severity.judges.uses.asking import judge_all
from negalign_train.severity.reading.context import context_of
from negalign_train.vocabulary.marks import has_unpriced_marks, price_marks
from negalign_train.vocabulary.records import Event, Refusals, SeverityScore


@dataclass(frozen=True)
class FilledEvents:
    """Events in their order, and for those still without severities the reason, by event id:
    ``no_reference``, a reason of the judge, or ``scorer_found_nothing`` (the reader did not accept
    the report, and the judge sees no error: S is unknown, not 0).
    """

    events: tuple[Event, ...]
    unknown: Mapping[str, str]

    @property
    def refusals(self) -> Refusals:
        return Refusals(dict(sorted(Counter(self.unknown.values()).items())))


def fill_severities(
    events: Sequence[Event],
    references: Mapping[str, str],
    judge: Judge,
    label: str | None = None,
    adjust: Callable[[SeverityScore], SeverityScore] = lambda score: score,
    progress: Progress = silent,
) -> FilledEvents:
    """Gives events without severities the judge's, against ``references`` by event id.

    Prices that the reader gave stand. Events that have severities come back unchanged.

    Args:
        references: each event's right text, its reader's own edit.
        label: names judge and calibration in the record (``pricing.calibration.Calibration``).
        adjust: brings scores to the readers' scale.

    Raises:
        DataError: the judge failed on more than half of the reports.
    """
    asked = [e for e in events if e.severities is None and e.event_id in references]
    pairs = [ReportPair(references[e.event_id], e.completion, context_of(e.prompt)) for e in asked]
    answers = dict(
        zip((e.event_id for e in asked), judge_all(judge, pairs, progress=progress), strict=True)
    )
    filled: list[Event] = []
    unknown: dict[str, str] = {}
    for event in events:
        answer = answers.get(event.event_id)
        if event.severities is not None:
            filled.append(event)
        elif answer is None or answer.score is None:
            unknown[event.event_id] = "no_reference" if answer is None else str(answer.reason)
            filled.append(event)
        else:
            score = adjust(answer.score)
            if not score.total > 0 and event.grade != "accept":
                unknown[event.event_id] = "scorer_found_nothing"
                filled.append(event)
            else:
                filled.append(_priced(event, score, label))
    return FilledEvents(tuple(filled), unknown)


def _priced(event: Event, score: SeverityScore, label: str | None) -> Event:
    severities = score.severities
    if has_unpriced_marks(event.errors):
        severities = price_marks(event.errors, severities)
    return replace(event, severities=severities, severity_source="scorer", severity_judge=label)
