"""The gate's criteria, each held, broken, open or not applied by the evidence. Pure."""

from __future__ import annotations

import math

from negalign_train.evaluation.bootstrap import Comparison, Interval, cases_needed
from negalign_train.evaluation.gate_terms import (
    Criterion,
    GateEvidence,
    Kind,
    Rise,
    State,
)
from negalign_train.recipe.gate import MIN_GROUPS, GateSettings
from negalign_train.vocabulary.records import CATEGORIES


def all_criteria(
    evidence: GateEvidence, settings: GateSettings, level: float
) -> tuple[Criterion, ...]:
    """Every criterion in the order of the record; ``level`` is the error rate of each end of the
    evidence's intervals.
    """
    return (
        *_evidence_criteria(evidence, settings),
        *_comparison_criteria(evidence, settings, level),
        *_report_criteria(evidence, settings, level),
        *_drift_criteria(evidence, settings),
        *_retention_criteria(evidence, settings, level),
    )


def _limited(
    name: str,
    value: float | None,
    at_least: float | None = None,
    at_most: float | None = None,
    detail: str = "",
    kind: Kind = "guardrail",
) -> Criterion:
    """A limit on the measured value: held or broken. Missing is open, infinite or NaN broken."""
    limit = (at_least, at_most)
    if value is None:
        return Criterion(name, kind, "open", None, None, limit, detail)
    if not math.isfinite(value):
        return Criterion(name, kind, "broken", None, None, limit, "not a finite number")
    held = (at_least is None or value >= at_least) and (at_most is None or value <= at_most)
    return Criterion(name, kind, "held" if held else "broken", value, None, limit, detail)


def _rise(
    name: str,
    interval: Interval | None,
    margin: float,
    num_cases: int,
    level: float,
    detail: str,
    kind: Kind = "guardrail",
) -> Criterion:
    """A margin for something measured with an interval: held, broken or open."""
    limit = (None, margin)
    if interval is None:
        return Criterion(name, kind, "open", None, None, limit, detail)
    ends = (interval.low, interval.high)
    if interval.high <= margin:
        return Criterion(name, kind, "held", interval.estimate, ends, limit, detail)
    if interval.low > margin:
        return Criterion(name, kind, "broken", interval.estimate, ends, limit, detail)
    needed = cases_needed(interval, margin, num_cases, level)
    return Criterion(name, kind, "open", interval.estimate, ends, limit, detail, needed)


def _evidence_criteria(evidence: GateEvidence, settings: GateSettings) -> list[Criterion]:
    difference = evidence.comparison
    worst = max(evidence.parent.unscored_rate, evidence.metrics.unscored_rate)
    return [
        _limited(
            "scored_cases",
            0 if difference is None else difference.num_cases,
            at_least=settings.min_cases,
            detail="cases scored for parent and candidate",
            kind="evidence",
        ),
        _limited(
            "case_groups",
            0 if difference is None else difference.num_groups,
            at_least=min(settings.min_cases, MIN_GROUPS),
            detail="independent groups among them",
            kind="evidence",
        ),
        _limited(
            "unscored_rate",
            worst,
            at_most=settings.max_unscored_rate,
            detail="the higher of parent and candidate",
            kind="evidence",
        ),
    ]


def _superiority(difference: Comparison | None, level: float) -> Criterion:
    """Held where S is shown to be lower; broken where it was not even measured to be."""
    detail, limit = "candidate - parent, to be shown below 0", (None, 0.0)
    if difference is None:
        return Criterion("mean_S", "superiority", "open", None, None, limit, detail)
    total = difference.total
    ends = (total.low, total.high)
    state: State = "open"
    if total.high < 0:
        state = "held"
    elif total.estimate >= 0:
        state = "broken"
    needed = cases_needed(total, 0.0, difference.num_cases, level) if state == "open" else None
    return Criterion("mean_S", "superiority", state, total.estimate, ends, limit, detail, needed)


