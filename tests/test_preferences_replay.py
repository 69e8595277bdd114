"""Replay of earlier cycles."""

import pytest

from negalign_train.preferences.build import PreferenceSet
from negalign_train.preferences.files import write_pairs, write_prompts, write_unpaired
from negalign_train.preferences.replay import (
    PAIRS_FILE,
    PROMPTS_FILE,
    UNPAIRED_FILE,
    EarlierExamples,
    read_earlier,
    with_replay,
)
from negalign_train.records import PreferencePair, PromptExample, Refusals, UnpairedExample


def pairs(cycle, count, weight=1.0):
    return tuple(
        PreferencePair(f"{cycle}-{i}", f"c{i}", f"g{i}", cycle, "Cough", "a", "b", 1.0, weight)
        for i in range(count)
    )


def unpaired(cycle, count):
    return tuple(
        UnpairedExample(f"{cycle}-{i}", f"c{i}", f"g{i}", cycle, "Cough", "a", True)
        for i in range(count)
    )


def prompts(cycle, count):
    return tuple(PromptExample(f"{cycle}-{i}", f"g{i}", cycle, "Cough", "a") for i in range(count))


FRESH = PreferenceSet(pairs(3, 20), unpaired(3, 20), prompts(3, 20), Refusals())
EARLIER = EarlierExamples(pairs(1, 40), unpaired(1, 40), prompts(2, 40))


def replayed(result):
    return [pair.pair_id for pair in result.pairs if pair.origin_cycle != 3]


def test_replay_is_capped_by_the_fresh_count():
    result = with_replay(FRESH, EARLIER, 0.25, frozenset(), 0)
    assert len(replayed(result)) == 5
    assert len(result.unpaired) == len(result.prompts) == 25
    assert result.pairs[:20] == FRESH.pairs


def test_choice_depends_on_the_seed_and_not_on_the_order():
    backwards = EarlierExamples(pairs(1, 40)[::-1], unpaired(1, 40), prompts(2, 40))
    first = replayed(with_replay(FRESH, EARLIER, 0.25, frozenset(), 0))
    assert first == replayed(with_replay(FRESH, backwards, 0.25, frozenset(), 0))
    assert first != replayed(with_replay(FRESH, EARLIER, 0.25, frozenset(), 1))


def test_held_out_groups_and_fresh_examples_are_never_replayed():
    earlier = EarlierExamples(pairs=(*pairs(1, 4), *pairs(3, 4)))
    result = with_replay(FRESH, earlier, 1.0, frozenset({"g1", "g2"}), 0)
    assert sorted(replayed(result)) == ["1-0", "1-3"]


def test_weights_have_mean_one_over_the_mixture():
    result = with_replay(FRESH, EarlierExamples(pairs=pairs(1, 5, 3.0)), 0.25, frozenset(), 0)
    assert sum(pair.weight for pair in result.pairs) / 25 == pytest.approx(1, abs=1e-12)
    assert result.pairs[-1].weight == pytest.approx(3 * result.pairs[0].weight)


def test_no_replay_leaves_the_fresh_set_as_it_is():
    assert with_replay(FRESH, EARLIER, 0.0, frozenset(), 0) == FRESH


def test_files_of_earlier_cycles_give_only_what_those_cycles_made(tmp_path):
    for cycle, mixed in ((1, pairs(1, 2)), (2, (*pairs(2, 3), *pairs(1, 1)))):
        write_pairs(tmp_path / str(cycle) / PAIRS_FILE, mixed)
        write_unpaired(tmp_path / str(cycle) / UNPAIRED_FILE, unpaired(cycle, 1))
        write_prompts(tmp_path / str(cycle) / PROMPTS_FILE, prompts(cycle, 1))
    earlier = read_earlier([(1, tmp_path / "1"), (2, tmp_path / "2")])
    assert earlier == EarlierExamples(
        (*pairs(1, 2), *pairs(2, 3)),
        (*unpaired(1, 1), *unpaired(2, 1)),
        (*prompts(1, 1), *prompts(2, 1)),
    )
