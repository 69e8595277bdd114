"""Weights of pairs, labels and changed words."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from negalign_train.preferences.align import WordChange, align
from negalign_train.preferences.loss_weights import (
    delta_S_weights,
    label_weights,
    pair_weights,
    severity_of_change,
    span_factors,
    weighted_spans,
)
from negalign_train.recipe.cycle import PreferenceSettings
from negalign_train.vocabulary.errors import PreferenceError
from negalign_train.vocabulary.records import ErrorMark, WeightedSpan

delta_S_lists = st.lists(st.floats(0.01, 9), min_size=1, max_size=30)
rules = st.sampled_from(["uniform", "delta_S", "sqrt"])


def settings(**overrides):
    base = {
        "pair_weight": "delta_S",
        "changed_word_weight": 5.0,
        "span_severity": False,
        "struck_only": False,
    }
    return PreferenceSettings.model_validate(base | overrides)


def test_delta_S_rule_is_proportional_with_mean_one():
    assert delta_S_weights([0.5, 1.5], "delta_S", 3.0) == pytest.approx([0.5, 1.5])


def test_sqrt_rule_takes_the_root():
    assert delta_S_weights([0.25, 2.25], "sqrt", 3.0) == pytest.approx([0.5, 1.5])


def test_uniform_rule_ignores_delta_S():
    assert delta_S_weights([0.1, 9.0], "uniform", 3.0) == [1.0, 1.0]


def test_cap_is_relative_to_the_mean_before_the_final_scaling():
    # Mean 2: [0.5, 0.5, 0.5, 2.5] relative to it; capped at 2 it sums to 3.5.
    got = delta_S_weights([1.0, 1.0, 1.0, 5.0], "delta_S", 2.0)
    assert got == pytest.approx([4 / 7, 4 / 7, 4 / 7, 16 / 7])


@pytest.mark.parametrize("delta_S", [0.0, -1.0, float("nan")])
def test_delta_S_of_no_fall_is_refused(delta_S):
    with pytest.raises(PreferenceError, match="refuse pairs without a fall of S first"):
        delta_S_weights([1.0, delta_S], "delta_S", 3.0)


@given(delta_S_lists, rules, st.floats(0.5, 4))
def test_weights_have_mean_one_and_never_fall_with_severity(values, rule, cap):
    weights = delta_S_weights(values, rule, cap)
    assert sum(weights) / len(weights) == pytest.approx(1, abs=1e-12)
    ordered = [weight for _, weight in sorted(zip(values, weights, strict=True))]
    assert all(b >= a - 1e-12 for a, b in pairwise(ordered))


def test_halving_a_readers_trust_halves_the_pairs_relative_weight():
    low, high = pair_weights([1.0, 1.0], [0.5, 1.0], settings())
    assert (low, high) == pytest.approx((2 / 3, 4 / 3))


def test_rule_leaves_the_balance_of_labels_alone():
    # Desirable 1, 1; undesirable 0.5, 1.5 among themselves.
    got = label_weights([None, 0.5, None, 1.5], [1.0] * 4, settings())
    assert got == pytest.approx([1.0, 0.5, 1.0, 1.5])


def mark(category="false_positive", severity=0.5, span=None):
    return ErrorMark(category, severity, span)


def test_change_takes_the_worst_error_it_overlaps():
    errors = [mark(severity=0.3, span=(0, 9)), mark(severity=0.9, span=(8, 12)), mark(severity=1.0)]
    assert severity_of_change(WordChange((5, 9), (5, 9)), errors) == 0.9


def test_touching_spans_do_not_overlap():
    assert (
        severity_of_change(WordChange((5, 5), (5, 9)), [mark(severity=0.9, span=(9, 12))]) is None
    )


def test_insertion_takes_the_missed_findings_severity():
    errors = [mark("wrong_location", 1.0), mark("false_negative", 0.4)]
    assert severity_of_change(WordChange((5, 9), (5, 5)), errors) == 0.4


def test_insertion_without_a_missed_finding_takes_the_other_spanless_error():
    assert severity_of_change(WordChange((5, 9), (5, 5)), [mark("device_error", 0.7)]) == 0.7


def test_unmarked_deletion_is_unknown():
    assert severity_of_change(WordChange((5, 5), (5, 9)), [mark("false_negative", 0.7)]) is None


def test_span_factors_have_mean_one_and_a_floor():
    # Mean of the marked is 0.5, so the unmarked counts 0.5 and 0.0 is lifted to 0.125.
    got = span_factors([1.0, 0.5, 0.0, None])
    total = 1.0 + 0.5 + 0.125 + 0.5
    assert got == pytest.approx([4 / total, 2 / total, 0.5 / total, 2 / total])


def test_span_factors_without_any_mark_are_one():
    assert span_factors([None, None]) == [1.0, 1.0]


CHOSEN, REJECTED = "Lungs clear. Small effusion.", "Lungs clear. Large effusion."


def test_changed_words_weigh_on_both_sides():
    spans = weighted_spans(align(CHOSEN, REJECTED), [1.0], settings())
    assert spans == ((WeightedSpan(13, 18, 5.0),), (WeightedSpan(13, 18, 5.0),))


def test_struck_only_gives_words_left_standing_after_the_change_no_weight():
    chosen, rejected = weighted_spans(align(CHOSEN, REJECTED), [2.0], settings(struck_only=True))
    assert chosen == (WeightedSpan(13, 18, 10.0),)
    assert rejected == (WeightedSpan(13, 18, 10.0), WeightedSpan(19, 28, 0.0))


def test_plain_settings_emit_no_span():
    spans = weighted_spans(align(CHOSEN, REJECTED), [1.0], settings(changed_word_weight=1.0))
    assert spans == ((), ())
