"""A panel of simulated readers: grades, marks, edits and threads, with noise and bias.

For the demo, tests and experiments only. The ground truth says what is wrong;
this module decides what a reader overlooks and how strictly it marks.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from negalign_train.recipe.cycle import ReaderPanel
from negalign_train.simulate.edit import mend
from negalign_train.simulate.truth import Fault, grammar_faults, reader_weight
from negalign_train.vocabulary.marks import marked_severities, summed_marks
from negalign_train.vocabulary.records import (
    Case,
    Event,
    Generator,
    Reader,
    SeverityScore,
    Source,
)
from negalign_train.vocabulary.taxonomy import finding_types, grade_of

_MAX_ROUNDS = 3
_SECONDS_PER_WORD = 0.3


class GroundTruth(Protocol):
    """What is known of the cases of one source: the faults of a report, and how to mend them."""

    def faults(self, case: Case, completion: str) -> Sequence[Fault]: ...

    def mend(self, case: Case, completion: str, faults: Sequence[Fault]) -> str: ...


@dataclass(frozen=True)
class GrammarTruth:
    """The ground truth of synthetic cases: their findings, and the grammar read backwards."""

    def faults(self, case: Case, completion: str) -> Sequence[Fault]:
        return grammar_faults(case, completion)

    def mend(self, case: Case, completion: str, faults: Sequence[Fault]) -> str:
        return mend(case, completion, faults)


def true_score(truth: GroundTruth, case: Case, completion: str) -> SeverityScore:
    """The severities that a reader without noise gives: a measure independent of the scorer."""
    return _score(case, truth.faults(case, completion))


def _score(case: Case, faults: Sequence[Fault]) -> SeverityScore:
    """The severities of these faults, and what the report got right of the case's findings."""
    marks = [fault.mark() for fault in faults]
    weights = summed_marks(marks)
    return SeverityScore(
        marked_severities(marks), error_weights=weights, correct_weight=_right(case, faults)
    )


def _right(case: Case, faults: Sequence[Fault]) -> float:
    """The weights of the findings said, each ``w * w / (w + a)`` with its own faults ``a``."""
    missing = {fault.finding for fault in faults if fault.insert}
    total = 0.0
    for finding in case.findings:
        is_artefact = finding_types()[finding.name].kind == "artefact"
        if not finding.present or is_artefact or finding.name in missing:
            continue
        weight = reader_weight(finding.name)
        wrong = sum(fault.severity for fault in faults if fault.finding == finding.name)
        total += weight * weight / (weight + wrong)
    return total


def _seen(faults: Sequence[Fault], panel: ReaderPanel, rng: random.Random) -> list[Fault]:
    """The faults this reader notices, with the severities this reader gives them."""
    noticed = []
    for fault in faults:
        overlook = min(1.0, panel.miss_rate * (1 - fault.severity) / 0.75)
        if rng.random() < overlook:
            continue
        noise = rng.gauss(0.0, panel.severity_noise) if panel.severity_noise else 0.0
        severity = min(1.0, max(0.05, fault.severity + panel.severity_bias + noise))
        noticed.append(replace(fault, severity=round(severity, 3)))
    return noticed


def _mended(
    truth: GroundTruth,
    case: Case,
    completion: str,
    all_faults: Sequence[Fault],
    seen: Sequence[Fault],
) -> str:
    """The edit, read again until only overlooked faults are left.

    Striking one sentence can bring another fault to light.
    """
    noticed = {(fault.category, fault.finding) for fault in seen}
    overlooked = {(fault.category, fault.finding) for fault in all_faults} - noticed
    text = truth.mend(case, completion, seen)
    for _ in range(_MAX_ROUNDS - 1):
        left = [f for f in truth.faults(case, text) if (f.category, f.finding) not in overlooked]
        if not left:
            break
        text = truth.mend(case, text, left)
    return text


@dataclass(frozen=True)
class Draft:
    """A report to be read, and what wrote it."""

    case: Case
    completion: str
    generator: Generator


