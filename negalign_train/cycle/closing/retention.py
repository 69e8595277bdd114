"""What the champions kept: mean S on each earlier cycle's held-out cases, cycle after cycle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from negalign_train.vocabulary.records import ScoredReport

Retention = Mapping[int, Sequence[ScoredReport]]
"""Reports of one model on the held-out cases of each earlier cycle."""


def retention_summary(
    cycle: int, parent: Retention, champion: Retention, earlier: Mapping[str, Any] | None
) -> dict[str, Any]:
    """The matrix after ``cycle``: ``mean_S[i][j]`` is mean S on cycle i's held-out cases of the
    champion after cycle j.

    ``backward_transfer`` is the mean over the earlier cycles i of ``mean_S[i][cycle]`` minus
    ``mean_S[i][i]`` (Lopez-Paz and Ranzato 2017, equation 3, of S: above 0 is forgotten); None
    where no earlier cycle was measured right after it.

    Args:
        parent: of the champion after the cycle before this one.
        earlier: what this returned for the cycle before.
    """
    mean_S = {} if earlier is None else {i: dict(row) for i, row in earlier["mean_S"].items()}
    for after, reports in ((cycle - 1, parent), (cycle, champion)):
        for i, mean in _means(reports).items():
            mean_S.setdefault(str(i), {})[str(after)] = mean
    now = str(cycle)
    moved = [row[now] - row[i] for i, row in mean_S.items() if now in row and i in row]
    return {
        "mean_S": mean_S,
        "num_cases": {str(i): len(reports) for i, reports in sorted(champion.items())},
        "backward_transfer": sum(moved) / len(moved) if moved else None,
    }


def _means(retention: Retention) -> dict[int, float]:
    """Mean S of the reports that could be scored; a cycle without one is left out."""
    scored = {
        cycle: [report.score.total for report in reports if report.score is not None]
        for cycle, reports in sorted(retention.items())
    }
    return {cycle: sum(totals) / len(totals) for cycle, totals in scored.items() if totals}
