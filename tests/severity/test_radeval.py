"""Clinical metrics as judges: answers of their shape, and a package of radeval's shape."""

from __future__ import annotations

import inspect
import sys
from importlib import import_module, invalidate_caches
from importlib.util import find_spec
from pathlib import Path
from textwrap import dedent

import pytest

from negalign_train.recipe.judge_spec import RADEVAL_METRICS
from negalign_train.severity.judges.base import ReportPair
from negalign_train.severity.judges.opening import JudgeSetup, open_judge
from negalign_train.severity.judges.radeval.answers import (
    GREEN_COLUMNS,
    MetricAnswer,
    answer_score,
    chexbert_answer,
    green_answer,
    radgraph_answer,
)
from negalign_train.severity.judges.radeval.scorers import METRICS, PACKAGE, WeightFile
from negalign_train.vocabulary.errors import DataError, RecipeError

COMMIT = "a" * 40


def positive(answer: MetricAnswer) -> dict[str, float]:
    severities = answer_score(answer, "metric").severities
    return {name: value for name, value in severities.items() if value > 0}


def test_s_is_one_minus_the_metric_shared_by_what_it_counts():
    answer = MetricAnswer(0.4, {"false_positive": 1, "false_negative": 2})
    assert positive(answer) == pytest.approx({"false_positive": 0.2, "false_negative": 0.4})
    score = answer_score(answer, "GREEN")
    assert score.total == pytest.approx(0.6)
    assert score.quality is None
    assert [item.detail for item in score.evidence] == ["GREEN 0.400"] * 2


def test_a_right_report_costs_nothing_and_one_without_a_match_costs_all():
    assert positive(MetricAnswer(1.0, {"false_positive": 0})) == {}
    assert positive(MetricAnswer(0.0, {})) == {"false_positive": 0.5, "false_negative": 0.5}


def entities(*rows: tuple[str, str, list[object]]) -> dict[str, object]:
    named = {
        str(n): {"tokens": tokens, "label": label, "relations": relations}
        for n, (tokens, label, relations) in enumerate(rows)
    }
    return {"entities": named}


def test_radgraph_counts_entities_that_one_report_alone_has():
    said = entities(("effusion", "OBS-DP", [["located_at", "1"]]), ("left", "ANAT-DP", []))
    expected = entities(("effusion", "OBS-DP", [["located_at", "1"]]), ("edema", "OBS-DA", []))
    answer = radgraph_answer(0.5, said, expected)
    assert answer == MetricAnswer(0.5, {"false_positive": 1, "false_negative": 1})


def test_chexbert_counts_labels_and_knows_devices_and_no_finding():
    names = ("Edema", "Pneumonia", "Support Devices", "No Finding")
    answer = chexbert_answer(names, [1, 0, 1, 1], [0, 0, 0, 0])
    assert answer.value == 0.25
    assert answer.counts == {"false_positive": 1, "device_error": 1, "false_negative": 1}


def test_greens_six_kinds_are_five_categories():
    row = dict(zip(GREEN_COLUMNS, [1, 2, 3, 4, 5, 6], strict=True))
    assert green_answer(0.1, row | {"Matched Findings": 2}) == MetricAnswer(
        0.1,
        {
            "false_positive": 1, "false_negative": 2, "wrong_location": 3, "wrong_severity": 4,
            "temporal_error": 11,
        },
    )  # fmt: skip


PACKAGE_FILES = {
    "radeval/__init__.py": "",
    "radeval/metrics/__init__.py": "",
    # As radeval 2.2.1 does it: the package under a name that Linux does not know.
    "radeval/metrics/radgraph/__init__.py": "from RadEval.metrics.radgraph.core import F1RadGraph",
    "radeval/metrics/radgraph/core.py": """
        class F1RadGraph:
            def __init__(self, reward_level, model_type, cuda):
                assert (reward_level, model_type, cuda) == ("all", "radgraph-xl", -1)
                print("Using device: cpu")

            def __call__(self, refs, hyps):
                said = [self._read(text) for text in hyps]
                expected = [self._read(text) for text in refs]
                partial = [float(a == b) for a, b in zip(said, expected)]
                return 0.0, ([0.0] * len(refs), partial, [0.0] * len(refs)), said, expected

            def _read(self, text):
                words = {str(n): {"tokens": w, "label": "OBS-DP", "relations": []}
                         for n, w in enumerate(text.split())}
                return {"text": text, "entities": words}
        """,
    "radeval/metrics/f1chexbert/__init__.py": """
        class F1CheXbert:
            TARGET_NAMES = ["Pneumothorax", "No Finding"]

            def __init__(self, *, device):
                assert device == "cpu"

            def get_labels(self, reports, mode="rrg"):
                return [[int("pneumothorax" in r), int("pneumothorax" not in r)] for r in reports]
        """,
    "radeval/metrics/green_score/__init__.py": """
        class Frame:
            def __init__(self, rows):
                self.rows = rows

            def to_dict(self, how):
                assert how == "records"
                return self.rows

        class GREEN:
            def __init__(self, model_name, output_dir=".", cpu=False, num_gpus=None):
                assert (model_name, cpu, num_gpus) == ("StanfordAIMI/GREEN-radllama2-7b", True, 1)

            def __call__(self, refs, hyps, on_sample_done=None):
                print("(GREEN) inference")
                kinds, pairs = COLUMNS, list(zip(refs, hyps))
                rows = [dict.fromkeys(kinds, 0) | {kinds[1]: int(a != b)} for a, b in pairs]
                values = [None if "mass" in b else float(a == b) for a, b in pairs]
                return 0.0, 0.0, values, Frame(rows)
        """,
    "radeval-2.2.1.dist-info/METADATA": "Metadata-Version: 2.1\nName: radeval\nVersion: 2.2.1\n",
}


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of radeval's shape, and a cache with every weight file."""
    for name, text in PACKAGE_FILES.items():
        path = tmp_path / "site" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text).replace("COLUMNS", repr(list(GREEN_COLUMNS)), 1))
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    invalidate_caches()
    for file in {file for metric in METRICS.values() for file in metric.weights}:
        write_cached(file, tmp_path / "hub")
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in ("radeval", "RadEval"):
            del sys.modules[name]


