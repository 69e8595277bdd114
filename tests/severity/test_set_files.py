"""Expert sets are read whole or refused with the line that is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from negalign_train.severity.judges.base import ReportPair
from negalign_train.severity.reading.context import CaseContext
from negalign_train.severity.trust.expert.expert_set import (
    Rating,
    case_of,
    is_charged,
    rated_categories,
)
from negalign_train.severity.trust.expert.set_files import read_expert_set
from negalign_train.vocabulary.errors import DataError

RATED: dict[str, Any] = {
    "id": "1",
    "case": "a",
    "reference": "Left effusion.",
    "candidate": "Right effusion.",
    "ratings": [
        {"rater": "x", "errors": {"R1": 0, "R5": 1}},
        {"rater": "y", "errors": {"R1": 2, "R5": 0.5}},
    ],
}
RANKED: dict[str, Any] = {
    "id": "2",
    "reference": "Left effusion.",
    "context": {"age": 71},
    "candidates": ["Left effusion.", ["Right effusion.", "Effusion."], "Clear."],
}
EXPECTED: dict[str, Any] = {
    "id": "3",
    "kind": "side",
    "reference": "Left effusion.",
    "candidate": "Right effusion.",
    "age": None,
    "indication": "Cough",
    "expect": "R5 > 0",
    "why": "the side is wrong",
}


def write(path: Path, *lines: object) -> Path:
    path.write_text("\n".join(json.dumps(line) for line in lines) + "\n\n")
    return path


def test_the_three_kinds_of_lines_stand_in_one_file(tmp_path):
    read = read_expert_set(write(tmp_path / "set.jsonl", RATED, RANKED, EXPECTED))
    (rated,), (ranked,), (expected,) = read.rated, read.rankings, read.expectations
    assert rated.ratings == (
        Rating("x", {"false_positive": 0.0, "wrong_location": 1.0}, 1.0),
        Rating("y", {"false_positive": 2.0, "wrong_location": 0.5}, 2.5),
    )
    assert rated.consensus == 1.75
    assert rated_categories(read.rated) == {"false_positive", "wrong_location"}
    assert is_charged(rated, "false_positive")  # one of two raters is half of them
    aged = CaseContext(71.0, None)
    texts = [[pair.candidate for pair in rank] for rank in ranked.ranks]
    assert texts == [["Left effusion."], ["Right effusion.", "Effusion."], ["Clear."]]
    assert ranked.ranks[0][0].context == aged
    assert expected.pair == ReportPair(
        "Left effusion.", "Right effusion.", CaseContext(None, "Cough")
    )
    assert (rated.case, ranked.case) == ("a", expected.case) == ("a", case_of("Left  effusion."))


def test_a_quality_falls_where_a_total_rises(tmp_path):
    by_quality = RATED | {"ratings": [{"rater": "x", "quality": 4, "errors": {"R1": 1}}]}
    by_total = RATED | {"ratings": [{"rater": "x", "total": 4}]}
    (good,) = read_expert_set(write(tmp_path / "quality.jsonl", by_quality)).rated
    (bad,) = read_expert_set(write(tmp_path / "total.jsonl", by_total)).rated
    assert (good.consensus, bad.consensus) == (-4.0, 4.0)
    assert bad.ratings[0].errors == {}


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (RATED | {"note": "x"}, "unknown key note"),
        (RATED | {"expect": "S > 0"}, "holds ratings and expect of one of"),
        ({"id": "1", "reference": "x"}, "holds none of one of"),
        (RATED | {"ratings": []}, "one object a rater"),
        (RATED | {"ratings": [{"rater": "x"}]}, "needs errors, total"),
        (RATED | {"ratings": [{"rater": "x", "total": 1, "quality": 1}]}, "needs errors, total"),
        (RATED | {"ratings": [{"rater": "x", "errors": {"R10": 1}}]}, "numbers for R1 to R9"),
        (RATED | {"ratings": [{"rater": "x", "errors": {"R1": -1}}]}, "R1 must be at least 0"),
        (RATED | {"ratings": [{"rater": "x", "total": True}]}, "total must be a number"),
        (RATED | {"ratings": [{"rater": "x", "total": float("nan")}]}, "total must be a number"),
        (RATED | {"ratings": [RATED["ratings"][0]] * 2}, "rates the report twice"),
        (RATED | {"candidate": 3}, "candidate must be text"),
        (RATED | {"reference": " "}, "reference must be text that is not blank"),
        (RANKED | {"candidates": ["one"]}, "two texts or more"),
        (RANKED | {"candidates": ["one", []]}, "two texts or more"),
        (RANKED | {"age": 3}, "stand beside context"),
        (EXPECTED | {"age": -3}, "context.age must be 0 to 130"),
        (EXPECTED | {"expect": "exit()"}, "neither true nor false"),
        ([1], "not an object"),
    ],
)
def test_a_line_that_is_not_understood_refuses_the_file(tmp_path, line, says):
    path = write(tmp_path / "set.jsonl", EXPECTED | {"id": "first"}, line)
    with pytest.raises(DataError, match=f"line 2: .*{says}"):
        read_expert_set(path)


def test_a_file_is_rated_on_one_scale_and_each_id_comes_once(tmp_path):
    other = RATED | {"id": "2", "ratings": [{"rater": "x", "quality": 4}]}
    with pytest.raises(DataError, match="line 2: rated by quality, line 1 by errors"):
        read_expert_set(write(tmp_path / "set.jsonl", RATED, other))
    with pytest.raises(DataError, match="id 1 comes twice"):
        read_expert_set(write(tmp_path / "set.jsonl", RATED, RATED))


def test_a_file_without_a_line_or_that_is_no_json_is_refused(tmp_path):
    path = tmp_path / "set.jsonl"
    path.write_text("\n")
    with pytest.raises(DataError, match="holds no line"):
        read_expert_set(path)
    path.write_text("Left effusion.\n")
    with pytest.raises(DataError, match="line 1: not JSON") as refused:
        read_expert_set(path)
    assert "effusion" not in str(refused.value)
    with pytest.raises(DataError, match="cannot be read"):
        read_expert_set(tmp_path / "missing.jsonl")
