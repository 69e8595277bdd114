"""What the champions kept: mean S on each earlier cycle's held-out cases, cycle after cycle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from negalign_train.report.result import RetentionMatrix
from negalign_train.vocabulary.records import ScoredReport

EarlierReports = Mapping[int, Sequence[ScoredReport]]
"""Reports of one model on the held-out cases of each earlier cycle."""


def retention_matrix(
    cycle: int, parent: EarlierReports, champion: EarlierReports, earlier: RetentionMatrix | None
) -> RetentionMatrix:
    """The matrix after ``cycle``.

    Args:
        parent: of the champion after the cycle before this one.
        earlier: what this returned for the cycle before.
    """
    mean_S = {} if earlier is None else {i: dict(row) for i, row in earlier.mean_S.items()}
    for after, reports in ((cycle - 1, parent), (cycle, champion)):
        for i, mean in _means(reports).items():
            mean_S.setdefault(i, {})[after] = mean
    changes = [row[cycle] - row[i] for i, row in mean_S.items() if cycle in row and i in row]
    return RetentionMatrix(
        mean_S=mean_S,
        num_cases={i: len(reports) for i, reports in sorted(champion.items())},
        backward_transfer=sum(changes) / len(changes) if changes else None,
    )


def _means(reports: EarlierReports) -> dict[int, float]:
    """Mean S of the reports that could be scored; a cycle without one is left out."""
    scored = {
        cycle: [report.score.total for report in some if report.score is not None]
        for cycle, some in sorted(reports.items())
    }
    return {cycle: sum(totals) / len(totals) for cycle, totals in scored.items() if totals}
