"""What a row of ``bench_severity.py`` is, and the settings that rows are made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.severity_figures import Answer, Verdict
from benchmarks.severity_material import TextPair
from negalign_train.severity.judges.base import Judge as PackageJudge
from negalign_train.severity.judges.base import ReportPair


@dataclass(frozen=True)
class Entry:
    """One row: its name, the judge, at most how many reports it gets, and on how many pairs its
    cost is measured.
    """

    name: str
    answer: Answer
    reports: int | None
    cost_pairs: int


@dataclass(frozen=True)
class Settings:
    """``finetuned_reports``, ``slow_reports``: reports for the trained judge and the ensemble, and
    for ``nli`` and ``self``; ``nli_dir``, ``encoder_dir``: real models instead of random ones.
    """

    only: tuple[str, ...]
    work_dir: Path
    seed: int
    finetuned_reports: int
    slow_reports: int
    training_examples: int
    training_epochs: int
    learning_rate: float
    nli_dir: Path | None = None
    encoder_dir: Path | None = None


def answer_of(judge: PackageJudge) -> Answer:
    """A judge of the package as the benchmark asks it."""

    def answer(pairs: Sequence[TextPair]) -> list[Verdict | None]:
        judgements = judge.judge([ReportPair(*pair) for pair in pairs])
        scores = [judgement.score for judgement in judgements]
        return [None if s is None else Verdict(s.total, s.severities) for s in scores]

    return answer
