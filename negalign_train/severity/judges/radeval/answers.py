"""A clinical metric's answer as severities. Light.

A metric gives one number in [0, 1], 1 for a right report, and something about what is wrong. S is 1
minus that number, so that a judge puts reports in the metric's own order; it is shared among the
categories in proportion to what the metric counts there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from negalign_train.vocabulary.records import CATEGORIES, Evidence, SeverityScore

GREEN_COLUMNS: Mapping[str, str] = {
    "(a) False report of a finding in the candidate": "false_positive",
    "(b) Missing a finding present in the reference": "false_negative",
    "(c) Misidentification of a finding's anatomic location/position": "wrong_location",
    "(d) Misassessment of the severity of a finding": "wrong_severity",
    "(e) Mentioning a comparison that isn't in the reference": "temporal_error",
    "(f) Omitting a comparison detailing a change from a prior study": "temporal_error",
}
"""GREEN's error counts (radeval 2.2.1, metrics/green_score/green.py) in RadAlign's words."""
NO_FINDING = "No Finding"
SUPPORT_DEVICES = "Support Devices"


@dataclass(frozen=True)
class MetricAnswer:
    """A metric's value for one pair, and how much it counts as wrong by category."""

    value: float
    counts: Mapping[str, float]


def answer_score(answer: MetricAnswer, label: str) -> SeverityScore:
    """The severities of an answer; S is ``1 - value``. What is right is unknown: there is no Q."""
    wrong = min(1.0, max(0.0, 1.0 - answer.value))
    counted = {name: count for name, count in answer.counts.items() if count > 0}
    if not counted:
        # Lower than 1 without a count: nothing of the two reports was matched.
        counted = {"false_positive": 1.0, "false_negative": 1.0}
    total = sum(counted.values())
    severities = {name: wrong * counted.get(name, 0.0) / total for name in CATEGORIES}
    detail = f"{label} {answer.value:.3f}"
    evidence = tuple(Evidence(n, s, None, detail) for n, s in severities.items() if s > 0)
    return SeverityScore(severities, evidence)


def radgraph_answer(
    f1: float, candidate: Mapping[str, Any], reference: Mapping[str, Any]
) -> MetricAnswer:
    """From the annotations that RadGraph gives of both reports: entities that one alone has."""
    said, expected = (_entities(annotation) for annotation in (candidate, reference))
    return MetricAnswer(
        f1,
        {"false_positive": len(said - expected), "false_negative": len(expected - said)},
    )


def _entities(annotation: Mapping[str, Any]) -> set[tuple[str, str, bool]]:
    """As RadGraph's partial F1 compares them: words, label, and whether there is a relation."""
    return {
        (str(entity["tokens"]), str(entity["label"]), bool(entity["relations"]))
        for entity in annotation["entities"].values()
    }


def chexbert_answer(
    names: Sequence[str], candidate: Sequence[int], reference: Sequence[int]
) -> MetricAnswer:
    """From the labels that CheXbert gives of both reports (0 or 1 each): accuracy over all."""
    counts = dict.fromkeys(("false_positive", "false_negative", "device_error"), 0.0)
    same = 0
    for name, said, expected in zip(names, candidate, reference, strict=True):
        same += said == expected
        if said == expected:
            continue
        if name == SUPPORT_DEVICES:
            counts["device_error"] += 1
        elif name == NO_FINDING:
            # "No finding" said in the candidate alone means that something is missed.
            counts["false_negative" if said else "false_positive"] += 1
        else:
            counts["false_positive" if said else "false_negative"] += 1
    return MetricAnswer(same / len(names), counts)


def green_answer(value: float, row: Mapping[str, Any]) -> MetricAnswer:
    """From GREEN's row of one pair: its clinically significant errors by category."""
    counts = dict.fromkeys(GREEN_COLUMNS.values(), 0.0)
    for column, category in GREEN_COLUMNS.items():
        counts[category] += float(row[column])
    return MetricAnswer(value, counts)
