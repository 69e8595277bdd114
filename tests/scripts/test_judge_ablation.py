"""The judge ablation: what judges do not get to see, and what the tables make of the truth."""

from __future__ import annotations

from dataclasses import replace

import pytest
from benchmarks.judge_arms import (
    NO_PAIRS,
    READERS,
    CycleOutcome,
    Label,
    Size,
    judge_recipe,
    simulation_recipe,
    true_change,
)
from benchmarks.judge_log import hidden
from benchmarks.judge_tables import as_json, decision_table, decisions, label_table, trust_lines
from build_sample_log import sample_events

from negalign_train.evaluation.bootstrap import Interval
from negalign_train.feedback.schema import event_to_dict, parse_event
from negalign_train.recipe.cycle import CycleRecipe
from negalign_train.vocabulary.records import CATEGORIES, ScoredReport, SeverityScore

SIZE = Size(80, 60, 2)


def scored(severities: list[float]) -> tuple[ScoredReport, ...]:
    return tuple(
        ScoredReport(
            f"c{n}", f"g{n}", "secret text", 1, False,
            SeverityScore(dict.fromkeys(CATEGORIES, 0.0) | {"false_positive": value}),
        )
        for n, value in enumerate(severities)
    )  # fmt: skip


def outcome(
    judge: str, seed: int, decision: str, judged: float, before: float, after: float, cycle: int = 1
) -> CycleOutcome:
    """40 held-out reports that are truly ``before`` and ``after``; labels that follow the truth."""
    labels = tuple(Label(f"g{n}", n / 10, n / 20) for n in range(10))
    return CycleOutcome(
        judge, seed, cycle, decision, Interval(judged, judged - 0.1, judged + 0.1),
        (scored([before] * 40), scored([after] * 40)), labels, 12.0,
    )  # fmt: skip


def test_a_judge_sees_grades_and_edits_and_no_severity():
    events = sample_events(30, 0)
    shown = [hidden(event) for event in events]
    rejected = [event for event in shown if event.grade != "accept"]
    assert len(rejected) > 10
    assert {event.severities for event in rejected} == {None}
    assert [event.edited for event in shown] == [event.edited for event in events]
    assert [event.grade for event in shown] == [event.grade for event in events]
    # As the log's file says it, too: what is imported has none.
    assert {parse_event(event_to_dict(event)).severities for event in rejected} == {None}


def test_every_judge_gets_the_same_recipe_but_for_its_name():
    recipes = {name: judge_recipe(SIZE, name) for name in ("rules", "self", READERS)}
    for name, data in recipes.items():
        recipe = CycleRecipe.model_validate(data)
        assert recipe.severity.judge == ("rules" if name == READERS else name)
        assert recipe.preferences.pair_weight == "delta_S"  # labels are felt
        assert recipe.feedback.source == "log"
    assert recipes["rules"] == recipes[READERS]
    recipes["self"]["severity"]["judge"] = "rules"
    assert recipes["self"] == recipes["rules"]
    assert simulation_recipe(SIZE).feedback.readers.reject_edits == 1.0


def test_the_truth_says_whose_direction_was_right():
    right = [outcome("rules", seed, "promoted", -0.3, 0.8, 0.4) for seed in (1, 2)]
    blind = [outcome("self", seed, "promoted", -0.2, 0.4, 0.8) for seed in (1, 2)]
    assert true_change(right).estimate == pytest.approx(-0.4)  # type: ignore[union-attr]
    made = decisions(right)
    assert (made.promoted, made.better, made.worse, made.same_direction) == (2, 2, 0, 2)
    made = decisions(blind)
    assert (made.promoted, made.better, made.worse, made.same_direction) == (2, 0, 2, 0)
    later = [replace(each, cycle=2) for each in right]
    assert trust_lines([*right, *blind, *later]) == [
        "rules: cycle 1 yes, cycle 2 yes",
        "self: cycle 1 no (it saw another direction; it promoted what was worse)",
    ]
    backwards = replace(right[0], labels=tuple(Label(f"g{n}", 9 - n, n / 9) for n in range(10)))
    assert trust_lines([backwards]) == [
        "rules: cycle 1 no (its labels are not shown to follow the truth)"
    ]


def test_the_tables_hold_every_judge_with_intervals_and_no_text():
    rows = [
        *(outcome("rules", seed, "promoted", -0.3, 0.8, 0.4) for seed in (1, 2)),
        outcome("self", 1, "inconclusive", 0.1, 0.4, 0.5),
    ]
    labels = label_table(rows).splitlines()
    assert labels[2].startswith("| rules | 1 | 2 | 20 of 20 | 1.00 [1.00, 1.00] | 1.00 ")
    lines = decision_table(rows).splitlines()
    assert lines[2].startswith("| rules | 1 | 2 | -0.300 | -0.400 [-")
    assert lines[2].endswith("| 2/2 | 2/2 | 2 / 0 | 12 |")
    assert lines[3].endswith("| 1/1 | 0/1 | 0 / 0 | 12 |")
    assert "secret" not in str(as_json(rows)) + "".join(labels + lines)


def test_labels_that_train_nothing_are_a_result():
    mute = CycleOutcome("finetuned", 1, 1, NO_PAIRS, None, ((), ()), (Label("g", None, 0.0),), 0.0)
    assert "| finetuned | 1 | 1 | 0 of 1 | – | – | – |" in label_table([mute])
    assert "| – | nothing to train on | 0/1 | 0/1 | 0 / 0 |" in decision_table([mute])
    assert trust_lines([mute])[0].startswith("finetuned: cycle 1 no (its labels are not shown")
    assert as_json([mute])[0]["true_change"] is None
