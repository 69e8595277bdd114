"""A cycle's result as JSON and back."""

import copy
import json
import re
from typing import Any

import pytest

from negalign_train.evaluation.bootstrap import Interval
from negalign_train.evaluation.second_opinion import SecondOpinion
from negalign_train.report.result import SCHEMA, CycleResult, read_result
from negalign_train.storage.workspace import write_json
from negalign_train.vocabulary.errors import CycleError
from tests.results import make_data, make_result


@pytest.mark.parametrize(
    "result",
    [
        make_result(),
        make_result(since_first_cycle=None, readers_check=None, mean_S_before=None),
        make_result(data=make_data(drafts=30, drafts_empty=4)),
        make_result(
            second_judge=SecondOpinion(
                "nli", "1", "disagrees", False, 9, 0.1, 0.2, Interval(0.1, -0.1, 0.3), {"x": 1}
            ),
            warnings=("one", "two"),
        ),
        make_result(
            second_judge=SecondOpinion("nli", "1", "unknown", False, 0, None, None, None, {})
        ),
    ],
)
def test_a_result_is_the_same_after_json(result):
    value = json.loads(json.dumps(result.to_json()))
    assert CycleResult.from_json(value, "here") == result
    assert value["schema"] == SCHEMA


def test_absent_drafts_are_no_key_and_retention_has_text_keys():
    value = make_result().to_json()
    assert "drafts" not in value["data"]
    assert value["retention"]["mean_S"] == {"1": {"1": 0.71, "2": 0.64}}
    assert value["since_first_cycle"]["mean_S_start"] == 0.95


def changed(**keys):
    """The JSON of a result with dotted keys replaced; None deletes the key."""
    value = copy.deepcopy(make_result().to_json())
    for dotted, new in keys.items():
        *inside, name = dotted.split("__")
        place: Any = value
        for key in inside:
            place = place[int(key) if key.isdecimal() else key]
        if new is None:
            del place[name]
        else:
            place[name] = new
    return value


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (changed(data__evnts=3), "data.evnts: unknown key"),
        (changed(mean_S_before=None), "mean_S_before: missing"),
        (changed(retention__num_cases=None), "retention.num_cases: missing"),
        (
            changed(candidates__0__outcome="passed"),
            "candidates[0].outcome: must be one of promoted",
        ),
        (changed(seed="1"), "seed: must be of type int"),
        (changed(retention__num_cases={"one": 1}), "retention.num_cases: must have whole numbers"),
        (changed(schema="negalign.summary/2"), "schema: must be negalign.summary/3"),
        ([], "schema: must be negalign.summary/3"),
    ],
)
def test_what_does_not_fit_is_one_line_with_file_and_key(tmp_path, value, problem):
    path = tmp_path / "cycle.json"
    write_json(path, value)
    with pytest.raises(CycleError, match=re.escape(f"{path}: {problem}")) as error:
        read_result(path)
    assert "\n" not in str(error.value)
    assert "restore the file from a backup" in str(error.value)
