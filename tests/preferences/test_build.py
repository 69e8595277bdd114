"""Events to pairs, labels and prompts: the table of DESIGN 2.3."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from negalign_train.preferences.build import build_preferences
from negalign_train.preferences.case_groups import case_groups
from negalign_train.preferences.view import root_events
from negalign_train.recipe.cycle import PreferenceSettings
from negalign_train.vocabulary.errors import PreferenceError
from negalign_train.vocabulary.records import (
    CATEGORIES,
    ErrorMark,
    Event,
    Generator,
    Reader,
    Source,
    WeightedSpan,
)


def make_event(name, completion, severity=0.0, **overrides):
    grade = "accept" if severity == 0 else ("partial" if severity <= 0.5 else "reject")
    fields = {
        "event_id": name,
        "revision": 1,
        "case_id": f"case-{name}",
        "created_at": "2026-01-01T00:00:00Z",
        "prompt": f"Indication {name}",
        "completion": completion,
        "grade": grade,
        "reader": Reader("r-1"),
        "generator": Generator("base"),
        "source": Source("test"),
        "errors": () if severity == 0 else (ErrorMark("false_positive", severity),),
        "severities": dict.fromkeys(CATEGORIES, 0.0) | {"false_positive": severity},
    }
    return Event(**(fields | overrides))


def settings(**overrides):
    base = {
        "pair_weight": "delta_S",
        "changed_word_weight": 5.0,
        "span_severity": False,
        "struck_only": False,
    }
    return PreferenceSettings.model_validate(base | overrides)


def build(events, **overrides):
    return build_preferences(events, settings(**overrides), 3, case_groups(events, {}))


def pairs_of(result):
    return {(pair.chosen, pair.rejected, round(pair.delta_S, 6)) for pair in result.pairs}


def labels_of(result):
    return {(example.completion, example.label) for example in result.unpaired}


def test_accept_gives_a_desirable_label_and_no_pair():
    result = build([make_event("a", "Clear.")])
    assert result.pairs == ()
    assert labels_of(result) == {("Clear.", True)}
    assert [prompt.reference for prompt in result.prompts] == ["Clear."]
    assert result.refusals.total == 0


def test_edit_gives_a_pair_two_labels_and_a_reference():
    result = build([make_event("a", "Large mass.", 0.5, edited="Clear.")])
    assert pairs_of(result) == {("Clear.", "Large mass.", 0.5)}
    assert labels_of(result) == {("Clear.", True), ("Large mass.", False)}
    assert [prompt.reference for prompt in result.prompts] == ["Clear."]
    assert {pair.origin_cycle for pair in result.pairs} == {3}


def accepted_and_rejected(accepted, rejected):
    return [
        make_event("a", "Clear.", prompt="Cough", case_id=accepted),
        make_event("b", "Large mass.", 1.0, prompt=" cough ", case_id=rejected),
    ]


def test_reject_without_edit_is_set_against_the_accepted_report_of_the_same_case():
    result = build(accepted_and_rejected(accepted="c", rejected="c"))
    assert pairs_of(result) == {("Clear.", "Large mass.", 1.0)}


@pytest.mark.parametrize("edited", ["", ".", "Large  mass.\n"])
def test_reject_whose_edit_says_nothing_is_set_against_the_accepted_report_too(edited):
    accepted, rejected = accepted_and_rejected(accepted="c", rejected="c")
    result = build([accepted, Event(**(vars(rejected) | {"edited": edited}))])
    assert pairs_of(result) == {("Clear.", "Large mass.", 1.0)}


def test_reject_of_one_patient_is_not_set_against_the_accepted_report_of_another():
    result = build(accepted_and_rejected(accepted="patient-a", rejected="patient-b"))
    assert result.pairs == ()
    assert result.refusals.counts == {"no_accepted_completion": 1, "no_reference": 1}


def test_equal_prompts_are_one_case_where_the_source_says_so():
    events = accepted_and_rejected(accepted="syn-1", rejected="syn-2")
    result = build_preferences(
        events, settings(), 3, case_groups(events, {}), join_equal_prompts=True
    )
    assert pairs_of(result) == {("Clear.", "Large mass.", 1.0)}
    assert {pair.case_id for pair in result.pairs} == {"syn-2"}


def test_what_is_wrong_for_one_patient_may_be_right_for_another():
    events = [
        make_event("a", "Large mass.", prompt="Write the report."),
        make_event("b", "Large mass.", 0.5, edited="Clear.", prompt="Write the report."),
    ]
    result = build(events)
    assert pairs_of(result) == {("Clear.", "Large mass.", 0.5)}
    assert ("Large mass.", True) in labels_of(result)
    assert result.refusals.total == 0


def test_reports_on_two_prompts_of_one_case_are_not_set_against_each_other():
    events = [
        make_event("a", "Clear.", prompt="Write the findings.", case_id="c"),
        make_event("b", "Large mass.", 1.0, prompt="Write the impression.", case_id="c"),
    ]
    assert build(events).pairs == ()


def test_reject_without_edit_or_accepted_report_is_a_counted_label():
    result = build([make_event("a", "Large mass.", 1.0)])
    assert result.pairs == ()
    assert labels_of(result) == {("Large mass.", False)}
    assert result.refusals.counts == {"no_accepted_completion": 1, "no_reference": 1}


def thread(*turns):
    return [
        make_event(f"t{i}", text, severity, turn=i, thread_id="t", case_id="case", prompt="Cough")
        for i, (text, severity) in enumerate(turns, start=1)
    ]


def test_thread_gives_every_ordered_pair_whose_severity_falls():
    result = build(thread(("Mass, nodule.", 0.9), ("Mass.", 0.4), ("Clear.", 0.0)))
    assert pairs_of(result) == {
        ("Clear.", "Mass, nodule.", 0.9),
        ("Clear.", "Mass.", 0.4),
        ("Mass.", "Mass, nodule.", 0.5),
    }
    assert {pair.prompt for pair in result.pairs} == {"Cough"}
    assert labels_of(result) == {("Clear.", True), ("Mass.", False), ("Mass, nodule.", False)}


def test_thread_that_gets_worse_gives_no_pair_of_that_order():
    result = build(thread(("Mass.", 0.2), ("Mass, nodule.", 0.45)))
    assert result.pairs == ()
    assert result.refusals.counts["delta_S_too_small"] == 1


def test_rejected_turn_is_never_chosen_however_low_its_severity():
    first, second = thread(("Mass, nodule.", 0.5), ("Mass.", 0.25))
    second = Event(**(vars(second) | {"grade": "reject"}))
    result = build([first, second])
    assert result.pairs == ()
    assert result.refusals.counts["rejected_turn"] == 1


def test_rejected_report_that_the_scorer_found_nothing_in_is_no_better_than_a_partial_one():
    first, second = thread(("Mass, nodule.", 0.5), ("Mass.", 0.25))
    unmarked = {"grade": "reject", "errors": (), "edited": "Mass.", "severity_source": "scorer"}
    nothing = {"severities": dict.fromkeys(CATEGORIES, 0.0)}
    result = build([first, Event(**(vars(second) | unmarked | nothing))])
    assert result.pairs == ()
    assert labels_of(result) == {("Mass, nodule.", False)}
    assert result.refusals.counts["no_severity"] == 1
    assert result.refusals.counts["unchanged_edit"] == 1


def test_text_that_another_reader_rejected_is_not_chosen_in_a_thread():
    turns = thread(("Mass, nodule.", 0.9), ("Mass.", 0.4))
    other = make_event("z", "Mass.", 1.0, case_id="case", prompt="Cough")
    result = build([*turns, other])
    assert result.pairs == ()
    assert result.refusals.counts["contradictory"] == 1


CRITIQUE = ({"role": "user", "content": "Cough"}, {"role": "user", "content": "no mass"})


def over_cycles(*turns):
    """The turns of one thread, each read in a cycle of its own; the later ones ask with the
    critique. Builds cycle ``cycle`` from what was read until then.
    """
    events = thread(*turns)
    events = [events[0], *(Event(**(vars(e) | {"prompt": CRITIQUE})) for e in events[1:])]

    def made(cycle, order=(1, 2, 3)):
        cycles = {f"t{turn}": number for number, turn in enumerate(order, start=1)}
        known = [event for event in events if cycles[event.event_id] <= cycle]
        groups = case_groups(known, {})
        return build_preferences(known, settings(), cycle, groups, cycles)

    return made


def test_thread_over_two_cycles_gives_its_pair_in_the_cycle_of_the_later_turn_and_only_there():
    made = over_cycles(("Mass, nodule.", 0.9), ("Mass.", 0.4), ("Clear.", 0.0))
    assert pairs_of(made(1)) == set()
    assert pairs_of(made(2)) == {("Mass.", "Mass, nodule.", 0.5)}
    assert pairs_of(made(3)) == {("Clear.", "Mass, nodule.", 0.9), ("Clear.", "Mass.", 0.4)}
    assert {pair.origin_cycle for pair in made(3).pairs} == {3}


def test_labels_and_prompts_of_a_later_cycles_turn_stand_under_the_root_prompt():
    made = over_cycles(("Mass.", 0.4), ("Clear.", 0.0))
    result = made(2)
    assert labels_of(result) == {("Clear.", True)}
    prompts = {x.prompt for x in (*result.pairs, *result.unpaired, *result.prompts)}
    assert prompts == {"Cough"}
    assert [prompt.reference for prompt in result.prompts] == ["Clear."]


def test_what_an_earlier_cycle_made_still_stands_but_is_not_made_again():
    made = over_cycles(("Mass, nodule.", 0.9), ("Mass.", 0.4), ("Clear.", 0.0))
    earlier = {pair.pair_id for pair in made(2).pairs}
    assert earlier
    assert earlier < made(3).standing.pairs
    assert not earlier & {pair.pair_id for pair in made(3).pairs}


def test_thread_without_its_first_turn_trains_nothing_until_it_comes():
    made = over_cycles(("Mass.", 0.4), ("Clear.", 0.0))
    alone = made(1, order=(2, 1))
    assert (alone.pairs, alone.unpaired, alone.prompts) == ((), (), ())
    assert alone.refusals.counts == {"no_reference": 1, "root_prompt_unknown": 1}
    whole = made(2, order=(2, 1))
    assert pairs_of(whole) == {("Clear.", "Mass.", 0.4)}
    assert labels_of(whole) == {("Clear.", True), ("Mass.", False)}
    assert {x.prompt for x in (*whole.pairs, *whole.unpaired, *whole.prompts)} == {"Cough"}


def test_accept_of_a_later_cycle_is_set_against_the_earlier_reject_once():
    reject = make_event("b", "Large mass.", 1.0, case_id="c", prompt="Cough")
    accepts = [make_event(n, f"Clear {n}.", case_id="c", prompt="Cough") for n in ("z", "a")]
    cycles = {"b": 1, "z": 2, "a": 3}

    def made(cycle):
        events = [e for e in (reject, *accepts) if cycles[e.event_id] <= cycle]
        return build_preferences(events, settings(), cycle, {"c": "g"}, cycles)

    assert pairs_of(made(1)) == set()
    assert pairs_of(made(2)) == {("Clear z.", "Large mass.", 1.0)}
    assert pairs_of(made(3)) == set()


def test_earlier_example_that_a_reader_contradicts_or_revises_stands_no_longer():
    first = make_event("a", "Mass.", 0.5, edited="Clear.", case_id="c", prompt="Cough")
    before = build_preferences([first], settings(), 1, {"c": "g"})
    reject = make_event("b", "Clear.", 1.0, case_id="c", prompt="Cough")
    revised = Event(**(vars(first) | {"revision": 2, "edited": "Lungs clear."}))
    for later in (reject, revised):
        cycles = {"a": 1} | {later.event_id: 2}
        after = build_preferences([first, later], settings(), 2, {"c": "g"}, cycles)
        assert before.standing.pairs
        assert not before.standing.pairs & after.standing.pairs
        assert after.standing.references.get("c") != "Clear."


def test_later_turns_prompt_is_the_first_turns():
    first, second = thread(("Mass.", 0.4), ("Clear.", 0.0))
    second = Event(**(vars(second) | {"prompt": CRITIQUE}))
    assert {pair.prompt for pair in build([first, second]).pairs} == {"Cough"}


@pytest.mark.parametrize(
    ("reason", "overrides"),
    [
        ("empty_edit", {"edited": " \n"}),
        ("empty_edit", {"edited": "."}),
        ("placeholder_edit", {"edited": "n/a"}),
        ("unchanged_edit", {"edited": "Large  mass."}),
        ("no_severity", {"edited": "Clear.", "severities": None, "errors": ()}),
    ],
)
def test_unusable_event_is_counted_and_gives_no_pair(reason, overrides):
    result = build([make_event("a", "Large mass.", 0.5, **overrides)])
    assert result.pairs == ()
    assert result.refusals.counts[reason] == 1


def test_unscored_report_is_no_label_but_its_edit_is():
    event = make_event("a", "Large mass.", 0.5, edited="Clear.", severities=None)
    assert labels_of(build([event])) == {("Clear.", True)}


def test_edit_of_an_accepted_report_is_counted():
    result = build([make_event("a", "Clear.", edited="Clear lungs.")])
    assert result.refusals.counts == {"edit_on_accept": 1}
    assert labels_of(result) == {("Clear.", True)}


def test_delta_S_at_the_minimum_is_refused():
    event = make_event("a", "Large mass.", 0.5, edited="Clear.")
    assert build([event], min_delta_S=0.5).refusals.counts["delta_S_too_small"] == 1
    assert len(build([event], min_delta_S=0.49).pairs) == 1


def test_text_that_one_reader_accepts_and_another_rejects_is_refused_on_both_sides():
    events = [
        make_event("a", "Large mass.", prompt="Cough", case_id="c"),
        make_event("b", "Large mass.", 0.5, edited="Clear.", prompt="Cough", case_id="c"),
    ]
    result = build(events)
    assert result.pairs == ()
    assert labels_of(result) == {("Clear.", True)}
    assert result.refusals.counts == {
        "contradictory": 1,
        "contradictory_label": 2,
    }


def test_pairs_of_opposite_order_are_both_refused():
    events = [
        make_event("a", "Mass.", 0.5, edited="Clear.", prompt="Cough", case_id="c"),
        make_event("b", "Clear.", 0.5, edited="Mass.", prompt="Cough", case_id="c"),
    ]
    result = build(events)
    assert result.pairs == ()
    assert result.refusals.counts["contradictory"] == 2


def test_cap_keeps_the_largest_delta_S_of_a_chosen_text():
    events = [make_event(f"e{i}", f"Mass {i}.", i / 10, edited="Clear.") for i in range(1, 6)]
    result = build(events, max_pairs_per_chosen=2)
    assert {round(pair.delta_S, 6) for pair in result.pairs} == {0.4, 0.5}
    assert result.refusals.counts["cap_chosen"] == 3


def test_same_pair_from_two_events_counts_once():
    events = [
        make_event(name, "Mass.", 0.5, edited="Clear.", case_id="c", prompt="Cough")
        for name in ("a", "b")
    ]
    result = build(events)
    assert len(result.pairs) == 1
    assert result.refusals.counts == {"duplicate": 1, "duplicate_label": 2}


def test_newest_revision_counts():
    old = make_event("a", "Mass.", 0.5, edited="Clear.")
    new = Event(**(vars(old) | {"revision": 2, "edited": "Lungs clear."}))
    assert [pair.chosen for pair in build([new, old]).pairs] == ["Lungs clear."]


def test_one_revision_with_two_contents_is_an_error():
    events = [make_event("a", "Mass.", 0.5), make_event("a", "Nodule.", 0.5)]
    with pytest.raises(PreferenceError, match="higher revision"):
        build_preferences(events, settings(), 1, {"case-a": "g"})


def test_case_without_group_is_an_error():
    with pytest.raises(PreferenceError, match="case_groups"):
        build_preferences([make_event("a", "Clear.")], settings(), 1, {})


def test_span_severity_weighs_each_change_by_its_own_error():
    rejected = "Mass here. Heart big."
    errors = (
        ErrorMark("false_positive", 0.75, (0, 4)),
        ErrorMark("wrong_severity", 0.25, (17, 20)),
    )
    event = make_event("a", rejected, 1.0, edited="Nothing here. Heart fine.", errors=errors)
    (pair,) = build([event], span_severity=True).pairs
    assert pair.rejected_spans == (WeightedSpan(0, 4, 7.5), WeightedSpan(17, 20, 2.5))
    assert pair.chosen_spans == (WeightedSpan(0, 7, 7.5), WeightedSpan(20, 24, 2.5))


def test_labels_carry_the_changed_words_of_both_sides():
    result = build([make_event("a", "Large mass.", 0.5, edited="Small mass.")], struck_only=True)
    spans = {example.label: example.spans for example in result.unpaired}
    assert spans == {
        True: (WeightedSpan(0, 5, 5.0),),
        False: (WeightedSpan(0, 5, 5.0), WeightedSpan(6, 11, 0.0)),
    }


def test_labels_weigh_by_severity_with_mean_one():
    events = [
        make_event("a", "Mass.", 0.25, edited="Clear."),
        make_event("b", "Nodule.", 0.75, edited="Lungs clear."),
    ]
    weights = {example.completion: example.weight for example in build(events).unpaired}
    assert weights == pytest.approx(
        {"Clear.": 1.0, "Lungs clear.": 1.0, "Mass.": 0.5, "Nodule.": 1.5}
    )


def test_reference_is_the_approved_text_of_the_latest_turn():
    result = build(thread(("Mass.", 0.4), ("Clear.", 0.0)))
    assert [(p.case_id, p.reference) for p in result.prompts] == [("case", "Clear.")]


TEXTS = ["Clear.", "Mass.", "Large mass.", "Small effusion. Mass.", "Heart big."]


@st.composite
def logs(draw):
    events = []
    for i in range(draw(st.integers(0, 12))):
        severity = draw(st.sampled_from([0.0, 0.0, 0.25, 0.5, 1.0]))
        events.append(
            make_event(
                f"e{i:02d}",
                draw(st.sampled_from(TEXTS)),
                severity,
                case_id=f"c{draw(st.integers(0, 4))}",
                prompt=f"p{draw(st.integers(0, 2))}",
                edited=draw(st.sampled_from([None, *TEXTS])),
                thread_id=draw(st.sampled_from([None, "t"])),
                turn=draw(st.integers(1, 3)),
                reader=Reader(draw(st.sampled_from(["r-1", "r-2"]))),
            )
        )
    return events


SEVERITIES = [
    None,
    *((dict.fromkeys(CATEGORIES, 0.0) | {"false_positive": s}) for s in (0.0, 0.25, 1.0)),
]


@st.composite
def careless_logs(draw):
    """Grades, edits and severities that know nothing of each other, as in a careless export."""
    events = []
    for event in draw(logs()):
        changes = {
            "grade": draw(st.sampled_from(["accept", "partial", "reject"])),
            "severities": draw(st.sampled_from(SEVERITIES)),
            "severity_source": draw(st.sampled_from(["reader", "scorer"])),
        }
        if draw(st.booleans()):
            changes["edited"] = event.completion
        events.append(Event(**(vars(event) | changes)))
    return events


@given(careless_logs())
def test_nothing_that_a_reader_did_not_approve_of_is_held_up_as_good(events):
    result = build(events)
    rejected = {(e.case_id, e.completion) for e in events if e.grade == "reject"}
    refused = {(e.case_id, e.completion) for e in events if e.grade != "accept"}
    for pair in result.pairs:
        assert (pair.case_id, pair.chosen) not in rejected
    for example in result.unpaired:
        assert not (example.label and (example.case_id, example.completion) in refused)
    for prompt in result.prompts:
        assert (prompt.case_id, prompt.reference) not in refused


@given(careless_logs(), st.data())
def test_all_that_stands_was_made_by_some_cycle_however_the_log_is_cut(events, data):
    cycles = {event.event_id: data.draw(st.integers(1, 3)) for event in events}
    groups = case_groups(events, {})
    made: set[str] = set()
    for cycle in (1, 2, 3):
        known = [event for event in events if cycles[event.event_id] <= cycle]
        result = build_preferences(known, settings(), cycle, groups, cycles)
        made |= {pair.pair_id for pair in result.pairs}
        made |= {label.example_id for label in result.unpaired}
        roots = {root.prompt for root in root_events(known).values()}
        prompts = [p.prompt for p in result.pairs] + [x.prompt for x in result.unpaired]
        assert {*prompts, *(x.prompt for x in result.prompts)} <= roots
    assert result.standing.pairs | result.standing.unpaired <= made


@given(logs(), st.sampled_from(["uniform", "delta_S", "sqrt"]), st.randoms(use_true_random=False))
def test_result_is_sound_and_independent_of_order_and_repetition(events, rule, rng: random.Random):
    options = {"pair_weight": rule, "reader_trust": {"r-2": 0.5}, "span_severity": True}
    result = build(events, **options)
    again = [*events, *events]
    rng.shuffle(again)
    assert build(again, **options) == result
    orders = {(pair.case_id, pair.chosen, pair.rejected) for pair in result.pairs}
    assert len({pair.pair_id for pair in result.pairs}) == len(result.pairs)
    for pair in result.pairs:
        assert pair.chosen != pair.rejected
        assert pair.delta_S > 0
        assert (pair.case_id, pair.rejected, pair.chosen) not in orders
    for examples in (result.pairs, result.unpaired):
        if examples:
            mean = sum(example.weight for example in examples) / len(examples)
            assert mean == pytest.approx(1, abs=1e-12)
