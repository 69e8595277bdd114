"""The tables of ``judge_ablation.py``: whose labels and decisions the ground truth bears out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from benchmarks.judge_arms import CycleOutcome, true_change
from negalign_train.evaluation.bootstrap import Interval
from negalign_train.severity.trust.agreement import (
    TOTAL_EDGES,
    Agreement,
    AgreementSettings,
    Estimate,
    agreement,
)


def by_judge(
    outcomes: Iterable[CycleOutcome],
) -> dict[tuple[str, int], list[CycleOutcome]]:
    """Judge and cycle to the outcomes of all seeds."""
    groups: dict[tuple[str, int], list[CycleOutcome]] = {}
    for outcome in outcomes:
        groups.setdefault((outcome.judge, outcome.cycle), []).append(outcome)
    return groups


def label_agreement(outcomes: Sequence[CycleOutcome]) -> Agreement:
    """The judge's S of the reports that it labelled against the true one, seeds pooled."""
    known = [
        (f"{outcome.seed} {each.group}", each.judge, each.truth)
        for outcome in outcomes
        for each in outcome.labels
        if each.judge is not None
    ]
    return agreement(
        [judge for _, judge, _ in known],
        [truth for _, _, truth in known],
        [group for group, _, _ in known],
        TOTAL_EDGES,
        AgreementSettings(),
    )


def label_table(outcomes: Sequence[CycleOutcome]) -> str:
    """How far each judge's S of the log's reports follows the true one."""
    lines = [
        "| judge | cycle | seeds | labelled | Spearman with the truth | pairwise | bias of S |",
        "|---|---|---|---|---|---|---|",
    ]
    for (judge, cycle), some in by_judge(outcomes).items():
        labels = [each for outcome in some for each in outcome.labels]
        known = [each for each in labels if each.judge is not None]
        found = label_agreement(some)
        lines.append(
            f"| {judge} | {cycle} | {len(some)} | {len(known)} of {len(labels)} "
            f"| {_estimate(found.spearman)} | {_estimate(found.pairwise)} "
            f"| {_estimate(found.bias)} |"
        )
    return "\n".join(lines)


@dataclass(frozen=True)
class Decisions:
    """Over the seeds of one judge and cycle: promotions, those that the truth shows to be better,
    and those that it shows to be worse; how often judge and truth measure one direction.
    """

    promoted: int
    better: int
    worse: int
    same_direction: int


def decisions(outcomes: Sequence[CycleOutcome]) -> Decisions:
    changes = [
        (outcome, change) for outcome in outcomes if (change := true_change([outcome])) is not None
    ]
    promoted = [change for outcome, change in changes if outcome.decision == "promoted"]
    return Decisions(
        promoted=len(promoted),
        better=sum(change.high < 0 for change in promoted),
        worse=sum(change.low > 0 for change in promoted),
        same_direction=sum(
            outcome.judged is not None and (outcome.judged.estimate < 0) == (change.estimate < 0)
            for outcome, change in changes
        ),
    )


def decision_table(outcomes: Sequence[CycleOutcome]) -> str:
    """What each judge trained and decided, and what was true of it."""
    lines = [
        "| judge | cycle | seeds | change of S, by the judge | true change of S, 95 % interval "
        "| same direction | promoted | truly better / worse | s per cycle |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for (judge, cycle), some in by_judge(outcomes).items():
        judged = [outcome.judged.estimate for outcome in some if outcome.judged is not None]
        made, count = decisions(some), len(some)
        lines.append(
            f"| {judge} | {cycle} | {count} | {f'{fmean(judged):+.3f}' if judged else '–'} "
            f"| {_interval(true_change(some))} | {made.same_direction}/{count} "
            f"| {made.promoted}/{count} | {made.better} / {made.worse} "
            f"| {fmean(outcome.seconds for outcome in some):.0f} |"
        )
    return "\n".join(lines)


def trust_lines(outcomes: Sequence[CycleOutcome]) -> list[str]:
    """Per judge and cycle, whether it could be trusted: its labels follow the truth (pairwise
    accuracy shown to be above chance), its direction was the true one in every seed, and nothing
    that it promoted was truly worse.
    """
    verdicts: dict[str, list[str]] = {}
    for (judge, cycle), some in by_judge(outcomes).items():
        made, lowest = decisions(some), label_agreement(some).pairwise.low
        doubts = [
            doubt
            for doubt, holds in (
                ("its labels are not shown to follow the truth", lowest is None or lowest <= 0.5),
                ("it saw another direction", made.same_direction < len(some)),
                ("it promoted what was worse", made.worse > 0),
            )
            if holds
        ]
        verdict = f"no ({'; '.join(doubts)})" if doubts else "yes"
        verdicts.setdefault(judge, []).append(f"cycle {cycle} {verdict}")
    return [f"{judge}: {', '.join(some)}" for judge, some in verdicts.items()]


def as_json(outcomes: Sequence[CycleOutcome]) -> list[Mapping[str, object]]:
    """The figures behind the tables; no report text."""
    rows: list[Mapping[str, object]] = []
    for outcome in outcomes:
        change = true_change([outcome])
        rows.append(
            {
                "judge": outcome.judge,
                "seed": outcome.seed,
                "cycle": outcome.cycle,
                "decision": outcome.decision,
                "judged_change": None if outcome.judged is None else outcome.judged.estimate,
                "true_change": change and [change.estimate, change.low, change.high],
                "labelled": sum(each.judge is not None for each in outcome.labels),
                "labels": len(outcome.labels),
                "seconds": outcome.seconds,
            }
        )
    return rows


def _interval(value: Interval | None) -> str:
    if value is None:
        return "nothing to train on"
    return f"{value.estimate:+.3f} [{value.low:+.3f}, {value.high:+.3f}]"


def _estimate(value: Estimate) -> str:
    if value.value is None:
        return "–"
    if value.low is None or value.high is None:
        return f"{value.value:.2f}"
    return f"{value.value:.2f} [{value.low:.2f}, {value.high:.2f}]"
