"""The gate: pre-declared criteria, one decision per candidate (DESIGN 2.5). Pure.

A candidate is ``inconclusive`` where the evidence is too thin to decide: fewer scored cases than
``min_cases``, too few independent groups, or too many unscored reports. It is ``promoted`` where
S is shown to be lower and every guardrail holds, else ``rejected``; an interval that straddles 0 is
"not shown to be better", a rejection. A measurement that is missing fails its criterion.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from negalign_train.errors import GateError
from negalign_train.evaluation.bootstrap import Comparison, Interval
from negalign_train.evaluation.metrics import Divergence, ReportMetrics
from negalign_train.fingerprint import fingerprint
from negalign_train.recipe import MIN_GROUPS as MIN_GROUPS
from negalign_train.recipe import GateSettings
from negalign_train.records import CATEGORIES

Outcome = Literal["promoted", "rejected", "inconclusive"]
Kind = Literal["evidence", "superiority", "guardrail"]


@dataclass(frozen=True)
class GateEvidence:
    """Everything measured on one candidate. None is "not measured", and fails its criterion.

    ``comparison`` is with the parent, ``overall`` with the model that the first cycle started from,
    on the same cases. ``retention`` holds, per earlier cycle, the interval of the rise of mean S on
    that cycle's held-out cases; ``reference_logps`` are mean nats per token of the held-out
    references.
    """

    cycle: int
    candidate: str
    parent_adapter: str | None
    candidate_adapter: str | None
    parent: ReportMetrics
    metrics: ReportMetrics
    comparison: Comparison | None
    overall: Comparison | None
    divergence: Divergence | None
    parent_reference_logps: float | None
    reference_logps: float | None
    retention: Mapping[int, Interval | None]


@dataclass(frozen=True)
class Criterion:
    """One line of the decision: ``value`` is None where it was not measured."""

    name: str
    kind: Kind
    value: float | None
    limit: tuple[float | None, float | None]
    """Least and greatest allowed value; None is open on that side."""
    passed: bool
    detail: str = ""


@dataclass(frozen=True)
class GateRecord:
    """The decision on one candidate and everything it rests on."""

    outcome: Outcome
    reasons: tuple[str, ...]
    criteria: tuple[Criterion, ...]
    criteria_digest: str
    evidence: GateEvidence


def criteria_digest(settings: GateSettings) -> str:
    """Fingerprint of the criteria. Write it down before training, and hand it to ``decide``."""
    return fingerprint(settings.model_dump(mode="json"))


def decide(evidence: GateEvidence, settings: GateSettings, declared_digest: str) -> GateRecord:
    """The decision on one candidate.

    Raises:
        GateError: the criteria are not those declared before training.
    """
    digest = criteria_digest(settings)
    if digest != declared_digest:
        raise GateError(
            f"the gate criteria changed after cycle {evidence.cycle} was declared (digest "
            f"{declared_digest[:12]}, now {digest[:12]}); restore them, or start a new cycle"
        )
    criteria = (
        *_evidence_criteria(evidence, settings),
        *_comparison_criteria(evidence, settings),
        *_report_criteria(evidence, settings),
        *_drift_criteria(evidence, settings),
        *_retention_criteria(evidence, settings),
    )
    failed = [criterion for criterion in criteria if not criterion.passed]
    outcome: Outcome = "rejected" if failed else "promoted"
    if any(criterion.kind == "evidence" for criterion in failed):
        outcome = "inconclusive"
    reasons = tuple(_reason(criterion) for criterion in failed)
    if not failed:
        reasons = ("mean S is shown to be lower and every guardrail holds",)
    return GateRecord(outcome, reasons, criteria, digest, evidence)


def _criterion(
    name: str,
    kind: Kind,
    value: float | None,
    at_least: float | None = None,
    at_most: float | None = None,
    detail: str = "",
) -> Criterion:
    """Passes where a finite value lies within its limits; a missing or NaN value fails."""
    if value is not None and not math.isfinite(value):
        value, detail = None, "not a finite number"
    passed = value is not None and (
        (at_least is None or value >= at_least) and (at_most is None or value <= at_most)
    )
    return Criterion(name, kind, value, (at_least, at_most), passed, detail)


def _evidence_criteria(evidence: GateEvidence, settings: GateSettings) -> list[Criterion]:
    found = evidence.comparison
    worst = max(evidence.parent.unscored_rate, evidence.metrics.unscored_rate)
    return [
        _criterion(
            "scored_cases",
            "evidence",
            0 if found is None else found.num_cases,
            at_least=settings.min_cases,
            detail="cases scored for parent and candidate",
        ),
        _criterion(
            "case_groups",
            "evidence",
            0 if found is None else found.num_groups,
            at_least=min(settings.min_cases, MIN_GROUPS),
            detail="independent groups among them",
        ),
        _criterion(
            "unscored_rate",
            "evidence",
            worst,
            at_most=settings.max_unscored_rate,
            detail="the higher of parent and candidate",
        ),
    ]


def _comparison_criteria(evidence: GateEvidence, settings: GateSettings) -> list[Criterion]:
    found = evidence.comparison
    high = None if found is None else found.total.high
    superiority = Criterion(
        "mean_S",
        "superiority",
        high,
        (None, 0.0),
        high is not None and math.isfinite(high) and high < 0,
        "upper end of the interval of S(candidate) - S(parent), below 0"
        + ("" if found is None else f"; {_show(found.total)}"),
    )
    categories = _category_rises("category", found, settings.max_category_increase)
    overall = _category_rises("overall", evidence.overall, settings.max_category_increase_overall)
    severe = _criterion(
        "severe_rate",
        "guardrail",
        None if found is None else found.severe_rate.estimate,
        at_most=settings.max_severe_rate_increase,
        detail="candidate - parent" if found is None else _show(found.severe_rate),
    )
    return [superiority, *categories, *overall, severe]


def _category_rises(kind: str, found: Comparison | None, margin: float) -> list[Criterion]:
    return [
        _rise(f"{kind}:{name}", None if found is None else found.per_category[name], margin)
        for name in CATEGORIES
    ]


def _rise(name: str, interval: Interval | None, margin: float) -> Criterion:
    """Fails where a rise beyond ``margin`` is shown: the interval's lower end lies above it."""
    return _criterion(
        name,
        "guardrail",
        None if interval is None else interval.low,
        at_most=margin,
        detail="lower end of the interval of the rise"
        + ("" if interval is None else f"; {_show(interval)}"),
    )


