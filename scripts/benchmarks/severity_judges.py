"""The rows of ``bench_severity.py``: baselines, and the package's judges, ready to be asked.

The model judges get fewer reports, because their cost is the command's; each row says how many.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks import severity_baselines as baselines
from benchmarks.severity_entries import Entry, Settings
from benchmarks.severity_figures import one_by_one
from negalign_train.vocabulary.records import Case

NAMES = ("rules", "encoder", "count", "bleu", "rouge", "finetuned", "ensemble", "nli", "self")
_MODEL_JUDGES = frozenset(["encoder", "finetuned", "ensemble", "nli", "self"])


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
        models = importlib.import_module("benchmarks.severity_models")
        entries += models.model_entries(settings, learn_from, report)
    return entries, report