def _comparison_criteria(
    evidence: GateEvidence, settings: GateSettings, level: float
) -> list[Criterion]:
    difference, overall = evidence.comparison, evidence.overall
    num_cases = 0 if difference is None else difference.num_cases
    severe = None if difference is None else difference.severe_rate
    margins = settings.max_category_increase, settings.max_category_increase_overall
    return [
        _superiority(difference, level),
        *_category_rises("category", difference, margins[0], level, "rise against the parent"),
        *_category_rises("overall", overall, margins[1], level, "rise since the first cycle"),
        _rise(
            "severe_rate",
            severe,
            settings.max_severe_rate_increase,
            num_cases,
            level,
            "rise of the share of reports with a severe error",
        ),
    ]


def _category_rises(
    kind: str, difference: Comparison | None, margin: float, level: float, detail: str
) -> list[Criterion]:
    if difference is None:
        return [_rise(f"{kind}:{name}", None, margin, 0, level, detail) for name in CATEGORIES]
    return [
        _rise(
            f"{kind}:{name}",
            difference.per_category[name],
            margin,
            difference.num_cases,
            level,
            detail,
        )
        for name in CATEGORIES
    ]


def _report_criteria(
    evidence: GateEvidence, settings: GateSettings, level: float
) -> list[Criterion]:
    parent, metrics = evidence.parent, evidence.metrics
    shortest, longest = settings.length_ratio
    return [
        _limited(
            "length_ratio",
            metrics.length_ratio,
            at_least=shortest,
            at_most=longest,
            detail="mean words over the references' mean words",
        ),
        _limited(
            "template_share",
            metrics.template_share - parent.template_share,
            at_most=settings.max_template_share_increase,
            detail=f"rise of the most frequent report's share, now {metrics.template_share:.3f}",
        ),
        _limited(
            "distinct_ratio",
            metrics.distinct_ratio,
            at_least=settings.min_distinct_ratio,
            detail="distinct reports over distinct references",
        ),
        _rise(
            "placeholder_rate",
            evidence.placeholder_rate,
            settings.max_placeholder_rate,
            metrics.num_cases,
            level,
            "share of reports empty, cut off or holding a placeholder",
        ),
    ]


def _drift_criteria(evidence: GateEvidence, settings: GateSettings) -> list[Criterion]:
    moved = evidence.divergence
    before, after = evidence.parent_reference_logps, evidence.reference_logps
    return [
        _limited(
            "kl_to_parent",
            None if moved is None else moved.kl_to_parent,
            at_most=settings.max_kl_to_parent,
            detail="nats per token",
        ),
        _limited(
            "kl_to_base",
            None if moved is None else moved.kl_to_base,
            at_most=settings.max_kl_to_base,
            detail="nats per token, over all cycles",
        ),
        _limited(
            "reference_logps_drop",
            None if before is None or after is None else before - after,
            at_most=settings.max_reference_logps_drop,
            detail="nats per token that the held-out references lost",
        ),
    ]


def _retention_criteria(
    evidence: GateEvidence, settings: GateSettings, level: float
) -> list[Criterion]:
    """The earlier cycles' cases together must be held; each cycle by itself must not be broken.

    One cycle holds out few cases, and twenty cycles would be twenty chances to stay open.
    """
    margin, pooled = settings.max_retention_increase, evidence.retention_pooled
    together = _retention("retention", "guardrail", pooled, margin, level)
    if not evidence.retention:
        absent = "no held-out case of an earlier cycle"
        together = _not_applied("retention", "guardrail", margin, absent)
    return [
        together,
        *(
            _retention(f"retention:c{cycle:04d}", "watch", rise, margin, level)
            for cycle, rise in sorted(evidence.retention.items())
        ),
    ]


def _retention(name: str, kind: Kind, rise: Rise | None, margin: float, level: float) -> Criterion:
    if rise is None:
        return _not_applied(name, kind, margin, "no case that was scored for parent and candidate")
    if rise.num_groups < MIN_GROUPS:
        few = f"{rise.num_groups} case groups, fewer than {MIN_GROUPS}"
        return _not_applied(name, kind, margin, few)
    detail = f"rise of mean S on {rise.num_cases} held-out cases of earlier cycles"
    return _rise(name, rise.interval, margin, rise.num_cases, level, detail, kind)


def _not_applied(name: str, kind: Kind, margin: float, reason: str) -> Criterion:
    return Criterion(name, kind, "not applied", None, None, (None, margin), reason)
