"""The gate: pre-declared criteria, one decision per candidate (DESIGN 2.5, docs/gate.md). Pure.

A guardrail is *held* where the interval shows that the rise is within its margin, *broken* where it
shows a rise beyond it, else *open*. Any broken one, or a mean S that is not even measured to be
lower, rejects; any open one, or too little evidence, is inconclusive; all held and S shown to be
lower promotes. Promotion needs all guardrails at once, so their number asks for no correction (an
intersection-union test, Berger 1982); the number of candidates does, every one being a chance to be
promoted by luck (Bonferroni).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from negalign_train.evaluation.bootstrap import Comparison, Interval, cases_needed
from negalign_train.evaluation.metrics import Divergence, ReportMetrics
from negalign_train.recipe.gate import MIN_GROUPS as MIN_GROUPS
from negalign_train.recipe.gate import GateSettings
from negalign_train.storage.fingerprint import fingerprint
from negalign_train.vocabulary.errors import GateError
from negalign_train.vocabulary.records import CATEGORIES

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
    how many the cycle trains.
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
    """The decision on one candidate and everything it rests on.

    ``level`` is the error rate of every end of every interval: (1 - confidence) / candidates.
    """

    outcome: Outcome
    reasons: tuple[str, ...]
    criteria: tuple[Criterion, ...]
    criteria_digest: str
    level: float
    evidence: GateEvidence


def criteria_digest(settings: GateSettings) -> str:
    """Fingerprint of the criteria. Write it down before training, and hand it to ``decide``."""
    return fingerprint(settings.model_dump(mode="json"))


def criterion_level(confidence: float, num_candidates: int) -> float:
    """Error rate of one criterion, so that ``num_candidates`` together keep ``confidence``."""
    return (1 - confidence) / num_candidates


def decide(evidence: GateEvidence, settings: GateSettings, declared_digest: str) -> GateRecord:
    """The decision on one candidate; the evidence's intervals are of ``criterion_level``.

    Raises:
        GateError: the criteria are not those declared before training.
    """
    digest = criteria_digest(settings)
    if digest != declared_digest:
        raise GateError(
            f"the gate criteria changed after cycle {evidence.cycle} was declared (digest "
            f"{declared_digest[:12]}, now {digest[:12]}); restore them, or start a new cycle"
        )
    level = criterion_level(settings.confidence, evidence.num_candidates)
    criteria = (
        *_evidence_criteria(evidence, settings),
        *_comparison_criteria(evidence, settings, level),
        *_report_criteria(evidence, settings, level),
        *_drift_criteria(evidence, settings),
        *_retention_criteria(evidence, settings, level),
    )
    outcome, reasons = _outcome(criteria)
    return GateRecord(outcome, reasons, criteria, digest, level, evidence)


def _outcome(criteria: tuple[Criterion, ...]) -> tuple[Outcome, tuple[str, ...]]:
    """Thin evidence decides nothing; then one broken criterion rejects, one open one leaves it."""
    thin = [each for each in criteria if each.kind == "evidence" and each.state != "held"]
    broken = [each for each in criteria if each.kind != "evidence" and each.state == "broken"]
    undecided = [each for each in criteria if each.kind != "watch" and each.state == "open"]
    failed = thin + broken + [each for each in undecided if each not in thin]
    if not failed:
        return "promoted", ("mean S is shown to be lower and every guardrail holds",)
    outcome: Outcome = "rejected" if broken and not thin else "inconclusive"
    return outcome, tuple(_reason(each) for each in failed)


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
    found = evidence.comparison
    worst = max(evidence.parent.unscored_rate, evidence.metrics.unscored_rate)
    return [
        _limited(
            "scored_cases",
            0 if found is None else found.num_cases,
            at_least=settings.min_cases,
            detail="cases scored for parent and candidate",
            kind="evidence",
        ),
        _limited(
            "case_groups",
            0 if found is None else found.num_groups,
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


def _superiority(found: Comparison | None, level: float) -> Criterion:
    """Held where S is shown to be lower; broken where it was not even measured to be."""
    detail, limit = "candidate - parent, to be shown below 0", (None, 0.0)
    if found is None:
        return Criterion("mean_S", "superiority", "open", None, None, limit, detail)
    total = found.total
    ends = (total.low, total.high)
    state: State = "open"
    if total.high < 0:
        state = "held"
    elif total.estimate >= 0:
        state = "broken"
    needed = cases_needed(total, 0.0, found.num_cases, level) if state == "open" else None
    return Criterion("mean_S", "superiority", state, total.estimate, ends, limit, detail, needed)


def _comparison_criteria(
    evidence: GateEvidence, settings: GateSettings, level: float
) -> list[Criterion]:
    found, overall = evidence.comparison, evidence.overall
    num_cases = 0 if found is None else found.num_cases
    severe = None if found is None else found.severe_rate
    margins = settings.max_category_increase, settings.max_category_increase_overall
    return [
        _superiority(found, level),
        *_category_rises("category", found, margins[0], level, "rise against the parent"),
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
    kind: str, found: Comparison | None, margin: float, level: float, detail: str
) -> list[Criterion]:
    if found is None:
        return [_rise(f"{kind}:{name}", None, margin, 0, level, detail) for name in CATEGORIES]
    return [
        _rise(f"{kind}:{name}", found.per_category[name], margin, found.num_cases, level, detail)
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


def show_interval(value: float, interval: tuple[float, float]) -> str:
    return f"{value:+.3f} [{interval[0]:+.3f}, {interval[1]:+.3f}]"


def _reason(criterion: Criterion) -> str:
    """What failed, in a sentence: the estimate and its interval, then the margin."""
    name, value, (least, most) = criterion.name, criterion.value, criterion.limit
    if value is None:
        return f"{name}: {'not measured' if criterion.state == 'open' else criterion.detail}"
    if criterion.interval is None:
        way, limit = ("below", least) if least is not None and value < least else ("above", most)
        return f"{name}: {value:.4g} is {way} {limit:.4g} ({criterion.detail})"
    shown = show_interval(value, criterion.interval)
    if criterion.kind == "superiority":
        found = "not lower" if criterion.state == "broken" else "not shown to be lower"
        return f"{name}: {found}, {shown}{_settled(criterion)}"
    if criterion.state == "broken":
        return f"{name}: {shown} is shown to be above {most:g} ({criterion.detail})"
    return f"{name}: {shown} is not shown to be at most {most:g}{_settled(criterion)}"


def _settled(criterion: Criterion) -> str:
    if criterion.state != "open":
        return ""
    if criterion.cases_needed is None:
        return "; no number of cases would show it at this estimate"
    return f"; about {criterion.cases_needed} cases would show it at this estimate"
