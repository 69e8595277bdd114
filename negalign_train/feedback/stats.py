"""What the log holds, per reader and overall: counts and times, never text."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median

from negalign_train.vocabulary.approval import usable_edit
from negalign_train.vocabulary.records import CATEGORIES, Event, Grade

GRADES: tuple[Grade, ...] = ("accept", "partial", "reject")


@dataclass(frozen=True)
class ReaderStats:
    """One reader's part of the log.

    ``share`` is of all events, in [0, 1]. ``mean_severity`` is the mean S of the events whose
    severities are known, ``median_seconds`` of those whose time was measured; None without any.
    ``near_duplicates`` counts events on a completion that this reader had already graded for the
    same case, apart from capitals, spacing and punctuation.
    """

    reader_id: str
    events: int
    share: float
    grades: Mapping[Grade, int]
    mean_severity: float | None
    median_seconds: float | None
    near_duplicates: int


@dataclass(frozen=True)
class CategoryStats:
    """``events`` with a mark of this category that is not of severity 0 (one without a severity
    counts), and its mean severity over all events whose severities are known.
    """

    category: str
    events: int
    mean_severity: float | None


@dataclass(frozen=True)
class GeneratorStats:
    """What wrote the reports: ``adapter`` None is the bare base. ``share`` is of all events."""

    base: str
    adapter: str | None
    events: int
    share: float


@dataclass(frozen=True)
class LogStats:
    """The whole log. ``edited`` events carry an edit that changes something, ``edit_types`` of them
    say what kind; ``unscored`` ones have no severities yet.
    """

    events: int
    cases: int
    threads: int
    edited: int
    edit_types: Mapping[str, int]
    unscored: int
    grades: Mapping[Grade, int]
    mean_severity: float | None
    categories: tuple[CategoryStats, ...]
    readers: tuple[ReaderStats, ...]
    generators: tuple[GeneratorStats, ...]


def log_stats(events: Sequence[Event]) -> LogStats:
    """Statistics of the newest revisions of a log. Readers and generators with most events come
    first.
    """
    by_reader: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        by_reader[event.reader.id].append(event)
    readers = [_reader_stats(name, graded, len(events)) for name, graded in by_reader.items()]
    edits = [event for event in events if usable_edit(event) is not None]
    kinds = Counter(event.edit_type for event in edits if event.edit_type is not None)
    return LogStats(
        events=len(events),
        cases=len({event.case_id for event in events}),
        threads=len({event.thread_id for event in events if event.thread_id is not None}),
        edited=len(edits),
        edit_types=dict(sorted(kinds.items())),
        unscored=sum(event.severities is None for event in events),
        grades=_grades(events),
        mean_severity=_mean_severity(events),
        categories=tuple(_category_stats(name, events) for name in CATEGORIES),
        readers=tuple(sorted(readers, key=lambda reader: (-reader.events, reader.reader_id))),
        generators=_generators(events),
    )


def _generators(events: Sequence[Event]) -> tuple[GeneratorStats, ...]:
    counts = Counter((event.generator.base, event.generator.adapter) for event in events)
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0][0], item[0][1] or ""))
    return tuple(
        GeneratorStats(base, adapter, count, count / len(events))
        for (base, adapter), count in ordered
    )


def _reader_stats(reader_id: str, events: Sequence[Event], log_events: int) -> ReaderStats:
    seconds = [event.reader.seconds for event in events if event.reader.seconds is not None]
    graded = {(event.case_id, _words(event.completion)) for event in events}
    return ReaderStats(
        reader_id=reader_id,
        events=len(events),
        share=len(events) / log_events,
        grades=_grades(events),
        mean_severity=_mean_severity(events),
        median_seconds=median(seconds) if seconds else None,
        near_duplicates=len(events) - len(graded),
    )


def _category_stats(category: str, events: Sequence[Event]) -> CategoryStats:
    values = [event.severities[category] for event in events if event.severities is not None]
    return CategoryStats(
        category=category,
        events=sum(
            any(mark.category == category and mark.severity != 0 for mark in event.errors)
            for event in events
        ),
        mean_severity=fmean(values) if values else None,
    )


def _grades(events: Sequence[Event]) -> dict[Grade, int]:
    counts = Counter(event.grade for event in events)
    return {grade: counts[grade] for grade in GRADES}


def _mean_severity(events: Sequence[Event]) -> float | None:
    totals = [event.total_severity for event in events]
    known = [total for total in totals if total is not None]
    return fmean(known) if known else None


def _words(completion: str) -> tuple[str, ...]:
    return tuple(re.findall(r"\w+", completion.casefold()))
