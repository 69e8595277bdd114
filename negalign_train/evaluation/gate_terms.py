"""What the gate measures, each line of its decision, and the record of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from negalign_train.evaluation.bootstrap import Comparison, Interval
from negalign_train.evaluation.metrics import Divergence, ReportMetrics
from negalign_train.evaluation.second_opinion import SecondOpinion

Outcome = Literal["promoted", "rejected", "inconclusive"]
Kind = Literal["evidence", "superiority", "guardrail", "watch"]
State = Literal["held", "broken", "open", "not applied"]


@dataclass(frozen=True)
class Rise:
    """The rise of mean S on the held-out cases of one earlier cycle, or of all together."""

    interval: Interval
    num_cases: int
    num_groups: int


@dataclass(frozen=True)
class GateEvidence:
    """Everything measured on one candidate. None is "not measured", which promotes nobody.

    ``comparison`` is with the parent, ``overall`` with the model that the first cycle started from,
    on the same cases. ``retention`` holds, per earlier cycle, the rise of mean S on that cycle's
    held-out cases (None: no case scored for both), ``retention_pooled`` on all of them together;
    ``reference_logps`` are mean nats per token of the held-out references. ``num_candidates`` is
    how many the cycle trains. ``judge`` is the name and version of the judge behind all of it,
    ``second`` what the second one says (None: the recipe names none).
    """

    cycle: int
    candidate: str
    parent_adapter: str | None
    candidate_adapter: str | None
    num_candidates: int
    parent: ReportMetrics
    metrics: ReportMetrics
    comparison: Comparison | None
    overall: Comparison | None
    placeholder_rate: Interval | None
    divergence: Divergence | None
    parent_reference_logps: float | None
    reference_logps: float | None
    retention: Mapping[int, Rise | None]
    retention_pooled: Rise | None
    judge: str
    second: SecondOpinion | None


@dataclass(frozen=True)
class Criterion:
    """One line of the decision.

    ``interval`` is None where the limit is on the measured value alone; ``cases_needed`` is about
    how many cases would settle an open one, None where no number would.
    """

    name: str
    kind: Kind
    state: State
    value: float | None
    """The estimate; None where it was not measured."""
    interval: tuple[float, float] | None
    limit: tuple[float | None, float | None]
    """Least and greatest allowed value; None is open on that side."""
    detail: str = ""
    cases_needed: int | None = None


@dataclass(frozen=True)
class GateRecord:
    """The decision on one candidate and everything it rests on. ``warnings`` decide nothing.

    ``level`` is the error rate of every end of every interval: (1 - confidence) / candidates.
    """

    outcome: Outcome
    reasons: tuple[str, ...]
    criteria: tuple[Criterion, ...]
    criteria_digest: str
    level: float
    evidence: GateEvidence
    warnings: tuple[str, ...] = ()
