"""Rated reports as examples for a judge: means over raters, and what cannot be learnt from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from negalign_train.severity.judges.examples import GradedExample
from negalign_train.severity.trust.expert.graded import graded_reports
from negalign_train.severity.trust.expert.set_files import read_expert_set
from negalign_train.vocabulary.records import CATEGORIES


def line(id_: str, *errors: dict[str, float]) -> dict[str, Any]:
    ratings = [{"rater": f"r{n}", "errors": each} for n, each in enumerate(errors)]
    return {"id": id_, "case": f"case-{id_}", "reference": "Left mass.", "candidate": "Right mass.",
            "ratings": ratings}  # fmt: skip


def test_raters_count_by_their_mean_and_the_rest_is_left_out_by_reason(tmp_path: Path) -> None:
    none = {f"R{n}": 0.0 for n in range(1, 10)}
    path = tmp_path / "set.jsonl"
    rows = [
        line("a", none | {"R5": 0.5}, none | {"R5": 1.0}),
        line("b", {"R5": 0.5}),
        line("c", none | {"R1": 3.0}),
        {"id": "d", "reference": "Left mass.", "candidate": "Mass.", "expect": "S == 0"},
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    examples, refused = graded_reports(read_expert_set(path))
    severities = dict.fromkeys(CATEGORIES, 0.0) | {"wrong_location": 0.75}
    assert examples == [
        GradedExample("set:a", "case-a", "case-a", "Left mass.", "Right mass.", severities)
    ]
    assert refused.counts == {"category_unrated": 1, "not_a_severity": 1, "not_rated": 1}
