"""Published expert sets in their owners' shapes, with invented rows."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from negalign_train.severity.trust.expert.importers import (
    REXVAL_ERRORS,
    REXVAL_REPORTS,
    read_radpref,
    read_rexval,
)
from negalign_train.vocabulary.errors import DataError

REPORTS = [["study_id", "gt_report", "radgraph", "bleu"], ["s9", "Left effusion.", "Clear.", "No."]]
HEADER = [
    "study_number", "candidate_type", "rater_index", "error_category", "clinically_significant",
    "num_errors",
]  # fmt: skip
ERRORS = [
    [0, "radgraph", 0, 2, "True", 1],
    [0, "radgraph", 0, 6, "False", 2],
    [0, "radgraph", 1, 2, "False", 1],
    [0, "bleu", 0, 1, "True", 0],
    [0, "bleu", 1, 3, "True", 3],
]


def write_rexval(folder: Path, errors: list[list[Any]], reports: list[list[str]] = REPORTS) -> Path:
    for name, rows in ((REXVAL_REPORTS, reports), (REXVAL_ERRORS, [HEADER, *errors])):
        with (folder / name).open("w", newline="") as stream:
            csv.writer(stream).writerows(rows)
    return folder


def test_rexvals_counts_become_ratings_of_every_rater(tmp_path):
    read = read_rexval(write_rexval(tmp_path, ERRORS), significant_only=False)
    bleu, radgraph = read.rated
    assert (radgraph.id, radgraph.case, bleu.case) == ("0-radgraph", "study-0", "study-0")
    assert (radgraph.pair.reference, radgraph.pair.candidate) == ("Left effusion.", "Clear.")
    first, second = radgraph.ratings
    none = {"false_positive": 0.0, "wrong_location": 0.0, "wrong_severity": 0.0}
    assert first.errors == none | {"false_negative": 1.0, "temporal_error": 2.0}
    assert second.errors == none | {"false_negative": 1.0, "temporal_error": 0.0}
    assert (first.total, second.total, radgraph.consensus) == (3.0, 1.0, 2.0)
    assert bleu.consensus == 1.5


def test_rexvals_significant_errors_leave_the_raters_who_found_none(tmp_path):
    read = read_rexval(write_rexval(tmp_path, ERRORS), significant_only=True)
    assert [rating.total for rating in read.rated[1].ratings] == [1.0, 0.0]


@pytest.mark.parametrize(
    ("errors", "says"),
    [
        ([[0, "radgraph", 0, 7, "True", 1]], "line 2: not a row of ReXVal"),
        ([[0, "radgraph", 0, 1, "maybe", 1]], "line 2: not a row of ReXVal"),
        ([[0, "s_emb", 0, 1, "True", 1]], "no column s_emb"),
        ([*ERRORS, [5, "bleu", 0, 1, "True", 1], [5, "bleu", 1, 1, "True", 1]], "1 rated reports"),
        ([*ERRORS, [0, "bleu", 2, 1, "True", 1]], "rows of 2 of 3 raters"),
    ],
)
def test_files_that_are_not_rexvals_are_refused(tmp_path, errors, says):
    with pytest.raises(DataError, match=says):
        read_rexval(write_rexval(tmp_path, errors), significant_only=False)


def test_a_missing_file_or_column_is_named(tmp_path):
    with pytest.raises(DataError, match="give the folder of ReXVal"):
        read_rexval(tmp_path, significant_only=False)
    write_rexval(tmp_path, ERRORS, reports=[["study_id", "report"], ["s", "x"]])
    with pytest.raises(DataError, match="no column gt_report"):
        read_rexval(tmp_path, significant_only=False)


ENTRY: dict[str, Any] = {
    "id": "p1",
    "reference": "Left effusion.",
    "candidate_a": "Clear.",
    "candidate_b": "Left effusion, small.",
    "age": 60,
    "indication": None,
    "annotations": [
        {
            "rater": "x",
            "preference": "b",
            "rationale": "A misses the effusion.",
            "rating_a": 2,
            "rating_b": 5,
            "errors_a": [{"type": "missing_finding", "severity": "actionable"}],
            "errors_b": [],
        },
        {"rater": "y", "preference": "b", "rating_a": 1, "rating_b": 4},
        {"rater": "z", "preference": "a"},
    ],
}


def changed(**keys: Any) -> dict[str, Any]:
    return ENTRY | {"annotations": [ENTRY["annotations"][0] | keys]}


def test_a_preference_becomes_two_rated_reports_and_one_ranking(tmp_path):
    path = tmp_path / "pref.json"
    path.write_text(json.dumps([ENTRY]))
    read = read_radpref(path)
    worse, better = read.rated
    assert (worse.id, worse.case, worse.pair.context.age) == ("p1-a", "p1", 60.0)
    assert (worse.consensus, better.consensus) == (-1.5, -4.5)
    assert worse.ratings[0].errors["false_negative"] == 0.5
    assert set(better.ratings[0].errors.values()) == {0.0}
    assert better.ratings[1].errors == {}  # not rated by category is not 0
    (ranking,) = read.rankings
    assert ranking.ranks == ((better.pair,), (worse.pair,))


@pytest.mark.parametrize(
    ("votes", "ranks"),
    [(["a", "b"], None), (["equal", "equal", "a"], 1), (["a", "equal"], 2), (["a", "a", "b"], 2)],
)
def test_the_majority_ranks_and_a_split_vote_does_not(tmp_path, votes, ranks):
    annotations = [{"rater": f"r{n}", "preference": vote} for n, vote in enumerate(votes)]
    rated = {"rater": "rating", "rating_a": 1, "rating_b": 2}
    path = tmp_path / "pref.jsonl"
    path.write_text(json.dumps(ENTRY | {"annotations": [*annotations, rated]}) + "\n")
    rankings = read_radpref(path).rankings
    assert [len(test.ranks) for test in rankings] == ([] if ranks is None else [ranks])


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        (ENTRY | {"winner": "a"}, "entry 1: the entry: unknown key winner"),
        (changed(preference="c"), "preference must be one of a, b, equal"),
        (changed(rating_a=0), "rating_a must be at least 1"),
        (changed(errors_a=[{"type": "typo", "severity": "urgent"}]), "an error's type must be"),
        (changed(errors_a=[{"type": "location", "severity": 3}]), "an error's type must be"),
        (ENTRY | {"annotations": []}, "annotations must be a list"),
        (ENTRY | {"annotations": ENTRY["annotations"][:1] * 2}, "a rater comes twice"),
        ({"id": "p"}, "reference must be text"),
    ],
)
def test_an_entry_of_another_shape_is_refused(tmp_path, entry, says):
    path = tmp_path / "pref.jsonl"
    path.write_text(json.dumps(entry))
    with pytest.raises(DataError, match=says):
        read_radpref(path)
