"""Held-out groups of the log."""

from hypothesis import given
from hypothesis import strategies as st

from negalign_train.preferences.splits import case_groups, held_out_groups, split_events
from negalign_train.preferences.view import prompt_key
from negalign_train.records import Event, Generator, Reader, Source


def event(name, case_id, prompt="Cough"):
    return Event(
        event_id=name,
        revision=1,
        case_id=case_id,
        created_at="2026-01-01T00:00:00Z",
        prompt=prompt,
        completion="Clear.",
        grade="accept",
        reader=Reader("r"),
        generator=Generator("base"),
        source=Source("test"),
    )


def test_known_group_is_kept_even_where_prompts_are_equal():
    events = [event("a", "c1"), event("b", "c2")]
    assert case_groups(events, {"c1": "patient-1", "c2": "patient-2"}) == {
        "c1": "patient-1",
        "c2": "patient-2",
    }


def test_unknown_case_joins_the_known_group_that_shares_its_prompt():
    events = [event("a", "c1"), event("b", "c2", " cough ")]
    assert case_groups(events, {"c1": "patient-1"})["c2"] == "patient-1"


def test_equal_prompts_join_unknown_cases_under_the_prompts_name():
    events = [event("a", "c1"), event("b", "c2"), event("c", "c3", "Fever")]
    groups = case_groups(events, {})
    assert groups["c1"] == groups["c2"] == f"prompt-{prompt_key('Cough')}"
    assert groups["c3"] == f"prompt-{prompt_key('Fever')}"


def test_case_with_two_prompts_joins_both():
    events = [event("a", "c1"), event("b", "c1", "Fever"), event("c", "c2", "Fever")]
    assert len(set(case_groups(events, {}).values())) == 1


def test_chat_prompts_differ_by_role():
    user, system = ({"role": role, "content": "Cough"} for role in ("user", "system"))
    assert prompt_key((user,)) != prompt_key((system,))


def test_fraction_of_groups_is_held_out():
    groups = [f"g{i}" for i in range(2000)]
    assert held_out_groups(groups, 0.0, 1) == frozenset()
    assert held_out_groups(groups, 1.0, 1) == frozenset(groups)
    assert 150 < len(held_out_groups(groups, 0.1, 1)) < 250
    assert held_out_groups(groups, 0.1, 1) != held_out_groups(groups, 0.1, 2)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=30), st.integers(0, 5))
def test_no_case_group_or_prompt_is_on_both_sides(places, seed):
    events = [event(f"e{i}", f"c{c}", f"p{p}") for i, (c, p) in enumerate(places)]
    split = split_events(events, case_groups(events, {}), 0.5, seed)
    assert len(split.train) + len(split.held_out) == len(events)
    for side in ("case_id", "prompt"):
        trained = {getattr(e, side) for e in split.train}
        assert not trained & {getattr(e, side) for e in split.held_out}
