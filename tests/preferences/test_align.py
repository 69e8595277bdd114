"""Alignment of an edited report with the original."""

from hypothesis import given
from hypothesis import strategies as st

from negalign_train.preferences.align import align
from negalign_train.vocabulary.approval import words

reports = st.lists(
    st.sampled_from(["no", "small", "large", "effusion", ".", ",", "The", "heart"]), max_size=12
).map(" ".join)


def texts(text, spans):
    return [text[start:end] for start, end in spans]


def test_replaced_word_is_the_only_change():
    chosen, rejected = "Small left effusion. Heart normal.", "Small right effusion. Heart normal."
    actual = align(chosen, rejected)
    assert texts(chosen, [change.chosen for change in actual.changes]) == ["left"]
    assert texts(rejected, [change.rejected for change in actual.changes]) == ["right"]
    assert texts(rejected, actual.kept) == ["effusion. Heart normal."]


def test_inserted_sentence_has_an_empty_span_at_its_place():
    chosen, rejected = "Heart normal. Small nodule. No effusion.", "Heart normal. No effusion."
    (change,) = align(chosen, rejected).changes
    assert chosen[slice(*change.chosen)] in ("Small nodule.", ". Small nodule")
    assert change.rejected[0] == change.rejected[1]
    assert rejected[: change.rejected[0]] in ("Heart normal.", "Heart normal")


def test_insertion_at_the_very_front_stands_at_zero():
    (change,) = align("Nodule. Heart normal.", "Heart normal.").changes
    assert change.rejected == (0, 0)


def test_struck_sentence_has_no_words_on_the_chosen_side():
    (change,) = align("Heart normal.", "Heart normal. Large mass.").changes
    assert change.chosen == (13, 13)
    assert change.rejected == (14, 25)


def test_white_space_alone_is_no_change():
    assert align("Heart  normal.\n", "Heart normal.").changes == ()


def test_letter_case_is_a_change():
    assert len(align("heart normal.", "Heart normal.").changes) == 1


@given(reports, reports)
def test_words_outside_changes_are_equal_on_both_sides(chosen, rejected):
    actual = align(chosen, rejected)

    def outside(text, spans):
        for start, end in reversed(spans):
            text = text[:start] + " " + text[end:]
        return words(text)

    left = outside(chosen, [change.chosen for change in actual.changes])
    assert left == outside(rejected, [change.rejected for change in actual.changes])
    assert bool(actual.changes) == (words(chosen) != words(rejected))
    kept = [word for span in actual.kept for word in words(rejected[slice(*span)])]
    assert kept == (left[-len(kept) :] if kept else [])
