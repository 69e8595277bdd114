"""Pairs with expectations, from a file: how many the rules hold, by kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from negalign_train.severity.judges.rules import RulesJudge
from negalign_train.severity.trust.agreement import AgreementSettings
from negalign_train.severity.trust.expert.bench import ask_judge, bench_report, pairs_of
from negalign_train.severity.trust.expert.set_files import read_expert_set


def kinds_figures(path: Path) -> dict[str, Any]:
    """``n`` expectations of a JSON Lines file (as ``negalign judge bench`` reads it), how many are
    ``held``, and both by kind.

    Raises:
        DataError: the file is no expert set.
    """
    expert_set = read_expert_set(path)
    answers = ask_judge("rules", RulesJudge(), pairs_of(expert_set), lambda _: None)
    report = bench_report(expert_set, [answers], AgreementSettings())
    figures = report.judges[0].expectations
    assert figures is not None
    return {
        "file": path.name,
        "n": figures.num_tests,
        "held": figures.num_held,
        "kinds": {kind: {"held": h, "n": n} for kind, (h, n) in figures.kinds.items()},
    }
