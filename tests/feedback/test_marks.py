"""Errors marked without a severity: they enter the log, and the scorer prices them at the cycle."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from negalign_train.feedback.schema import event_to_dict, parse_event
from negalign_train.feedback.snapshot import read_snapshot, write_snapshot
from negalign_train.feedback.store import FeedbackStore
from negalign_train.preferences.align import WordChange
from negalign_train.preferences.build import build_preferences
from negalign_train.preferences.loss_weights import severity_of_change
from negalign_train.recipe.cycle import PreferenceSettings
from negalign_train.severity.judges.examples import graded_examples
from negalign_train.severity.judges.rules import RulesJudge
from negalign_train.severity.judges.uses.filling import fill_severities
from negalign_train.vocabulary.approval import own_edits
from negalign_train.vocabulary.marks import price_marks, priced_marks
from negalign_train.vocabulary.records import CATEGORIES, ErrorMark, Event
from tests.commands.test_cli import Negalign

EventDict = Callable[..., dict[str, Any]]
MakeEvent = Callable[..., Event]
SETTINGS = PreferenceSettings(
    pair_weight="uniform", changed_word_weight=5.0, span_severity=True, struck_only=False
)


def scored(**severities: float) -> dict[str, float]:
    return {name: severities.get(name, 0.0) for name in CATEGORIES}


def mark(category: str, severity: float | None = None, span: Any = None) -> ErrorMark:
    return ErrorMark(category, severity, span)


@pytest.mark.parametrize("written", [{"severity": None}, {}])
def test_a_mark_without_severity_is_a_legal_event_whose_severities_are_unknown(
    event_dict: EventDict, written: dict[str, None]
) -> None:
    event = parse_event(event_dict(errors=[{"category": "wrong_location", **written}]))
    assert event.errors == (mark("wrong_location"),)
    assert (event.severities, event.severity_source) == (None, None)
    assert parse_event(event_to_dict(event)) == event


def test_an_accepted_report_with_a_mark_of_unknown_severity_contradicts_itself(
    event_dict: EventDict,
) -> None:
    data = event_dict(grade="accept", edited=None, errors=[{"category": "wrong_location"}])
    with pytest.raises(Exception, match="grade_contradicts_severities: accept with an error that"):
        parse_event(data)


@pytest.mark.parametrize(
    ("errors", "scorer", "expected"),
    [
        # The scorer prices the category that was marked, and only that.
        ([mark("wrong_location")], scored(wrong_location=0.5, false_positive=0.3),
         scored(wrong_location=0.5)),
        # What the reader priced stands beside it, in another category and in the same.
        ([mark("wrong_location"), mark("device_error", 0.2)], scored(wrong_location=0.5),
         scored(wrong_location=0.5, device_error=0.2)),
        ([mark("wrong_location"), mark("wrong_location", 0.7)], scored(wrong_location=0.5),
         scored(wrong_location=0.7)),
        # The scorer calls the same error by another name: it costs what the scorer found there.
        ([mark("wrong_severity")], scored(false_positive=0.6), scored(false_positive=0.6)),
        ([mark("wrong_severity"), mark("device_error", 0.9)],
         scored(false_positive=0.6, device_error=0.1),
         scored(false_positive=0.6, device_error=0.9)),
    ],
)  # fmt: skip
def test_the_scorer_prices_what_the_reader_did_not(
    errors: list[ErrorMark], scorer: dict[str, float], expected: dict[str, float]
) -> None:
    assert price_marks(errors, scorer) == expected


def test_a_filled_event_says_so_and_teaches_no_calibration(
    make_event: MakeEvent, tmp_path: Path
) -> None:
    open_one = make_event(errors=(mark("wrong_location"), mark("device_error", 0.25)))
    assert open_one.severities is None
    found = fill_severities([open_one], own_edits([open_one]), RulesJudge(), "rules 1")
    (filled,) = found.events
    assert found.unknown == {}
    assert filled.severities == scored(wrong_location=0.25, device_error=0.25)
    assert (filled.severity_source, filled.severity_judge) == ("scorer", "rules 1")
    examples, left_out = graded_examples([filled], {filled.case_id: "g"})
    assert (examples, left_out.counts) == ([], {"no_reader_severities": 1})
    path = tmp_path / "snapshot.parquet"
    write_snapshot(path, [(1, filled)])
    assert read_snapshot(path) == [(1, filled)]  # the reader's words and the scorer's price


def test_without_an_edit_a_mark_of_unknown_severity_stays_unknown(make_event: MakeEvent) -> None:
    """A price beside it is a lower bound, not S."""
    event = make_event(
        grade="reject", edited=None, errors=(mark("wrong_location"), mark("device_error", 0.25))
    )
    found = fill_severities([event], {}, RulesJudge())
    assert found.events == (event,)
    assert found.unknown == {event.event_id: "no_reference"}


def test_a_scorer_that_finds_nothing_leaves_the_marked_error_unknown(make_event: MakeEvent) -> None:
    event = make_event(
        edited="Findings: Small left pleural effusion. The heart has a normal size.",
        errors=(mark("wrong_location"),),
    )
    found = fill_severities([event], own_edits([event]), RulesJudge())
    assert found.events == (event,)
    assert found.unknown == {event.event_id: "scorer_found_nothing"}


def test_words_are_weighed_by_the_price_that_the_scorer_gave(make_event: MakeEvent) -> None:
    event = make_event(
        errors=(mark("wrong_location", None, (10, 37)), mark("wrong_location", 0.1, (0, 3))),
        severities=scored(wrong_location=0.5), severity_source="scorer",
    )  # fmt: skip
    assert [each.severity for each in priced_marks(event)] == [0.4, 0.1]
    unknown = make_event(errors=(mark("wrong_location", None, (10, 37)),))
    assert priced_marks(unknown) == unknown.errors
    change = WordChange(chosen=(10, 20), rejected=(12, 20))
    assert severity_of_change(change, priced_marks(event)) == 0.4
    assert severity_of_change(change, unknown.errors) is None


def test_marks_without_severity_become_pairs(make_event: MakeEvent) -> None:
    events = [
        make_event(event_id=f"e{n}", case_id=f"c{n}", errors=(mark("wrong_location"),))
        for n in range(3)
    ]
    filled = fill_severities(events, own_edits(events), RulesJudge()).events
    found = build_preferences(filled, SETTINGS, 1, {f"c{n}": f"g{n}" for n in range(3)})
    assert [pair.delta_S for pair in found.pairs] == [0.25, 0.25, 0.25]


def write(path: Path, events: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(event) + "\n" for event in events))
    return path


def exported(event_dict: EventDict, wrong: int, right: int) -> list[dict[str, Any]]:
    category = "no_such_category"
    return [
        event_dict(
            event_id=f"e{n}", case_id=f"c{n}",
            errors=[{"category": category if n < wrong else "wrong_location"}],
        )
        for n in range(wrong + right)
    ]  # fmt: skip


def test_marks_without_severity_enter_the_log(
    negalign: Negalign, tmp_path: Path, event_dict: EventDict
) -> None:  # fmt: skip
    path = write(tmp_path / "log.jsonl", exported(event_dict, 0, 12))
    code, out, err = negalign("feedback", "import", path, "-w", tmp_path / "w", "--strict")
    assert (code, err) == (0, "")
    assert (
        out.splitlines()[0] == "read 12 = accepted 12 + duplicate 0 + quarantined 0 + incomplete 0"
    )
    store = FeedbackStore(f"sqlite:///{tmp_path / 'w' / 'negalign.db'}")
    assert {event.errors for _, event in store.events()} == {(mark("wrong_location"),)}


def test_an_import_that_loses_more_than_a_tenth_says_so_by_file(
    negalign: Negalign, tmp_path: Path, event_dict: EventDict
) -> None:  # fmt: skip
    bad = write(tmp_path / "bad.jsonl", [*exported(event_dict, 2, 10), {"schema": "x"}])
    good = write(tmp_path / "good.jsonl", exported(event_dict, 1, 9))
    code, out, err = negalign("feedback", "import", bad, good, "-w", tmp_path / "w")
    assert code == 0
    (warning,) = err.splitlines()
    assert warning.startswith(
        f"warning: {bad}: 3 of 13 lines (23%) did not enter the log: unknown_category 2, "
        "unknown_schema 1;"
    )
    assert "quarantined 4" in out


def test_strict_fails_where_anything_was_quarantined_and_keeps_the_rest(
    negalign: Negalign, tmp_path: Path, event_dict: EventDict
) -> None:  # fmt: skip
    path = write(tmp_path / "log.jsonl", exported(event_dict, 1, 19))
    code, _, err = negalign("feedback", "import", path, "-w", tmp_path / "w", "--strict")
    assert code == 1
    assert "--strict: 1 of 20 lines were quarantined (unknown_category 1); the 19 others" in err
    assert "warning" not in err
    code, _, _ = negalign("feedback", "import", path, "-w", tmp_path / "w")
    assert code == 0
