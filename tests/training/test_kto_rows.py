"""The order of KTO's rows, over random feedback."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from negalign_train.training.rows.batches import UnpairedRow
from negalign_train.training.rows.kto_rows import add_mismatched, arrange


@st.composite
def feedback(draw: st.DrawFn, largest_group: float = 1 / 3) -> list[UnpairedRow]:
    """Desirable rows, then undesirable ones, no case with more than a share of all."""
    counts = draw(st.tuples(st.integers(1, 30), st.integers(1, 30)))
    groups = draw(st.lists(st.integers(0, 20), min_size=sum(counts), max_size=sum(counts)))
    rows: list[UnpairedRow] = [
        {
            "example_id": f"e{index}",
            "group": f"g{group}",
            "prompt_ids": [index],
            "completion_ids": [100 + index],
            "token_weights": [1.0],
            "label": index < counts[0],
            "weight": 1.0,
        }
        for index, group in enumerate(groups)
    ]
    most = max(Counter(groups).values())
    assume(len(rows) >= 6 and most <= largest_group * len(rows))
    return rows


SEEDS = st.integers(0, 5)
BLOCKS = st.sampled_from([2, 3, 4, 8, 16])


@settings(deadline=None, max_examples=200)
@given(feedback(), SEEDS)
def test_neighbours_are_of_different_cases_and_no_row_is_lost(rows, seed):
    arranged = arrange(rows, seed)
    assert all(left["group"] != right["group"] for left, right in pairwise(arranged))
    assert sorted(row["example_id"] for row in arranged) == sorted(r["example_id"] for r in rows)


@settings(deadline=None, max_examples=200)
@given(feedback(), SEEDS, BLOCKS)
def test_a_whole_block_holds_both_classes_where_each_makes_up_two_rows_of_it(rows, seed, block):
    rare = min(Counter(row["label"] for row in rows).values())
    assume(rare * block >= 2 * len(rows))
    arranged = arrange(rows, seed)
    for start in range(0, len(rows) - block + 1, block):
        assert len({row["label"] for row in arranged[start : start + block]}) == 2


@settings(deadline=None, max_examples=200)
@given(feedback(largest_group=1 / 2), SEEDS, BLOCKS)
def test_every_mismatched_completion_is_another_cases(rows, seed, block):
    arranged = arrange(rows, seed)
    add_mismatched(arranged, block)
    group_of = {row["completion_ids"][0]: row["group"] for row in arranged}
    for row in arranged:
        assert group_of[row["KL_completion_ids"][0]] != row["group"]


@settings(deadline=None, max_examples=100)
@given(feedback(), SEEDS)
def test_a_donor_stands_in_the_rows_own_block_where_neighbours_differ(rows, seed):
    """Rotation by one, as TRL's: only a last block of one row must look further."""
    arranged = arrange(rows, seed)
    add_mismatched(arranged, 4)
    place = {row["completion_ids"][0]: index for index, row in enumerate(arranged)}
    for index, row in enumerate(arranged[: len(arranged) // 4 * 4]):
        first = index // 4 * 4
        expected = index - 1 if index > first else first + 3
        donor = place[row["KL_completion_ids"][0]]
        assert donor == expected or arranged[expected]["group"] == row["group"]
