"""The metrics of ``radeval`` 2.2, loaded and asked through its own classes.

They print, and RadGraph's import looks for a file on the network: what they say goes to standard
error. Their weights are not ours to choose: CheXbert's and RadGraph's are pickles, and GREEN's
folder holds code that transformers runs. The docs say so.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from negalign_train.severity.judges.radeval.answers import (
    MetricAnswer,
    chexbert_answer,
    green_answer,
    radgraph_answer,
)
from negalign_train.vocabulary.errors import DataError

PACKAGE = "radeval"
INSTALL = "pip install 'negalign-train[radeval]'"
_WEIGHTS = "StanfordAIMI/RRG_scorers"
_GREEN = "StanfordAIMI/GREEN-radllama2-7b"

AskMetric = Callable[[Sequence[str], Sequence[str]], list[MetricAnswer | None]]
"""(references, candidates) to one answer each; None where the metric gave none."""


@dataclass(frozen=True)
class WeightFile:
    """A file that a metric reads from a Hugging Face cache.

    ``cache`` is a folder below the user's cache directory, None for the Hub's own; with ``whole``
    the metric reads all of the repository, and the file stands for it.
    """

    repo: str
    name: str
    cache: str | None = None
    whole: bool = False

    @property
    def command(self) -> str:
        """How to fetch it."""
        where = "" if self.cache is None else f" --cache-dir {self.cache_dir}"
        what = self.repo if self.whole else f"{self.repo} {self.name}"
        return f"HF_HUB_OFFLINE=0 hf download {what}{where}"

    @property
    def cache_dir(self) -> Path | None:
        if self.cache is None:
            return None
        # As appdirs says it for Linux; radeval asks appdirs.
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        return Path(base) / self.cache

    def commit(self) -> str | None:
        """The commit it was fetched at; None where it is not in the cache."""
        from huggingface_hub import try_to_load_from_cache  # noqa: PLC0415

        found = try_to_load_from_cache(self.repo, self.name, cache_dir=self.cache_dir)
        # .../snapshots/COMMIT/NAME
        return Path(found).parent.name if isinstance(found, str) else None


@dataclass(frozen=True)
class RadevalMetric:
    """One metric: what it is called in words, its weights, and how it is loaded (on a device)."""

    label: str
    weights: tuple[WeightFile, ...]
    load: Callable[[str], AskMetric]


@contextmanager
def quiet_output() -> Iterator[None]:
    """What is printed meanwhile goes to standard error: standard output is for results."""
    with redirect_stdout(sys.stderr):
        yield


def _load_radgraph(device: str) -> AskMetric:
    # radeval 2.2.1 imports itself as RadEval there (metrics/radgraph/_vendor/core.py:13), a name
    # that only a file system without case resolves.
    sys.modules.setdefault("RadEval", import_module(PACKAGE))
    scorer_class = import_module("radeval.metrics.radgraph").F1RadGraph
    cuda = int(device.partition(":")[2] or 0) if device.startswith("cuda") else -1
    scorer = scorer_class(reward_level="all", model_type="radgraph-xl", cuda=cuda)

    def ask(references: Sequence[str], candidates: Sequence[str]) -> list[MetricAnswer | None]:
        _, levels, said, expected = scorer(refs=list(references), hyps=list(candidates))
        rows = zip(levels[1], said, expected, strict=True)  # simple, partial, complete
        return [radgraph_answer(float(f1), a, b) for f1, a, b in rows]

    return ask


def _load_chexbert(device: str) -> AskMetric:
    scorer = import_module("radeval.metrics.f1chexbert").F1CheXbert(device=device)

    def ask(references: Sequence[str], candidates: Sequence[str]) -> list[MetricAnswer | None]:
        said = scorer.get_labels(list(candidates))
        expected = scorer.get_labels(list(references))
        names = scorer.TARGET_NAMES
        return [chexbert_answer(names, a, b) for a, b in zip(said, expected, strict=True)]

    return ask


def _load_green(device: str) -> AskMetric:
    scorer_class = import_module("radeval.metrics.green_score").GREEN
    scorer = scorer_class(_GREEN, cpu=not device.startswith("cuda"), num_gpus=1)

    def ask(references: Sequence[str], candidates: Sequence[str]) -> list[MetricAnswer | None]:
        _, _, values, frame = scorer(list(references), list(candidates))
        rows: list[Mapping[str, Any]] = frame.to_dict("records")
        return [
            None if value is None else green_answer(float(value), row)
            for value, row in zip(values, rows, strict=True)
        ]

    return ask


METRICS: Mapping[str, RadevalMetric] = {
    "radgraph": RadevalMetric(
        "RadGraph-XL F1 (partial)",
        (WeightFile(_WEIGHTS, "radgraph-xl.tar.gz", "radgraph/0.1.18"),),
        _load_radgraph,
    ),
    "chexbert": RadevalMetric(
        "CheXbert accuracy over 14 labels",
        (
            WeightFile(_WEIGHTS, "chexbert.pth", "chexbert"),
            WeightFile("bert-base-uncased", "config.json"),
            WeightFile("bert-base-uncased", "vocab.txt"),
        ),
        _load_chexbert,
    ),
    "green": RadevalMetric("GREEN", (WeightFile(_GREEN, "config.json", whole=True),), _load_green),
}


def check_installed(name: str) -> str:
    """radeval's version, with the commits of the metric's weights.

    Raises:
        DataError: the package or a weight file is missing.
    """
    if find_spec(PACKAGE) is None:
        raise DataError(
            f"judge radeval:{name} needs the package radeval, which is not installed; run "
            f"`{INSTALL}`"
        )
    commits = {file: file.commit() for file in METRICS[name].weights}
    if missing := [file for file, commit in commits.items() if commit is None]:
        raise DataError(
            f"judge radeval:{name}: {len(missing)} of its weight files are not on this machine, "
            f"and nothing is fetched at run time; run {' && '.join(f.command for f in missing)}"
        )
    found = [str(commit)[:7] for commit in dict.fromkeys(commits.values())]
    return "-".join([metadata.version(PACKAGE), *found])


def load_metric(name: str, device: str) -> AskMetric:
    """The metric, ready to be asked.

    Raises:
        DataError: a package that it needs, or a part of its weights, is missing.
    """
    try:
        with quiet_output():
            return METRICS[name].load(device)
    except ImportError as error:
        raise DataError(
            f"judge radeval:{name}: the module {error.name} cannot be imported; run `{INSTALL}`"
        ) from error
    except OSError as error:
        raise DataError(
            f"judge radeval:{name}: a part of its weights is not on this machine "
            f"({type(error).__name__}); load the metric once with HF_HUB_OFFLINE=0"
        ) from error
