"""The gate: pre-declared criteria, one decision per candidate (DESIGN 2.5, docs/gate.md). Pure.

A guardrail is *held* where the interval shows that the rise is within its margin, *broken* where it
shows a rise beyond it, else *open*. Any broken one, or a mean S that is not even measured to be
lower, rejects; any open one, or too little evidence, is inconclusive; all held and S shown to be
lower promotes. Promotion needs all guardrails at once, so their number asks for no correction (an
intersection-union test, Berger 1982); the number of candidates does, every one being a chance to be
promoted by luck (Bonferroni).
"""

from __future__ import annotations

from negalign_train.evaluation.gate_criteria import all_criteria
from negalign_train.evaluation.gate_terms import (
    Criterion,
    GateEvidence,
    GateRecord,
    Outcome,
)
from negalign_train.evaluation.second_opinion import opinion_warnings
from negalign_train.recipe.gate import GateSettings
from negalign_train.storage.fingerprint import fingerprint
from negalign_train.vocabulary.errors import GateError


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
    criteria = all_criteria(evidence, settings, level)
    outcome, reasons = _outcome(criteria)
    warnings = opinion_warnings(evidence.second, evidence.comparison)
    return GateRecord(outcome, reasons, criteria, digest, level, evidence, warnings)


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
        verdict = "not lower" if criterion.state == "broken" else "not shown to be lower"
        return f"{name}: {verdict}, {shown}{_settled(criterion)}"
    if criterion.state == "broken":
        return f"{name}: {shown} is shown to be above {most:g} ({criterion.detail})"
    return f"{name}: {shown} is not shown to be at most {most:g}{_settled(criterion)}"


def _settled(criterion: Criterion) -> str:
    if criterion.state != "open":
        return ""
    if criterion.cases_needed is None:
        return "; no number of cases would show it at this estimate"
    return f"; about {criterion.cases_needed} cases would show it at this estimate"
