"""One import: which format each file is, what the file as a whole shows, and its entries."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from negalign_train.feedback.documents import RawRecord, Shape, read_items, shape_of
from negalign_train.feedback.entries import Entry, checked_event
from negalign_train.feedback.fields import QuarantineError, utc_text
from negalign_train.feedback.importers.formats import FORMATS, detected
from negalign_train.feedback.importers.mapping.apply import (
    REQUIRED,
    FieldMapping,
    Mapped,
    is_covered,
    leaf_paths,
    map_record,
)
from negalign_train.feedback.importers.mapping.checks import MarkSurvey
from negalign_train.feedback.importers.native import (
    NATIVE,
    native_entries,
    native_entry,
    readable_id,
    survey_lines,
)
from negalign_train.feedback.importers.record import Format, ReadingRules, Record, Sample
from negalign_train.feedback.source import InputFile, open_input
from negalign_train.vocabulary.errors import FeedbackError
from negalign_train.vocabulary.records import Event

_SHOWN_EVENTS = 5
_ZONE_HINT = "A time needs its zone: if the export leaves it out, --set time_zone=NAME. "
_SAMPLES = 20
"""Records that are looked at to tell the format; the first of them may be broken."""


@dataclass(frozen=True)
class Export:
    """Files of one format that are imported together."""

    format: Format
    sources: tuple[InputFile, ...]
    shapes: tuple[Shape, ...]
    reading: ReadingRules
    mapped: bool
    """Whether the user said something about the mapping, or the format needs one."""
    warnings: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return ", ".join(str(source.path) for source in self.sources)

    @property
    def origins(self) -> list[str]:
        """The files whose every record an import sees; standard input is another one each time."""
        return [source.origin for source in self.sources if source.spool is None]

    def entries(self) -> Iterator[Entry]:
        """Every record of the files as an event, or why it is none."""
        if self.mapped:
            for record in self.records():
                yield self._entry(record)[0]
            return
        for source, shape in zip(self.sources, self.shapes, strict=True):
            if shape == "lines":
                yield from native_entries(source)
            else:
                yield from (native_entry(item) for item in read_items(source, shape))

    def survey(self) -> Survey:
        """Reads the files once without importing anything.

        Raises:
            FeedbackError: a file is not built as its format says, no record has a required field,
                or the marks are of another scale than the log's.
        """
        survey = Survey()
        if not self.mapped and set(self.shapes) == {"lines"}:
            check_spans = self.reading.mapping.word_spans is None
            counts = [survey_lines(source, check_spans=check_spans) for source in self.sources]
            survey.records = sum(counts)
            return survey
        if not self.mapped:
            for entry in self.entries():
                survey.add(entry, None, None)
            for item in self._items():
                if isinstance(item.value, dict):
                    survey.marks.add(item.value)
        else:
            with closing(self.records()) as records:  # files are closed where one is refused
                for record in records:
                    if self.format.gives_events:
                        survey.add(*self._entry(record), record)
                    else:
                        survey.count("accepted", record.problem)
            self._refuse_missing(survey)
        survey.marks.refuse_other_scale(self.name)
        if self.reading.mapping.word_spans is None:
            survey.marks.refuse_word_spans(self.name)
        return survey

    def preview(self) -> Survey:
        """As ``survey``, with the first events and the count of every outcome also for logs."""
        survey = self.survey()
        if not survey.outcomes:
            survey = Survey()
            for entry in self.entries():
                survey.add(entry, None, None)
        return survey

    def _items(self) -> Generator[RawRecord]:
        for source, shape in zip(self.sources, self.shapes, strict=True):
            yield from read_items(source, shape)

    def records(self) -> Generator[Record]:
        """What the format makes of the files, before any mapping."""
        with closing(self._items()) as items:
            yield from self.format.records(items, self.reading)

    def _entry(self, record: Record) -> tuple[Entry, Mapped | None]:
        mapping = self.reading.mapping
        mapped, event, problem = None, None, record.problem
        try:
            if problem is None:
                mapped = map_record(record.fields, mapping)
                event = checked_event(mapped.event)
        except QuarantineError as refusal:
            problem = refusal
        entry = Entry(
            event=event,
            problem=problem,
            place=record.place,
            event_id=None if mapped is None else readable_id(mapped.event),
            num_bytes=record.num_bytes,
            counts_revisions="revision" in mapping.fields or "revision" in mapping.constants,
        )
        return entry, mapped

    def _refuse_missing(self, survey: Survey) -> None:
        missing = [name for name in REQUIRED if survey.mapped and not survey.filled[name]]
        if not missing:
            return
        names = ", ".join(missing)
        unused = ", ".join(list(survey.unmapped)[:12])
        raise FeedbackError(
            f"{self.name}: {self.format.name}: no record gives {names}. Say where each stands "
            f"(--map FILE, fields) or what holds for the whole file (--set {missing[0]}=VALUE). "
            + (_ZONE_HINT if "created_at" in missing else "")
            + (f"Fields that nothing was read from: {unused}. " if unused else "")
            + "Nothing was imported"
        )


@dataclass
class Survey:
    """What a first look at an export shows. ``outcomes`` counts accepted and refused records."""

    records: int = 0
    mapped: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    filled: Counter[str] = field(default_factory=Counter)
    unmapped: Counter[str] = field(default_factory=Counter)
    events: list[Event] = field(default_factory=list)
    marks: MarkSurvey = field(default_factory=MarkSurvey)

    def count(self, outcome: str, problem: QuarantineError | None) -> None:
        """Counts a record by its outcome, or by why it was refused."""
        self.records += 1
        self.outcomes[outcome if problem is None else problem.code] += 1

    def add(self, entry: Entry, mapped: Mapped | None, record: Record | None) -> None:
        self.count("incomplete" if entry.event is None else "accepted", entry.problem)
        if entry.event is not None and len(self.events) < _SHOWN_EVENTS:
            self.events.append(entry.event)
        if mapped is None or record is None:
            return
        self.mapped += 1
        self.marks.add(mapped.event)
        self.filled.update(name for name in REQUIRED if _holds(mapped.event, name))
        paths = set(leaf_paths(record.fields))
        self.unmapped.update(path for path in paths if not is_covered(path, mapped.used))


def _holds(event: dict[str, Any], name: str) -> bool:
    outer, _, inner = name.partition(".")
    if name == "created_at" and name in event:
        try:
            utc_text(event[name], name)
        except QuarantineError:
            return False
    return outer in event and (not inner or inner in event[outer])


def open_exports(
    paths: Sequence[Path],
    format_name: str,
    changes: FieldMapping,
    pseudonym: Callable[[str, str], str],
) -> list[Export]:
    """The files by format, in the order given; nothing is imported yet.

    Args:
        format_name: one of ``FORMATS``, or ``auto``.
        changes: what the user says of the mapping.

    Raises:
        FeedbackError: a file cannot be read, or its format is not clear.
    """
    exports: list[Export] = []
    for path in paths:
        source = open_input(path)
        shape = shape_of(source)
        samples = _samples(source, shape)
        chosen = FORMATS.get(format_name) or detected(samples, str(path), bool(_said(changes)))
        mapping = chosen.mapping.changed_by(changes)
        mapped = chosen is not NATIVE or shape in ("table", "hl7") or _said(changes)
        warning = chosen.warning(samples[0])
        export = Export(
            format=chosen,
            sources=(source,),
            shapes=(shape,),
            reading=ReadingRules(mapping, pseudonym),
            mapped=mapped,
            warnings=() if warning is None else (f"{path}: {warning}",),
        )
        last = exports[-1] if exports else None
        if last is not None and last.format is chosen and chosen.joins_files:
            exports[-1] = _joined(last, export)
        else:
            exports.append(export)
    return exports


def _joined(one: Export, other: Export) -> Export:
    return Export(
        one.format,
        one.sources + other.sources,
        one.shapes + other.shapes,
        one.reading,
        one.mapped,
        one.warnings + other.warnings,
    )


def _said(changes: FieldMapping) -> bool:
    """Whether the user changes the mapping; saying that spans count characters changes nothing."""
    return changes not in (FieldMapping(), FieldMapping(word_spans=False))


def _samples(source: InputFile, shape: Shape) -> list[Sample]:
    """The first records that can be decoded, and one of nothing where none can."""
    head = source.head()
    with closing(read_items(source, shape)) as items:
        decoded = (item.value for item in items if item.problem is None)
        first = list(islice(decoded, _SAMPLES)) or [None]
    return [Sample(shape, value, head) for value in first]
