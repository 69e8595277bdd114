"""Cases of a file: which are drafted, which are evaluated on, and how often the file is read."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from negalign_train.cases.jsonl import read_cases, write_cases
from negalign_train.cases.source import evaluation_cases, feedback_cases, generator_cases
from negalign_train.cases.synthetic import synthetic_cases
from negalign_train.recipe.cycle import CasesSettings
from negalign_train.vocabulary.errors import DataError
from negalign_train.vocabulary.records import Case


def settings_of(path: Path) -> CasesSettings:
    return CasesSettings(source="jsonl", path=path, num_feedback_cases=5, num_evaluation_cases=5)


def test_a_file_is_parsed_once_until_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "cases.jsonl"
    cases = synthetic_cases(0, 80, seed=5)
    write_cases(path, cases)
    calls: list[Path] = []

    def counted(path: Path) -> list[Case]:
        calls.append(path)
        return read_cases(path)

    monkeypatch.setattr("negalign_train.cases.source.read_cases", counted)
    drafted = feedback_cases(settings_of(path), 1, seed=1)
    held_out = evaluation_cases(settings_of(path), seed=1)
    assert len(calls) == 1
    assert not {case.group for case in drafted} & {case.group for case in held_out}
    write_cases(path, [replace(case, reference=case.reference + " Stable.") for case in cases])
    os.utime(path, ns=(1, 1))
    again = evaluation_cases(settings_of(path), seed=1)
    assert len(calls) == 2
    assert [case.reference for case in again] == [c.reference + " Stable." for c in held_out]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.jsonl"):
        evaluation_cases(settings_of(tmp_path / "gone.jsonl"), seed=1)


def test_cases_of_one_prompt_are_cases_of_their_own_unless_the_recipe_joins_them(
    tmp_path: Path,
) -> None:
    path = tmp_path / "cases.jsonl"
    one = [replace(c, prompt="Write the report.", group=c.case_id) for c in
           synthetic_cases(0, 80, seed=5)]  # fmt: skip
    write_cases(path, one)
    settings = settings_of(path)
    assert len({case.case_id for case in evaluation_cases(settings, seed=1)}) == 5
    assert len(feedback_cases(settings, 1, seed=1)) == 5
    joined = settings.model_copy(update={"equal_prompts": "same_case"})
    with pytest.raises(DataError, match="5 evaluation cases are needed, 1 are there"):
        evaluation_cases(joined, seed=1)


def test_a_generator_s_cases_are_neither_drafted_nor_evaluated_on(tmp_path: Path) -> None:
    path = tmp_path / "cases.jsonl"
    written = synthetic_cases(0, 80, seed=5)
    write_cases(path, written)
    settings = settings_of(path)
    cases = generator_cases(settings, seed=1)
    assert len(cases) > 20
    kept = [*feedback_cases(settings, 1, seed=1), *evaluation_cases(settings, seed=1)]
    assert not {case.group for case in cases} & {case.group for case in kept}
    assert cases == [case for case in written if case in cases]  # in the file's order
    some = generator_cases(settings, seed=1, count=7)
    assert len(some) == 7
    assert some == [case for case in cases if case in some]
    assert some != generator_cases(settings, seed=2, count=7)