def _report_criteria(evidence: GateEvidence, settings: GateSettings) -> list[Criterion]:
    parent, metrics = evidence.parent, evidence.metrics
    shortest, longest = settings.length_ratio
    return [
        _criterion(
            "length_ratio",
            "guardrail",
            metrics.length_ratio,
            at_least=shortest,
            at_most=longest,
            detail="mean words over the references' mean words",
        ),
        _criterion(
            "template_share",
            "guardrail",
            metrics.template_share - parent.template_share,
            at_most=settings.max_template_share_increase,
            detail=f"rise of the most frequent report's share, now {metrics.template_share:.3f}",
        ),
        _criterion(
            "distinct_ratio",
            "guardrail",
            metrics.distinct_ratio,
            at_least=settings.min_distinct_ratio,
            detail="distinct reports over distinct references",
        ),
        _criterion(
            "placeholder_rate",
            "guardrail",
            metrics.placeholder_rate,
            at_most=settings.max_placeholder_rate,
            detail="empty, cut off or holding a placeholder",
        ),
    ]


def _drift_criteria(evidence: GateEvidence, settings: GateSettings) -> list[Criterion]:
    moved = evidence.divergence
    before, after = evidence.parent_reference_logps, evidence.reference_logps
    return [
        _criterion(
            "kl_to_parent",
            "guardrail",
            None if moved is None else moved.kl_to_parent,
            at_most=settings.max_kl_to_parent,
            detail="nats per token",
        ),
        _criterion(
            "kl_to_base",
            "guardrail",
            None if moved is None else moved.kl_to_base,
            at_most=settings.max_kl_to_base,
            detail="nats per token, over all cycles",
        ),
        _criterion(
            "reference_logps_drop",
            "guardrail",
            None if before is None or after is None else before - after,
            at_most=settings.max_reference_logps_drop,
            detail="nats per token that the held-out references lost",
        ),
    ]


def _retention_criteria(evidence: GateEvidence, settings: GateSettings) -> list[Criterion]:
    return [
        _rise(f"retention:c{cycle:04d}", interval, settings.max_retention_increase)
        for cycle, interval in sorted(evidence.retention.items())
    ]


def _show(interval: Interval) -> str:
    return f"{interval.estimate:+.3f} [{interval.low:+.3f}, {interval.high:+.3f}]"


def _reason(criterion: Criterion) -> str:
    if criterion.value is None:
        return f"{criterion.name}: not measured"
    if criterion.kind == "superiority":
        return f"{criterion.name}: not shown to be lower ({criterion.detail})"
    least, most = criterion.limit
    if least is not None and criterion.value < least:
        return f"{criterion.name}: {criterion.value:.4g} is below {least:.4g} ({criterion.detail})"
    return f"{criterion.name}: {criterion.value:.4g} is above {most:.4g} ({criterion.detail})"
