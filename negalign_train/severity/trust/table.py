"""How far each judge can be trusted: agreement with readers, calibration error and cost. Pure, but
for the clock.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import numpy as np

from negalign_train.cases.splits import group_fraction
from negalign_train.severity.judges.base import Judge
from negalign_train.severity.judges.ensemble import How, agreement_weights
from negalign_train.severity.judges.examples import GradedExample
from negalign_train.severity.trust.agreement import (
    BIN_EDGES,
    TOTAL_EDGES,
    Agreement,
    AgreementSettings,
    agreement,
    spearman,
)
from negalign_train.vocabulary.records import CATEGORIES, SeverityScore
from negalign_train.vocabulary.taxonomy import taxonomy

TRUST_SCHEMA = "negalign.trust/1"
TOTAL = "S"
_BATCH = 64
_FOLD_SEED = 7


@dataclass(frozen=True)
class Scored:
    """One judge's scores of the examples, in order; None where it has none, counted by reason."""

    spec: str
    judge: str
    version: str
    scores: tuple[Mapping[str, float] | None, ...]
    unscorable: Mapping[str, int]
    seconds: float


@dataclass(frozen=True)
class JudgeTrust:
    """One judge against the readers: by category name, and ``S``. ``seconds_per_thousand`` is of
    wall time on this machine, loading left out.
    """

    spec: str
    judge: str
    version: str
    unscorable: Mapping[str, int]
    seconds_per_thousand: float
    agreement: Mapping[str, Agreement]


@dataclass(frozen=True)
class TrustReport:
    """All judges on the same reports: those that every one of them can score."""

    num_examples: int
    num_groups: int
    left_out: int
    judges: tuple[JudgeTrust, ...]

    def to_json(self) -> dict[str, Any]:
        """Categories by their ids; ``S`` beside them."""
        ids = {category.name: category.id for category in taxonomy()} | {TOTAL: TOTAL}
        judges = []
        for trust in self.judges:
            row = asdict(trust)
            row["agreement"] = {ids[name]: value for name, value in row["agreement"].items()}
            judges.append(row)
        return {
            "schema": TRUST_SCHEMA,
            "num_examples": self.num_examples,
            "num_groups": self.num_groups,
            "left_out": self.left_out,
            "judges": judges,
        }


def run_judge(spec: str, judge: Judge, examples: Sequence[GradedExample]) -> Scored:
    """The judge's scores of every example, and the wall time they took."""
    scores: list[SeverityScore | None] = []
    reasons: Counter[str] = Counter()
    start = time.perf_counter()
    for first in range(0, len(examples), _BATCH):
        batch = examples[first : first + _BATCH]
        for judgement in judge.judge([example.pair for example in batch]):
            scores.append(judgement.score)
            if judgement.score is None:
                reasons[judgement.reason or "unknown"] += 1
    seconds = time.perf_counter() - start
    rows = tuple(None if score is None else score.severities for score in scores)
    return Scored(spec, judge.name, judge.version, rows, dict(reasons), seconds)


def compare_judges(
    scored: Sequence[Scored], examples: Sequence[GradedExample], settings: AgreementSettings
) -> TrustReport:
    """Agreement of every judge with the readers, on the examples that all of them scored."""
    common = [i for i in range(len(examples)) if all(s.scores[i] is not None for s in scored)]
    some = [examples[i] for i in common]
    judges = []
    for one in scored:
        rows = [row for i in common if (row := one.scores[i]) is not None]
        cost = 1000 * one.seconds / max(1, len(examples))
        agreements = _agreements(rows, some, settings)
        judges.append(
            JudgeTrust(one.spec, one.judge, one.version, one.unscorable, cost, agreements)
        )
    groups = len({example.group for example in some})
    return TrustReport(len(some), groups, len(examples) - len(some), tuple(judges))


def _agreements(
    rows: Sequence[Mapping[str, float]],
    examples: Sequence[GradedExample],
    settings: AgreementSettings,
) -> dict[str, Agreement]:
    groups = [example.group for example in examples]
    agreements = {
        name: agreement(
            [row[name] for row in rows],
            [example.severities[name] for example in examples],
            groups,
            BIN_EDGES,
            settings,
        )
        for name in CATEGORIES
    }
    totals = [sum(row.values()) for row in rows]
    readers = [example.total for example in examples]
    agreements[TOTAL] = agreement(totals, readers, groups, TOTAL_EDGES, settings)
    return agreements


def _correlations(
    rows: Sequence[Mapping[str, float]], examples: Sequence[GradedExample]
) -> dict[str, float | None]:
    """Spearman's correlation with the readers, by category; None where there is none."""
    correlations: dict[str, float | None] = {}
    for name in CATEGORIES:
        if not rows:
            correlations[name] = None
            continue
        judge = np.array([row[name] for row in rows])
        reader = np.array([example.severities[name] for example in examples])
        value = float(spearman(judge, reader, np.ones((1, len(judge))))[0])
        correlations[name] = value if np.isfinite(value) else None
    return correlations


def member_weights(
    scored: Sequence[Scored], examples: Sequence[GradedExample], use: Sequence[bool]
) -> dict[str, tuple[float, ...]]:
    """Weights per category from the examples with ``use``."""
    chosen = [
        i for i in range(len(examples)) if use[i] and all(s.scores[i] is not None for s in scored)
    ]
    picked = [examples[i] for i in chosen]
    rows = [[row for i in chosen if (row := s.scores[i]) is not None] for s in scored]
    return agreement_weights([_correlations(member, picked) for member in rows])


def _joined(
    rows: Sequence[Mapping[str, float]], how: How, weights: Mapping[str, Sequence[float]]
) -> dict[str, float]:
    if how == "median":
        return {name: float(median(row[name] for row in rows)) for name in CATEGORIES}
    return {
        name: sum(w * row[name] for w, row in zip(weights[name], rows, strict=True))
        for name in CATEGORIES
    }


def join_scored(scored: Sequence[Scored], examples: Sequence[GradedExample], how: How) -> Scored:
    """The members' ensemble as a judge of its own, from the scores that are there.

    ``weighted`` is cross-fitted: each half of the case groups is judged with the weights that the
    other half's readers support, so that its figures are not those of its own training.
    """
    half = [group_fraction(example.group, _FOLD_SEED) < 0.5 for example in examples]
    equal = dict.fromkeys(CATEGORIES, (1.0 / len(scored),) * len(scored))
    by_half = {True: equal, False: equal}
    if how == "weighted":
        by_half = {
            True: member_weights(scored, examples, [not h for h in half]),
            False: member_weights(scored, examples, half),
        }
    joined: list[dict[str, float] | None] = []
    for i in range(len(examples)):
        rows = [row for s in scored if (row := s.scores[i]) is not None]
        whole = len(rows) == len(scored)
        joined.append(_joined(rows, how, by_half[half[i]]) if whole else None)
    missing = sum(row is None for row in joined)
    return Scored(
        f"ensemble ({how})",
        "ensemble",
        "+".join(s.version for s in scored),
        tuple(joined),
        {"no_judge_could": missing} if missing else {},
        sum(s.seconds for s in scored),
    )