@dataclass(frozen=True)
class PanelSession:
    """One reading of the panel: its settings, the ground truth, and the ids of its events."""

    panel: ReaderPanel
    truth: GroundTruth
    cycle: int
    seed: int
    clock: Callable[[int], str]
    """Gives the ``created_at`` of the n-th report read."""


def _event(
    draft: Draft, completion: str, faults: Sequence[Fault], session: PanelSession, number: int
) -> Event:
    rng = random.Random(f"reader:{session.seed}:{session.cycle}:{draft.case.case_id}")
    score = _score(draft.case, faults)
    assert score.quality is not None  # a reader knows what is right
    words = len(completion.split())
    return Event(
        event_id=f"sim-c{session.cycle:04d}-{draft.case.case_id}",
        revision=1,
        case_id=draft.case.case_id,
        created_at=session.clock(number),
        prompt=draft.case.prompt,
        completion=completion,
        grade=grade_of(score.quality),
        reader=Reader(
            id=f"sim-reader-{rng.randrange(session.panel.num_readers) + 1}",
            role="simulated",
            seconds=round(words * _SECONDS_PER_WORD, 1),
        ),
        generator=draft.generator,
        source=Source("simulated", f"c{session.cycle:04d}"),
        errors=tuple(fault.mark() for fault in faults),
        severities=score.severities,
        severity_source="reader",
    )


def _half_mended(
    session: PanelSession, draft: Draft, faults: Sequence[Fault], edited: str
) -> str | None:
    """The generator's answer of turn two: the worst faults mended, the rest still there."""
    worst_first = sorted(faults, key=lambda fault: -fault.severity)
    text = session.truth.mend(draft.case, draft.completion, worst_first[: len(faults) // 2])
    return text if text not in (draft.completion, edited) else None


def read_draft(draft: Draft, session: PanelSession, number: int) -> list[Event]:
    """One report as one event, or as a thread of turns whose last one is accepted."""
    case = draft.case
    rng = random.Random(f"read:{session.seed}:{session.cycle}:{case.case_id}")
    all_faults = session.truth.faults(case, draft.completion)
    faults = _seen(all_faults, session.panel, rng)
    event = _event(draft, draft.completion, faults, session, number)
    edited = None
    if faults:
        edited = _mended(session.truth, case, draft.completion, all_faults, faults)
    negotiated = rng.random() < session.panel.thread_rate and session.panel.max_turns > 1
    keeps_edit = event.grade == "partial" or rng.random() < session.panel.reject_edits
    if not faults or edited is None or edited == draft.completion:
        return [event]
    if not negotiated:
        return [replace(event, edited=edited if keeps_edit else None)]
    texts = [draft.completion]
    if session.panel.max_turns > 2 and (half := _half_mended(session, draft, faults, edited)):
        texts.append(half)
    texts.append(edited)
    return [
        _turn(replace(draft, completion=text), session, number, turn)
        for turn, text in enumerate(texts, start=1)
    ]


def _turn(draft: Draft, session: PanelSession, number: int, turn: int) -> Event:
    """One turn of a thread. All turns are read by the same reader, with the same noise."""
    rng = random.Random(f"read:{session.seed}:{session.cycle}:{draft.case.case_id}")
    faults = _seen(session.truth.faults(draft.case, draft.completion), session.panel, rng)
    event = _event(draft, draft.completion, faults, session, number)
    return replace(
        event,
        event_id=f"{event.event_id}-t{turn}",
        thread_id=f"thread-c{session.cycle:04d}-{draft.case.case_id}",
        turn=turn,
    )


def read_drafts(drafts: Sequence[Draft], session: PanelSession) -> list[Event]:
    """The events of all drafts.

    Seed, cycle and case decide an event; the order of the drafts decides its ``created_at`` alone.
    """
    return [
        event for number, draft in enumerate(drafts) for event in read_draft(draft, session, number)
    ]
