"""A cycle learns its scale from earlier cycles' readers, and never from held-out cases."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from negalign_train.cycle.opening.plan import Context, LocatedRecipe
from negalign_train.cycle.steps.calibration import CALIBRATION, calibrate, scorer_used
from negalign_train.cycle.steps.feedback import take_snapshot
from negalign_train.feedback.snapshot import read_snapshot, write_snapshot
from negalign_train.feedback.store import FeedbackStore
from negalign_train.recipe.cycle import CycleRecipe, SeveritySettings, load_yaml
from negalign_train.severity.judges.rules import rules_version
from negalign_train.storage.database import open_database
from negalign_train.storage.workspace import Workspace, read_json, write_json
from negalign_train.vocabulary.errors import CycleError
from negalign_train.vocabulary.records import ErrorMark
from negalign_train.vocabulary.resources import data_path
from tests.cycles import plan_of

RECIPE = Path(__file__).resolve().parents[2] / "recipes" / "embedded" / "cycle.yaml"


def context_of(root: Path, cycle: int, **severity: Any) -> Context:
    recipe = load_yaml(RECIPE, CycleRecipe)
    feedback = recipe.feedback.model_copy(update={"source": "log", "min_events": 1})
    recipe = recipe.model_copy(
        update={"severity": SeveritySettings(**severity), "feedback": feedback}
    )
    plan = plan_of(recipe, cycle=cycle)
    place = Workspace(root)
    engine = open_database(place.database_url)
    return Context(plan, LocatedRecipe(recipe, RECIPE), place, engine, data_path("embedded"))


@pytest.fixture
def after_one_cycle(tmp_path, make_event):
    """Cycle 1 with 60 wrong sides that cost 0.5 and that readers gave 0.2; half are held out."""
    events = [
        make_event(
            event_id=f"e{n:02d}", case_id=f"c{n}", prompt=f"Indication: {n}.",
            completion="Findings: Left pneumothorax.", edited="Findings: Right pneumothorax.",
            errors=(ErrorMark("wrong_location", 0.2),),
        )
        for n in range(60)
    ]  # fmt: skip
    folder = Workspace(tmp_path).cycle_dir(1)
    write_snapshot(folder / "snapshot.parquet", list(enumerate(events, start=1)))

    def hold_out(groups: int) -> None:
        split = {
            "groups": {f"c{n}": f"g{n}" for n in range(60)},
            "held_out": [f"g{n}" for n in range(groups)],
            "frozen": [],
            "withdrawn": [],
        }
        write_json(folder / "split.json", split)

    hold_out(10)
    return tmp_path, hold_out


def test_the_second_cycle_takes_its_readers_scale_and_records_it(after_one_cycle):
    root, _ = after_one_cycle
    context = context_of(root, 2)
    found = calibrate(context)
    assert found.adopted == ("wrong_location",)
    assert found.categories["wrong_location"].apply(0.5) == pytest.approx(0.2, abs=0.02)
    assert (found.num_events, found.cycles) == (50, (1,))
    written = read_json(context.folder / CALIBRATION)
    assert written["digest"] == found.digest == scorer_used(found, {}).calibration
    assert calibrate(context) == found


def test_a_calibration_of_another_scorer_is_made_anew_until_the_events_are_frozen(
    after_one_cycle, make_event
):
    root, _ = after_one_cycle
    context = context_of(root, 2)
    fresh = calibrate(context)
    older = replace(fresh, judge_version="older").to_json()
    write_json(context.folder / CALIBRATION, older)
    assert calibrate(context).categories == fresh.categories
    write_snapshot(context.folder / "snapshot.parquet", [(61, make_event())])
    assert calibrate(context).categories == fresh.categories
    write_json(context.folder / CALIBRATION, older)
    with pytest.raises(CycleError, match=r"made for rules older.*delete .*c0002 to start the"):
        calibrate(context)


def test_a_calibration_does_not_outlive_calibrate_false(after_one_cycle, make_event):
    root, _ = after_one_cycle
    assert calibrate(context_of(root, 2)).adopted == ("wrong_location",)
    off = context_of(root, 2, calibrate=False)
    assert calibrate(off).adopted == ()
    assert read_json(off.folder / CALIBRATION)["reason"] == "switched off (severity.calibrate)"
    # Other earlier events make another calibration, too.
    assert calibrate(context_of(root, 2)).num_events == 50
    first = Workspace(root).cycle_dir(1) / "snapshot.parquet"
    write_snapshot(first, read_snapshot(first)[:55])
    assert calibrate(context_of(root, 2)).num_events == 45


def test_held_out_cases_teach_nothing(after_one_cycle):
    root, hold_out = after_one_cycle
    hold_out(30)
    found = calibrate(context_of(root, 2))
    assert found.num_events == 30
    assert found.adopted == ()
    assert found.reason.startswith("too little data")


def test_the_first_cycle_and_a_recipe_without_it_change_nothing(after_one_cycle, tmp_path):
    root, _ = after_one_cycle
    assert "first cycle" in calibrate(context_of(tmp_path / "other", 1)).reason
    off = calibrate(context_of(root, 2, calibrate=False))
    assert (off.adopted, off.reason) == ((), "switched off (severity.calibrate)")


def test_severities_are_filled_at_the_readers_scale_with_their_source(after_one_cycle, make_event):
    root, _ = after_one_cycle
    context = context_of(root, 2)
    given = make_event(event_id="given", case_id="x")
    left_out = make_event(
        event_id="left-out", case_id="y", errors=(), grade="reject",
        completion="Findings: Left pneumothorax.", edited="Findings: Right pneumothorax.",
    )  # fmt: skip
    FeedbackStore(context.engine).append([given, left_out], source="test")
    events = {event.event_id: event for _, event in take_snapshot(context, calibrate(context))}
    assert events["given"].severity_source == "reader"
    assert events["given"].severity_judge is None
    filled = events["left-out"]
    assert filled.severity_source == "scorer"
    assert filled.total_severity == pytest.approx(0.2, abs=0.02)
    digest = calibrate(context).digest[:12]
    assert filled.severity_judge == f"rules {rules_version()} calibrated {digest}"


def test_an_edit_box_that_came_back_unchanged_is_no_reference(after_one_cycle, make_event):
    root, _ = after_one_cycle
    context = context_of(root, 2)
    text = "Findings: Left pneumothorax."
    events = [
        make_event(event_id=grade, case_id=grade, errors=(), grade=grade, completion=text,
                   edited=f"{text} \n")
        for grade in ("partial", "reject")
    ]  # fmt: skip
    FeedbackStore(context.engine).append(events, source="test")
    snapshot = [event for _, event in take_snapshot(context, calibrate(context))]
    assert [event.severities for event in snapshot] == [None, None]
