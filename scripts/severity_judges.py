"""The rows of ``bench_severity.py``: baselines, and the package's judges, ready to be asked.

The model judges get fewer reports, because their cost is the command's; each row says how many.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import severity_baselines as baselines
from severity_figures import Answer, Verdict, one_by_one
from severity_material import TextPair

from negalign_train.records import Case
from negalign_train.severity.judges.base import Judge as PackageJudge
from negalign_train.severity.judges.base import ReportPair

NAMES = ("rules", "count", "bleu", "rouge", "finetuned", "ensemble", "nli", "self")
_MODEL_JUDGES = frozenset(["finetuned", "ensemble", "nli", "self"])


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


def _quick(only: Sequence[str]) -> tuple[list[Entry], list[str]]:
    """The judges without a model, and those whose package is not installed."""
    makers: dict[str, tuple[str, Callable[[], Any]]] = {
        "rules": ("rules", lambda: baselines.rules),
        "count": ("finding count", lambda: baselines.finding_count),
        "bleu": ("BLEU", baselines.bleu),
        "rouge": ("ROUGE-L", baselines.rouge_l),
    }
    entries, missing = [], []
    for key, (name, make) in makers.items():
        if key not in only:
            continue
        try:
            entries.append(Entry(name, one_by_one(make()), None, 1000))
        except ModuleNotFoundError:
            missing.append(name)
    return entries, missing


def entries_of(
    settings: Settings, learn_from: Sequence[Case]
) -> tuple[list[Entry], dict[str, Any]]:
    """The rows asked for, and a report: what is ``missing``, and how the judge was trained."""
    entries, missing = _quick(settings.only)
    report: dict[str, Any] = {"missing": missing}
    if _MODEL_JUDGES.intersection(settings.only):
        # Here, so that torch is not in the memory of a run without models.
        models = importlib.import_module("severity_models")
        entries += models.model_entries(settings, learn_from, report)
    return entries, report
