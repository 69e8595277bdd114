"""Held-out groups of the log."""

from hypothesis import given
from hypothesis import strategies as st

from negalign_train.preferences.case_groups import (
    case_groups,
    groups_on_both_sides,
    held_out_groups,
)
from negalign_train.preferences.view import prompt_key
from negalign_train.vocabulary.records import Event, Generator, Reader, Source


def event(name, case_id, prompt="Cough", **ids):
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
        **ids,
    )


def test_known_group_is_kept_even_where_prompts_are_equal():
    events = [event("a", "c1"), event("b", "c2")]
    known = {"c1": "patient-1", "c2": "patient-2"}
    assert case_groups(events, known, join_equal_prompts=True) == known


def test_equal_prompts_are_distinct_cases():
    events = [event(f"e{n}", f"c{n}", "Write the report.") for n in range(50)]
    assert set(case_groups(events, {}).values()) == {f"case-c{n}" for n in range(50)}


def test_unknown_case_joins_the_known_group_that_shares_its_prompt_where_prompts_are_cases():
    events = [event("a", "c1"), event("b", "c2", " cough ")]
    groups = case_groups(events, {"c1": "patient-1"}, join_equal_prompts=True)
    assert groups["c2"] == "patient-1"


def test_equal_prompts_join_unknown_cases_under_the_prompts_name_where_prompts_are_cases():
    events = [event("a", "c1"), event("b", "c2"), event("c", "c3", "Fever")]
    groups = case_groups(events, {}, join_equal_prompts=True)
    assert groups["c1"] == groups["c2"] == f"prompt-{prompt_key('Cough')}"
    assert groups["c3"] == f"prompt-{prompt_key('Fever')}"


def test_case_with_two_prompts_joins_both_where_prompts_are_cases():
    events = [event("a", "c1"), event("b", "c1", "Fever"), event("c", "c2", "Fever")]
    assert len(set(case_groups(events, {}, join_equal_prompts=True).values())) == 1


def test_patient_joins_studies_and_study_joins_cases():
    events = [
        event("a", "c1", study_id="s1"),
        event("b", "c2", study_id="s1", patient_id="Jane Roe"),
        event("c", "c3", patient_id="Jane Roe"),
        event("d", "c4", study_id="s2"),
        event("e", "c5"),
    ]
    groups = case_groups(events, {})
    assert groups["c1"] == groups["c2"] == groups["c3"]
    assert groups["c1"].startswith("patient-")
    assert len(set(groups.values())) == 3
    assert not any("Jane" in name for name in groups.values())


def test_new_study_of_a_held_out_patient_is_held_out():
    events = [event("a", "c1", patient_id="p"), event("b", "c2", patient_id="p")]
    known = {"c1": "z-held", "c0": "a-trained"}
    groups = case_groups([*events, event("c", "c0", patient_id="p")], known,
                         kept_back=frozenset({"z-held"}))  # fmt: skip
    assert groups == {"c0": "a-trained", "c1": "z-held", "c2": "z-held"}


def test_patient_named_by_the_case_source_is_kept_back_under_another_case_id():
    events = [event("a", "c9", patient_id="patient-77")]
    kept_back = frozenset({"patient-77"})
    assert case_groups(events, {}, kept_back=kept_back) == {"c9": "patient-77"}
    assert groups_on_both_sides(events, {"c9": "case-c9"}, kept_back) == {"case-c9"}


def test_link_that_comes_late_withdraws_the_trained_side():
    events = [
        event("a", "c1", patient_id="p"),
        event("b", "c2", patient_id="p"),
        event("c", "c3", patient_id="q"),
    ]
    known = {"c1": "held", "c2": "trained", "c3": "other"}
    assert groups_on_both_sides(events, known, frozenset({"held"})) == {"trained"}
    assert groups_on_both_sides(events, known, frozenset()) == frozenset()


def test_chat_prompts_differ_by_role():
    user, system = ({"role": role, "content": "Cough"} for role in ("user", "system"))
    assert prompt_key((user,)) != prompt_key((system,))


def test_fraction_of_groups_is_held_out():
    groups = [f"g{i}" for i in range(2000)]
    assert held_out_groups(groups, 0.0, 1) == frozenset()
    assert held_out_groups(groups, 1.0, 1) == frozenset(groups)
    assert 150 < len(held_out_groups(groups, 0.1, 1)) < 250
    assert held_out_groups(groups, 0.1, 1) != held_out_groups(groups, 0.1, 2)


IDS = st.sampled_from([None, "1", "2", "3"])


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), IDS, IDS), max_size=30),
    st.integers(0, 5),
    st.booleans(),
)
def test_no_case_study_patient_or_joined_prompt_is_on_both_sides(places, seed, join):
    events = [
        event(f"e{i}", f"c{c}", f"p{p}", study_id=study, patient_id=patient)
        for i, (c, p, study, patient) in enumerate(places)
    ]
    groups = case_groups(events, {}, join_equal_prompts=join)
    held = held_out_groups(set(groups.values()), 0.5, seed)
    for side in ("case_id", "study_id", "patient_id", *(["prompt"] if join else [])):
        trained = {getattr(e, side) for e in events if groups[e.case_id] not in held} - {None}
        assert not trained & {getattr(e, side) for e in events if groups[e.case_id] in held}
