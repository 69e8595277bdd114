"""Feedback on another model's reports: counted, told, or refused before anything is frozen; and an
export without severities, from the log to pairs.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from negalign_train.cases.synthetic import synthetic_cases
from negalign_train.commands.support.cycle_notes import data_notes
from negalign_train.cycle.opening.generators import other_generators, same_base
from negalign_train.cycle.opening.plan import LocatedRecipe, open_cycle
from negalign_train.cycle.steps.calibration import calibrate
from negalign_train.cycle.steps.feedback import take_snapshot
from negalign_train.cycle.steps.preferences import build
from negalign_train.feedback.store import FeedbackStore
from negalign_train.preferences.files import read_pairs
from negalign_train.report.result import OtherGenerators
from negalign_train.storage.database import open_database
from negalign_train.storage.workspace import Workspace
from negalign_train.vocabulary.errors import CycleError
from negalign_train.vocabulary.records import ErrorMark, Event, Generator
from tests.cycles import RECIPE, small_recipe
from tests.results import make_data

WRONG = "Findings: Small left pneumothorax. Impression: Small left pneumothorax."


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("Qwen/Qwen2.5-0.5B", "qwen/qwen2.5-0.5b/", True),
        ("Qwen/Qwen2.5-0.5B", "/models/Qwen2.5-0.5B", True),
        ("Qwen/Qwen2.5-0.5B", r"C:\models\Qwen2.5-0.5B", True),
        ("Qwen2.5-0.5B", "Qwen/Qwen2.5-0.5B", True),
        ("Qwen/Qwen2.5-0.5B", "unsloth/Qwen2.5-0.5B", False),
        ("Qwen/Qwen2.5-0.5B", "Qwen/Qwen2.5-0.5B-Instruct", False),
        ("gpt-4o", "negalign-embedded", False),
    ],
)
def test_names_of_one_base_model_are_one(one: str, other: str, expected: bool) -> None:
    assert same_base(one, other) is expected
    assert same_base(other, one) is expected


@pytest.fixture
def opened(tmp_path, make_event) -> Any:
    """``opened(other_generators, errors)``: an open cycle on a log of 30 corrected reports, twelve
    of them written by two other models.
    """

    def make(setting: str = "warn", **changes: Any) -> Any:
        recipe = small_recipe(
            feedback={"source": "log", "min_events": 5, "other_generators": setting}
        )
        bases = ["gpt-4o"] * 8 + ["big/model"] * 4 + ["embedded"] * 9 + ["negalign-embedded"] * 9
        fields: dict[str, Any] = {
            "completion": WRONG, "grade": "reject", "errors": (ErrorMark("false_positive", 1.0),),
        }  # fmt: skip
        cases = synthetic_cases(0, len(bases), seed=12345)
        events: list[Event] = [
            make_event(
                event_id=f"e{n}", case_id=f"hospital-{n}", prompt=case.prompt,
                edited=case.reference, generator=Generator(base), **fields | changes,
            )
            for n, (case, base) in enumerate(zip(cases, bases, strict=True))
        ]  # fmt: skip
        place = Workspace(tmp_path)
        engine = open_database(place.database_url)
        FeedbackStore(engine).append(events, source="test")
        return open_cycle(place, engine, LocatedRecipe(recipe, RECIPE), 3, "2026-01-01T00:00:00Z")

    return make


def test_refuse_stops_before_anything_is_frozen_and_names_the_shares(opened):
    context = opened("refuse")
    with pytest.raises(CycleError) as error:
        take_snapshot(context, calibrate(context))
    assert (
        "12 of 30 new events grade reports of another model than negalign-embedded: gpt-4o 8, "
        "big/model 4." in str(error.value)
    )
    assert not (context.folder / "snapshot.parquet").exists()


@pytest.mark.parametrize("setting", ["warn", "accept"])
def test_warn_and_accept_train_on_them_and_count_them(opened, setting):
    context = opened(setting)
    snapshot = take_snapshot(context, calibrate(context))
    assert len(snapshot) == 30
    assert other_generators(context, [e for _, e in snapshot]) == {"gpt-4o": 8, "big/model": 4}
    counts: dict[str, Any] = build(context)
    assert counts["events_of_other_generators"] == 12
    bases = {each["base"]: each["events"] for each in counts["readers"]["generators"]}
    assert bases == {"gpt-4o": 8, "big/model": 4, "embedded": 9, "negalign-embedded": 9}


def test_the_terminal_names_the_other_models_where_the_recipe_says_warn():
    others = OtherGenerators("warn", "mine", {"big/model": 4, "gpt-4o": 8})
    assert data_notes(make_data(other_generators=others)) == [
        "12 of 30 events grade reports of another model than mine: gpt-4o 8, big/model 4 "
        "(feedback.other_generators)"
    ]
    accepted = replace(others, setting="accept")
    assert data_notes(make_data(other_generators=accepted)) == []


def test_an_export_without_severities_goes_from_the_log_to_pairs(opened):
    context = opened(errors=(ErrorMark("false_positive", None),))
    snapshot = take_snapshot(context, calibrate(context))
    assert {event.severity_source for _, event in snapshot} == {"scorer"}
    assert min(event.total_severity or 0.0 for _, event in snapshot) > 0
    counts: dict[str, Any] = build(context)
    assert counts["severities_from_scorer"] == 30
    assert counts["pairs"] == len(read_pairs(context.folder / "pairs.parquet")) >= 20
