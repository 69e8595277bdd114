"""Drafts of a simulated cycle: an empty one is counted, never lost."""

from __future__ import annotations

from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from negalign_train.cases.source import feedback_cases
from negalign_train.commands.support.cycle_notes import data_notes
from negalign_train.cycle.opening.plan import LocatedRecipe, open_cycle
from negalign_train.cycle.steps import feedback as feedback_step
from negalign_train.cycle.steps.calibration import calibrate
from negalign_train.cycle.steps.feedback import DRAFTS, draft_counts, take_snapshot
from negalign_train.storage.database import open_database
from negalign_train.storage.workspace import Workspace
from negalign_train.vocabulary.errors import CycleError
from tests.cycles import RECIPE, small_recipe
from tests.results import make_data


@pytest.fixture
def drafting(tmp_path, monkeypatch) -> Any:
    """``drafting(write)``: the context and snapshot of a cycle whose drafts ``write`` gives."""

    def draft(write) -> Any:
        recipe = small_recipe(cases={"num_feedback_cases": 30}, feedback={"min_events": 5})
        place = Workspace(tmp_path)
        engine = open_database(place.database_url)
        located = LocatedRecipe(recipe, RECIPE)
        context = open_cycle(place, engine, located, 3, "2026-01-01T00:00:00+00:00")
        cases = feedback_cases(recipe.cases, 1, 3)
        texts = [write(number, case) for number, case in enumerate(cases)]

        @contextmanager
        def writer(*_: Any) -> Any:
            reports = [SimpleNamespace(text=text) for text in texts]
            yield SimpleNamespace(write=lambda *_: reports)

        monkeypatch.setattr(feedback_step, "report_writer", writer)
        monkeypatch.setattr(feedback_step, "load_tokenizer", lambda _: None)
        return context, take_snapshot(context, calibrate(context))

    return draft


def test_an_empty_draft_is_counted_in_the_data_and_told(drafting):
    context, snapshot = drafting(lambda number, case: " \n" if number < 4 else case.reference)
    assert draft_counts(context) == {"drafts": 30, "drafts_empty": 4}
    assert len({event.case_id for _, event in snapshot}) == 26
    assert data_notes(make_data(**draft_counts(context))) == [
        "4 of 30 drafts were empty: the generator failed there, and no reader could grade it"
    ]
    assert data_notes(make_data(drafts=30, drafts_empty=0)) == []


def test_a_generator_that_writes_nothing_is_told_as_what_it_is(drafting, tmp_path):
    with pytest.raises(CycleError, match="every draft of embedded is empty"):
        drafting(lambda number, case: "")
    assert not (Workspace(tmp_path).cycle_dir(1) / DRAFTS).exists()
