"""The summary shows mean S at the readers' scale beside the gate's, only where there is one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from negalign_train.cycle.closing import summary
from negalign_train.cycle.steps.evaluate import Evaluation
from negalign_train.evaluation.bootstrap import BootstrapSettings
from negalign_train.severity.pricing.calibration import CategoryScale, identity
from negalign_train.vocabulary.records import CATEGORIES, ScoredReport, SeverityScore

CONTEXT: Any = None  # what would read it is replaced


def evaluation(values) -> Evaluation:
    """Reports whose R5 is as given; None cannot be scored."""
    none = dict.fromkeys(CATEGORIES, 0.0)
    scores = [None if v is None else SeverityScore(none | {"wrong_location": v}) for v in values]
    reports = tuple(
        ScoredReport(f"c{n}", f"g{n}", "text", 3, False, score) for n, score in enumerate(scores)
    )
    return Evaluation(reports, {}, None, None, 0.0)


def test_mean_S_at_the_readers_scale_is_of_the_cases_that_both_sides_scored(monkeypatch):
    found = identity("rules", "v", "test")
    halved: Any = SimpleNamespace(
        adopted=("wrong_location",),
        apply=lambda score: SeverityScore(
            {n: CategoryScale(0.5).apply(s) for n, s in score.severities.items()}
        ),
    )
    settings = BootstrapSettings(level=0.025, num_bootstrap=200, severe_threshold=0.8, seed=1)
    monkeypatch.setattr(summary, "bootstrap_settings", lambda _: settings)
    parent, candidate = evaluation([1.0, 0.5, 0.5, 1.0]), evaluation([0.5, 0.5, 0.0, None])
    assert summary._calibrated_check(CONTEXT, found, parent, candidate) is None
    check = summary._calibrated_check(CONTEXT, halved, parent, candidate)
    assert check is not None
    assert check.mean_S_before == pytest.approx(1.0 / 3)
    assert check.mean_S_after == pytest.approx(0.5 / 3)
    assert check.ci_low <= check.mean_S_after - check.mean_S_before <= check.ci_high