def folder_of(file: WeightFile, hub: Path) -> Path:
    return (file.cache_dir or hub) / f"models--{file.repo.replace('/', '--')}"


def write_cached(file: WeightFile, hub: Path) -> None:
    """A file as the Hub's client keeps it."""
    folder = folder_of(file, hub)
    (folder / "refs").mkdir(parents=True, exist_ok=True)
    (folder / "refs" / "main").write_text(COMMIT)
    (folder / "snapshots" / COMMIT).mkdir(parents=True, exist_ok=True)
    (folder / "snapshots" / COMMIT / file.name).write_text("{}")


PAIRS = [
    ReportPair("Left pneumothorax.", "Left pneumothorax."),
    ReportPair("Left pneumothorax.", "Clear lungs."),
    ReportPair("Left pneumothorax.", ""),
]


@pytest.mark.parametrize("metric", RADEVAL_METRICS)
def test_a_metric_is_asked_through_radevals_own_classes(package, metric, capsys):
    judge = open_judge(f"radeval:{metric}", JudgeSetup(device="cpu"))
    right, wrong, empty = judge.judge(PAIRS)
    assert judge.name == f"radeval:{metric}"
    assert judge.version == "1-2.2.1-aaaaaaa"
    assert right.score is not None
    assert wrong.score is not None
    assert (right.score.total, wrong.score.total) == (0.0, 1.0)
    assert wrong.score.severities["false_negative"] > 0
    assert (empty.score, empty.reason) == (None, "empty_candidate")
    # What a metric prints would break `--json`.
    assert capsys.readouterr().out == ""


def test_an_answer_that_a_metric_could_not_give_is_unknown(package):
    judge = open_judge("radeval:green", JudgeSetup(device="cpu"))
    (judgement,) = judge.judge([ReportPair("Left pneumothorax.", "Left mass.")])
    assert (judgement.score, judgement.reason) == (None, "judge_bad_answer")


def test_missing_weights_are_named_with_the_command_that_brings_them(package):
    file = METRICS["chexbert"].weights[0]
    snapshot = folder_of(file, package / "hub") / "snapshots" / COMMIT / file.name
    snapshot.unlink()
    with pytest.raises(DataError, match=r"hf download StanfordAIMI/RRG_scorers chexbert\.pth"):
        open_judge("radeval:chexbert", JudgeSetup())


def test_a_module_that_a_metric_lacks_is_named(package, monkeypatch):
    core = package / "site" / "radeval" / "metrics" / "radgraph" / "core.py"
    core.write_text("import a_module_that_is_not_there")
    judge = open_judge("radeval:radgraph", JudgeSetup(device="cpu"))
    with pytest.raises(DataError, match="a_module_that_is_not_there cannot be imported"):
        judge.judge(PAIRS[:1])


def test_a_missing_package_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(
        "negalign_train.severity.judges.radeval.scorers.find_spec", lambda name: None
    )
    with pytest.raises(DataError, match=r"pip install 'negalign-train\[radeval\]'"):
        open_judge("radeval:green", JudgeSetup())


def test_an_ensemble_joins_no_metric(tmp_path):
    path = tmp_path / "ensemble.json"
    path.write_text(
        '{"schema": "negalign.ensemble/1", "how": "mean", "judges": ["rules", "radeval:green"]}'
    )
    with pytest.raises(RecipeError, match="joins nine severities"):
        open_judge(f"ensemble:{path}", JudgeSetup())


def test_every_metric_that_a_spec_may_name_can_be_loaded():
    assert tuple(METRICS) == RADEVAL_METRICS


@pytest.mark.skipif(find_spec(PACKAGE) is None, reason="the package radeval is not installed")
def test_the_installed_radeval_has_the_classes_that_are_used_here():
    green = import_module("radeval.metrics.green_score.green").GREEN
    assert {"model_name", "cpu", "num_gpus"} <= set(inspect.signature(green).parameters)
    source = inspect.getsource(green)
    assert all(column in source for column in GREEN_COLUMNS)
    chexbert = import_module("radeval.metrics.f1chexbert").F1CheXbert
    assert "device" in inspect.signature(chexbert).parameters
    assert {"Support Devices", "No Finding"} <= {*chexbert.CONDITION_NAMES, chexbert.NO_FINDING}
