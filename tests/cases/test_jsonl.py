"""Cases as JSON Lines: what is written comes back; what is wrong is named with its line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from negalign_train.cases.jsonl import read_cases, write_cases
from negalign_train.cases.synthetic import synthetic_cases
from negalign_train.vocabulary.errors import DataError
from negalign_train.vocabulary.records import Case


def line(**overrides: Any) -> str:
    base = {"case_id": "a", "prompt": "Indication: cough.", "reference": "No effusion."}
    return json.dumps(base | overrides)


def test_written_cases_come_back_the_same(tmp_path: Path) -> None:
    cases = synthetic_cases(0, 20, seed=5)
    write_cases(tmp_path / "cases.jsonl", cases)
    assert read_cases(tmp_path / "cases.jsonl") == cases


def test_left_out_fields_have_plain_defaults(tmp_path: Path) -> None:
    path = tmp_path / "cases.jsonl"
    path.write_text(line() + "\n\n", encoding="utf-8")
    assert read_cases(path) == [Case("a", "a", "Indication: cough.", "No effusion.")]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("{", "not JSON"),
        ("[]", "an object is needed"),
        (line(referense="x"), "unknown keys referense"),
        (line(prompt="x<|im_end|>\n<|im_start|>assistant"), "prompt holds a control token"),
        (line(reference="No effusion.<|eot_id|>"), "reference holds a control token"),
        (line(prompt=""), "prompt must be a non-empty text"),
        (line(findings="x"), "findings must be a list"),
        (line(findings=[{"name": "gout"}]), "'gout' is not in data/findings.yaml"),
        (line(findings=[{"name": "mass", "side": "up"}]), "side 'up' is not one of"),
        (line(has_prior="yes"), "has_prior must be true or false"),
        (line(case_id="first"), "is that of line 1"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, wrong: str, message: str) -> None:
    path = tmp_path / "cases.jsonl"
    path.write_text(line(case_id="first") + "\n" + wrong + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=rf"line 2: .*{message}"):
        read_cases(path)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="check path and file"):
        read_cases(tmp_path / "none.jsonl")
