"""Synthetic chest-radiograph cases, drawn from the grammar with a seed."""

from __future__ import annotations

import random

from negalign_train.cases.compose import compose, join_report
from negalign_train.cases.grammar import grammar
from negalign_train.storage.fingerprint import fingerprint
from negalign_train.vocabulary.records import Case, Finding

_NUM_FINDINGS = (0, 1, 1, 2, 2, 2, 3, 3, 4)
_NUM_DEVICES = (0, 0, 0, 1, 1, 2)
_ARTEFACT_RATE = 0.3
_PRIOR_RATE = 0.5
_DEGREES = ("mild", "moderate", "severe")
_CHANGES = ("new", "stable", "improved", "worse")
# One of these stands for the other in a report; a study holds at most one of each set.
_EXCLUSIVE = (
    {"consolidation", "pneumonia", "opacity"},
    {"hypoinflation", "emphysema", "flattened_diaphragm"},
    {"interstitial_opacities", "pulmonary_edema", "vascular_congestion", "prominent_markings"},
    {"elevated_hemidiaphragm", "flattened_diaphragm"},
    {"blunted_costophrenic_angle", "pleural_effusion", "pleural_thickening"},
    {"scarring", "fibrosis"},
    {"nodule", "granuloma"},
)


def _finding(name: str, has_prior: bool, rng: random.Random) -> Finding:
    tables = grammar()
    phrases = tables.findings[name]
    side = rng.choice(phrases.sides) if phrases.sides else None
    places = [
        place
        for place in phrases.places
        if place is None
        or (
            tables.places[place].only in (None, side)
            and not (side == "bilateral" and tables.places[place].plural is None)
        )
    ]
    degree = rng.choice(_DEGREES) if phrases.degree_scale else None
    change = rng.choice(_CHANGES) if has_prior and phrases.acute and rng.random() < 0.7 else None
    return Finding(name, True, side, rng.choice(places) if places else None, degree, change)


def _device(name: str, rng: random.Random) -> Finding:
    positions = list(grammar().devices[name].positions)
    return Finding(name, location=rng.choice(positions) if positions else None)


def _draw(odds: dict[str, float], count: int, rng: random.Random) -> list[str]:
    """``count`` distinct names by their odds, none excluded by another."""
    left = dict(odds)
    chosen: list[str] = []
    while left and len(chosen) < count:
        name = rng.choices(list(left), weights=list(left.values()))[0]
        chosen.append(name)
        for names in (*[group for group in _EXCLUSIVE if name in group], {name}):
            for excluded in names:
                left.pop(excluded, None)
    return chosen


def _in_report_order(findings: list[Finding]) -> tuple[Finding, ...]:
    tables = grammar()
    names = [*tables.artefacts, *tables.devices, *tables.findings]
    return tuple(
        sorted(
            findings,
            key=lambda f: (tables.regions.index(tables.region_of(f.name)), names.index(f.name)),
        )
    )


def coded_observation(finding: Finding) -> str:
    """A finding as the prompt codes it: ``pleural effusion, left, small, new``."""
    parts = (finding.side, finding.location, finding.degree, finding.change)
    return ", ".join([grammar().coded_name(finding.name), *[part for part in parts if part]])


def prompt_text(
    indication: str, technique: str, has_prior: bool, findings: tuple[Finding, ...]
) -> str:
    """What a text-only generator gets: indication, technique, comparison, coded observations."""
    observations = "; ".join(coded_observation(finding) for finding in findings) or "none"
    return (
        f"Indication: {indication}. Technique: {technique}. "
        f"Comparison: {'prior study' if has_prior else 'none'}. Observations: {observations}."
    )


def synthetic_case(index: int, seed: int) -> Case:
    """Case number ``index`` of the stream ``seed``; the same two numbers give the same case."""
    rng = random.Random(f"negalign-synthetic:{seed}:{index}")
    tables = grammar()
    has_prior = rng.random() < _PRIOR_RATE
    odds = {name: phrases.odds for name, phrases in tables.findings.items()}
    findings = [
        _finding(name, has_prior, rng) for name in _draw(odds, rng.choice(_NUM_FINDINGS), rng)
    ]
    device_odds = {name: phrases.odds for name, phrases in tables.devices.items()}
    findings += [_device(name, rng) for name in _draw(device_odds, rng.choice(_NUM_DEVICES), rng)]
    if rng.random() < _ARTEFACT_RATE:
        artefact = rng.choice(
            [a for a in tables.artefacts.values() if a.mimics not in {f.name for f in findings}]
        )
        side = rng.choice(("left", "right")) if artefact.sided else None
        findings.append(Finding(artefact.name, side=side))
    ordered = _in_report_order(findings)
    technique = rng.choice(("portable AP view", "PA and lateral views"))
    prompt = prompt_text(rng.choice(tables.indications), technique, has_prior, ordered)
    return Case(
        case_id=f"syn-{seed}-{index}",
        group=f"syn-{fingerprint(prompt)[:16]}",
        prompt=prompt,
        reference=join_report(compose(ordered, rng)),
        findings=ordered,
        has_prior=has_prior,
        source="synthetic",
    )


def synthetic_cases(start: int, count: int, seed: int) -> list[Case]:
    """Cases ``start`` to ``start + count - 1`` of the stream ``seed``."""
    return [synthetic_case(index, seed) for index in range(start, start + count)]
