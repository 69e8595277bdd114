"""Reference log-probabilities on disk: by content, whole or not there."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from negalign_train.training.policy.loading import load_policy, load_tokenizer
from negalign_train.training.reference import logps as reference
from negalign_train.training.reference.cache import (
    ReferenceCache,
    cached_logps,
    read_cache,
    reference_cache,
    sequence_digest,
    write_cache,
)
from negalign_train.training.reference.logps import add_pair_reference, add_unpaired_reference
from negalign_train.training.rows.batches import TokenSequence
from negalign_train.training.rows.tokenise import tokenise_pairs, tokenise_unpaired
from tests.tiny import make_pairs, make_unpaired, write_parent, write_run

ONE = TokenSequence([1, 2], [3, 4], [1.0, 5.0])
TWO = TokenSequence([1, 2], [3, 5], [1.0, 1.0])


@pytest.fixture
def cache(tmp_path: Path) -> ReferenceCache:
    return ReferenceCache(tmp_path / "cache" / "reference.safetensors", "a" * 64)


class Scorer:
    """Stands in for the model: each sequence's log-probability is minus its ids' sum."""

    def __init__(self) -> None:
        self.asked: list[list[TokenSequence]] = []

    def __call__(self, sequences: Sequence[TokenSequence]) -> list[float]:
        self.asked.append(list(sequences))
        return [-float(sum(each.completion_ids)) / 7 for each in sequences]


def test_each_sequence_is_computed_once_and_comes_back_bit_by_bit(cache):
    scorer = Scorer()
    first = cached_logps(cache, [ONE, TWO, ONE], scorer)
    assert scorer.asked == [[ONE, TWO]]
    assert first == [-1.0, -8 / 7, -1.0]
    again = Scorer()
    assert cached_logps(cache, [TWO, ONE], again) == [-8 / 7, -1.0]
    assert again.asked == []


def test_only_what_is_missing_is_computed_and_the_rest_stays(cache):
    cached_logps(cache, [ONE], Scorer())
    scorer = Scorer()
    cached_logps(cache, [ONE, TWO], scorer)
    assert scorer.asked == [[TWO]]
    assert read_cache(cache) == {sequence_digest(ONE): -1.0, sequence_digest(TWO): -8 / 7}


def test_what_another_run_adds_meanwhile_stays(cache):
    other = TokenSequence([9], [9], [1.0])

    def slow(sequences: Sequence[TokenSequence]) -> list[float]:
        write_cache(cache, {sequence_digest(other): -3.0})
        return [-1.0] * len(sequences)

    cached_logps(cache, [ONE], slow)
    assert read_cache(cache) == {sequence_digest(ONE): -1.0, sequence_digest(other): -3.0}


@pytest.mark.parametrize(
    "other",
    [
        replace(ONE, token_weights=[1.0, 1.0]),
        replace(ONE, completion_ids=[3, 5]),
        replace(ONE, prompt_ids=[2, 2]),
        TokenSequence([1], [2, 3, 4], [1.0, 1.0, 5.0]),
    ],
)
def test_ids_weights_and_where_the_completion_starts_are_in_the_digest(other):
    assert sequence_digest(other) != sequence_digest(ONE)
    assert len(sequence_digest(ONE)) == 32


def test_without_a_cache_all_are_computed():
    scorer = Scorer()
    assert cached_logps(None, [ONE, ONE], scorer) == [-1.0, -1.0]
    assert scorer.asked == [[ONE, ONE]]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))


def overwrite(path: Path) -> None:
    path.write_text("not a safetensors file")


def strip_metadata(path: Path) -> None:
    save_file(load_file(path), path)


def drop_a_tensor(path: Path) -> None:
    save_file({"logps": load_file(path)["logps"]}, path)


@pytest.mark.parametrize("damage", [cut, flip_a_bit, overwrite, strip_metadata, drop_a_tensor])
def test_a_damaged_cache_is_computed_again_and_says_so(cache, damage, caplog):
    cached_logps(cache, [ONE, TWO], Scorer())
    damage(cache.path)
    scorer = Scorer()
    with caplog.at_level(logging.WARNING):
        assert cached_logps(cache, [ONE, TWO], scorer) == [-1.0, -8 / 7]
    assert scorer.asked == [[ONE, TWO]]
    assert "cannot be used" in caplog.text
    assert "they are computed again" in caplog.text
    assert len(read_cache(cache)) == 2


def test_a_file_of_another_reference_under_the_same_name_is_not_taken(cache):
    cached_logps(cache, [ONE], Scorer())
    assert read_cache(replace(cache, identity="b" * 64)) == {}


def test_no_temporary_file_is_left(cache):
    cached_logps(cache, [ONE], Scorer())
    assert [path.name for path in cache.path.parent.iterdir()] == ["reference.safetensors"]


def test_base_adapter_and_dtype_name_the_file_and_the_folders_do_not(base, parent, tmp_path):
    other = write_parent(tmp_path / "other", base, seed=9)
    run = write_run(tmp_path, base, reference_cache_dir=tmp_path / "cache")
    policy = load_policy(run)

    def identity(adapter_dir: Path | None, **changes: Any) -> str:
        actual = reference_cache(run.model_copy(update=changes), policy, adapter_dir)
        assert actual is not None
        return actual.identity

    distinct = {
        identity(None),
        identity(parent),
        identity(other),
        identity(parent, dtype="bfloat16"),
        identity(parent, base_digest="f" * 64),
    }
    assert len(distinct) == 5
    copy = write_parent(tmp_path / "copy", base)  # the parent's bytes in another folder
    assert identity(copy) == identity(parent)


def test_candidates_of_one_cycle_score_the_reference_once(base, parent, tmp_path, monkeypatch):
    scored: list[int] = []  # sequences of each pass
    sequence_logps = reference.sequence_logps

    def counting(policy: Any, sequences: Any, *rest: Any) -> list[float]:
        scored.append(len(sequences))
        return sequence_logps(policy, sequences, *rest)

    monkeypatch.setattr(reference, "sequence_logps", counting)
    run = write_run(
        tmp_path, base, parent_adapter_dir=parent, reference_cache_dir=tmp_path / "cache"
    )
    policy, tokenizer = load_policy(run), load_tokenizer(base)
    pairs = make_pairs(4)
    rows = tokenise_pairs(tokenizer, pairs)
    add_pair_reference(policy, rows, run, 8, 0)
    assert len(scored) == 1
    # The second candidate of the cycle holds the same texts as unpaired rows.
    unpaired = tokenise_unpaired(tokenizer, make_unpaired(pairs))
    for row in unpaired:
        row["token_weights"] = next(
            weights
            for pair in rows
            for ids, weights in (
                (pair["chosen_ids"], pair["chosen_weights"]),
                (pair["rejected_ids"], pair["rejected_weights"]),
            )
            if ids == row["completion_ids"]
        )
    add_unpaired_reference(policy, unpaired, run, 8, 0)
    assert len(scored) == 1
    assert [row["ref_logps"] for row in unpaired[::2]] == [row["ref_chosen_logps"] for row in rows]
    # Another reference shares nothing.
    add_pair_reference(
        policy,
        rows,
        run.model_copy(
            update={"candidate": run.candidate.model_copy(update={"reference": "base"})}
        ),
        8,
        0,
    )
    assert len(scored) == 2
    assert scored[0] == scored[1] >= 8
    assert list(policy.peft_config) == ["default"]
