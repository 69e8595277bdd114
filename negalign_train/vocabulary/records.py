"""The frozen records that the rooms exchange. No torch, no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Grade = Literal["accept", "partial", "reject"]
EditType = Literal["correction", "addition", "clarification"]
"""What an edit did, as RADAR tells them apart: mended an error, added what was missing, or said the
same more clearly.
"""
SeveritySource = Literal["reader", "scorer"]
Message = Mapping[str, str]
Prompt = str | tuple[Message, ...]
"""Text, or chat messages of ``{role, content}``."""

CATEGORIES: tuple[str, ...] = (
    "false_positive",
    "false_negative",
    "contradictory_diagnosis",
    "artifact_overinterpretation",
    "wrong_location",
    "wrong_severity",
    "device_error",
    "temporal_error",
    "report_integrity",
)
"""The nine RadAlign categories, R1 to R9 in order (``data/taxonomy.json``)."""
QUALITY_CONSTANT = 0.25
"""What a normal report weighs in Q. Agreement with radiologists is flat from 0.125 to 0.5."""


@dataclass(frozen=True)
class Finding:
    """One observation of a study. ``name`` is an id of ``data/findings.yaml``.

    ``side`` is left, right or bilateral; ``degree`` mild, moderate or severe; ``change`` new,
    stable, improved or worse; None where the study says nothing. A device's position is its
    ``location``.
    """

    name: str
    present: bool = True
    side: str | None = None
    location: str | None = None
    degree: str | None = None
    change: str | None = None


@dataclass(frozen=True)
class Case:
    """One study: what the generator is asked, and what a right report says.

    ``group`` is the split key: cases of one study, one patient or one normalised text share it.
    ``findings`` is empty where the source holds no structured ground truth.
    """

    case_id: str
    group: str
    prompt: Prompt
    reference: str
    findings: tuple[Finding, ...] = ()
    has_prior: bool = False
    source: str = ""


@dataclass(frozen=True)
class ErrorMark:
    """One error a reader marked. ``span`` holds character offsets [start, end).

    ``severity`` is None where the reader did not say how bad it is: the mark counts, and a scorer
    prices it (``marks.price_marks``).
    """

    category: str
    severity: float | None
    span: tuple[int, int] | None = None
    comment: str | None = None


@dataclass(frozen=True)
class Generator:
    """What wrote a completion: the base model and the adapter on it (None: the bare base)."""

    base: str
    adapter: str | None = None


DEFAULT_ROLE = "radiologist"


@dataclass(frozen=True)
class Reader:
    """Who graded. ``seconds`` is the time spent, None where it was not measured."""

    id: str
    role: str = DEFAULT_ROLE
    seconds: float | None = None
    saw_ai: bool = True


@dataclass(frozen=True)
class Source:
    """Where an event came from: the system, and its own reference there."""

    system: str
    ref: str = ""


@dataclass(frozen=True)
class Event:
    """One graded report of the feedback log, schema ``negalign.feedback/1`` (DESIGN 2.1).

    ``severities`` is None where the reader gave no error marks at all on a report that was not
    accepted, or a mark without a severity; the scorer then fills it. ``severity_source`` is reader
    where every number is the reader's, and scorer where any is the scorer's.
    """

    event_id: str
    revision: int
    case_id: str
    created_at: str
    prompt: Prompt
    completion: str
    grade: Grade
    reader: Reader
    generator: Generator
    source: Source
    errors: tuple[ErrorMark, ...] = ()
    edited: str | None = None
    edit_type: EditType | None = None
    """What kind of change the edit is, where the reader or the system said so."""
    thread_id: str | None = None
    turn: int = 1
    study_id: str | None = None
    patient_id: str | None = None
    """Cases of one study or one patient fall on one side of every split."""
    severities: Mapping[str, float] | None = None
    severity_source: SeveritySource | None = None
    severity_judge: str | None = None
    """Which scorer, in which version and calibration, where ``severity_source`` is scorer."""

    @property
    def total_severity(self) -> float | None:
        """S, the sum of the nine severities, in [0, 9]; None where unknown."""
        return None if self.severities is None else float(sum(self.severities.values()))


@dataclass(frozen=True)
class Evidence:
    """Why a severity is what it is: one error, its weight, and the statements it rests on.

    Spans are characters [start, end): ``span`` of the candidate, ``reference_span`` of the
    reference, ``conflict_span`` of the candidate's own statement that ``span`` contradicts (R3).
    None where that side says nothing.
    """

    category: str
    severity: float
    finding: str | None
    detail: str
    span: tuple[int, int] | None = None
    reference_span: tuple[int, int] | None = None
    conflict_span: tuple[int, int] | None = None


@dataclass(frozen=True)
class SeverityScore:
    """Nine severities of one report, and what they rest on.

    ``error_weights`` are the summed weights of its errors by category, before the cap
    (``taxonomy.cap_severities``); ``correct_weight`` is the weight of the reference's findings that
    the report got right, in part where an attribute is wrong. None where the judge does not know.
    """

    severities: Mapping[str, float]
    evidence: tuple[Evidence, ...] = ()
    error_weights: Mapping[str, float] | None = None
    correct_weight: float | None = None

    @property
    def total(self) -> float:
        """S in [0, 9]: how much is wrong."""
        return float(sum(self.severities.values()))

    @property
    def quality(self) -> float | None:
        """Q in [0, 1): errors against what is right, ``E / (E + C + 0.25)``; 0 is a right report.

        None where the errors or what is right are unknown. Guardrails read the severities: Q makes
        one missed finding among many right ones mild.
        """
        if self.error_weights is None or self.correct_weight is None:
            return None
        errors = float(sum(self.error_weights.values()))
        return errors / (errors + self.correct_weight + QUALITY_CONSTANT)


@dataclass(frozen=True)
class WeightedSpan:
    """Characters [start, end) of a text whose tokens carry ``weight`` in the loss."""

    start: int
    end: int
    weight: float


@dataclass(frozen=True)
class PreferencePair:
    """One (prompt, chosen, rejected) with its loss weights.

    ``delta_S`` is S(rejected) - S(chosen). ``weight`` has mean 1 over the dataset. Tokens
    outside every span weigh 1; the common prefix weighs 1 on both sides, so that it cancels.
    ``origin_cycle`` tells fresh pairs from replayed ones.
    """

    pair_id: str
    case_id: str
    group: str
    origin_cycle: int
    prompt: Prompt
    chosen: str
    rejected: str
    delta_S: float
    weight: float = 1.0
    chosen_spans: tuple[WeightedSpan, ...] = ()
    rejected_spans: tuple[WeightedSpan, ...] = ()


@dataclass(frozen=True)
class UnpairedExample:
    """One (prompt, completion, label) for KTO; True is desirable. ``weight`` has mean 1 over the
    dataset; tokens outside every span weigh 1.
    """

    example_id: str
    case_id: str
    group: str
    origin_cycle: int
    prompt: Prompt
    completion: str
    label: bool
    weight: float = 1.0
    spans: tuple[WeightedSpan, ...] = ()


@dataclass(frozen=True)
class PromptExample:
    """One prompt for GRPO, with the reference report its reward is measured against."""

    case_id: str
    group: str
    origin_cycle: int
    prompt: Prompt
    reference: str


@dataclass(frozen=True)
class Refusals:
    """How many inputs a step did not use, by reason code."""

    counts: Mapping[str, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        return sum(self.counts.values())


@dataclass(frozen=True)
class ScoredReport:
    """One held-out completion with its judgement. ``score`` is None where it cannot be scored."""

    case_id: str
    group: str
    completion: str
    num_tokens: int
    truncated: bool
    score: SeverityScore | None
