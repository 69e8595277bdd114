"""Replay of earlier cycles."""

import pytest

from negalign_train.preferences.build import PreferenceSet, Standing
from negalign_train.preferences.files import write_pairs, write_prompts, write_unpaired
from negalign_train.preferences.replay import (
    PAIRS_FILE,
    PROMPTS_FILE,
    UNPAIRED_FILE,
    Draw,
    EarlierExamples,
    read_earlier,
    still_standing,
    with_replay,
)
from negalign_train.vocabulary.records import (
    PreferencePair,
    PromptExample,
    Refusals,
    UnpairedExample,
)


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
    result = with_replay(FRESH, EARLIER, 0.25, frozenset(), Draw(0, 3))
    assert len(replayed(result)) == 5
    assert len(result.unpaired) == len(result.prompts) == 25
    assert result.pairs[:20] == FRESH.pairs


def test_choice_depends_on_the_seed_and_not_on_the_order():
    backwards = EarlierExamples(pairs(1, 40)[::-1], unpaired(1, 40), prompts(2, 40))
    first = replayed(with_replay(FRESH, EARLIER, 0.25, frozenset(), Draw(0, 3)))
    assert first == replayed(with_replay(FRESH, backwards, 0.25, frozenset(), Draw(0, 3)))
    assert first != replayed(with_replay(FRESH, EARLIER, 0.25, frozenset(), Draw(1, 3)))


def test_held_out_groups_and_fresh_examples_are_never_replayed():
    earlier = EarlierExamples(pairs=(*pairs(1, 4), *pairs(3, 4)))
    result = with_replay(FRESH, earlier, 1.0, frozenset({"g1", "g2"}), Draw(0, 3))
    assert sorted(replayed(result)) == ["1-0", "1-3"]


def test_weights_have_mean_one_over_the_mixture():
    result = with_replay(
        FRESH, EarlierExamples(pairs=pairs(1, 5, 3.0)), 0.25, frozenset(), Draw(0, 3)
    )
    assert sum(pair.weight for pair in result.pairs) / 25 == pytest.approx(1, abs=1e-12)
    assert result.pairs[-1].weight == pytest.approx(3 * result.pairs[0].weight)


def test_no_replay_leaves_the_fresh_set_as_it_is():
    assert with_replay(FRESH, EARLIER, 0.0, frozenset(), Draw(0, 3)) == FRESH


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
        replays={("pair", "1-0"): 1},
    )


def one_cycle_after_another(cycles, seed=0):
    """What each cycle replays of 40 pairs, five at a time, knowing what was replayed before."""
    earlier, turns = pairs(1, 40), []
    replays: dict[tuple[str, str], int] = {}
    for cycle in cycles:
        fresh = PreferenceSet(pairs(cycle, 20), (), (), Refusals())
        known = EarlierExamples(pairs=earlier, replays=replays)
        result = with_replay(fresh, known, 0.25, frozenset(), Draw(seed, cycle))
        turns.append([pair.pair_id for pair in result.pairs if pair.origin_cycle == 1])
        for name in turns[-1]:
            replays[("pair", name)] = replays.get(("pair", name), 0) + 1
    return turns


def test_every_example_has_its_turn_before_one_comes_again():
    turns = one_cycle_after_another(range(2, 18))
    first, second = turns[:8], turns[8:]
    everything = {pair.pair_id for pair in pairs(1, 40)}
    assert {len(turn) for turn in turns} == {5}
    assert {name for turn in first for name in turn} == everything
    assert {name for turn in second for name in turn} == everything
    assert first != second


def test_turns_are_the_same_in_every_run_of_one_seed():
    assert one_cycle_after_another([2, 3]) == one_cycle_after_another([2, 3])
    assert one_cycle_after_another([2, 3]) != one_cycle_after_another([2, 3], seed=1)


def test_another_cycle_replays_other_examples_of_equal_turns():
    by_cycle = [
        replayed(with_replay(FRESH, EARLIER, 0.25, frozenset(), Draw(0, c))) for c in (3, 4)
    ]
    assert by_cycle[0] != by_cycle[1]


def test_what_was_revised_or_contradicted_since_is_not_replayed():
    standing = Standing(frozenset({"1-0", "1-2"}), frozenset({"1-1"}), {"2-0": "a", "2-1": "b"})
    left = still_standing(EARLIER, standing)
    assert [pair.pair_id for pair in left.pairs] == ["1-0", "1-2"]
    assert [example.example_id for example in left.unpaired] == ["1-1"]
    assert [prompt.case_id for prompt in left.prompts] == ["2-0"]
