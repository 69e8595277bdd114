"""Replay: examples of earlier cycles mixed into the fresh ones, against forgetting.

The number replayed is a share of the fresh examples, so a cycle costs the same however long the
history is. Which ones is decided by a hash of seed and example, not by their order in the files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from negalign_train.preferences.build import PreferenceSet
from negalign_train.preferences.files import read_pairs, read_prompts, read_unpaired
from negalign_train.preferences.weights import mean_one
from negalign_train.records import PreferencePair, PromptExample, UnpairedExample

PAIRS_FILE, UNPAIRED_FILE, PROMPTS_FILE = "pairs.parquet", "unpaired.parquet", "prompts.parquet"
COUNTS_FILE = "preferences.json"
"""Names of the files in a cycle's folder (DESIGN 2.6)."""

Example = TypeVar("Example", PreferencePair, UnpairedExample, PromptExample)
Weighted = TypeVar("Weighted", PreferencePair, UnpairedExample)


@dataclass(frozen=True)
class EarlierExamples:
    """The examples that earlier cycles made themselves, without what those had replayed."""

    pairs: tuple[PreferencePair, ...] = ()
    unpaired: tuple[UnpairedExample, ...] = ()
    prompts: tuple[PromptExample, ...] = ()


def read_earlier(folders: Iterable[tuple[int, Path]]) -> EarlierExamples:
    """Reads (cycle, folder) of earlier cycles; an example counts in the cycle it came from only."""
    pairs: list[PreferencePair] = []
    unpaired: list[UnpairedExample] = []
    prompts: list[PromptExample] = []
    for cycle, folder in folders:
        pairs += [p for p in read_pairs(folder / PAIRS_FILE) if p.origin_cycle == cycle]
        unpaired += [u for u in read_unpaired(folder / UNPAIRED_FILE) if u.origin_cycle == cycle]
        prompts += [p for p in read_prompts(folder / PROMPTS_FILE) if p.origin_cycle == cycle]
    return EarlierExamples(tuple(pairs), tuple(unpaired), tuple(prompts))


def with_replay(
    fresh: PreferenceSet,
    earlier: EarlierExamples,
    replay_fraction: float,
    held_out_groups: frozenset[str],
    seed: int,
) -> PreferenceSet:
    """``fresh`` followed by at most ``replay_fraction`` times as many earlier examples.

    Weights have mean 1 over the mixture. Examples that are fresh again, and those of a held-out
    group, are never replayed.
    """
    pairs = _chosen(fresh.pairs, earlier.pairs, replay_fraction, held_out_groups, seed)
    unpaired = _chosen(fresh.unpaired, earlier.unpaired, replay_fraction, held_out_groups, seed)
    prompts = _chosen(fresh.prompts, earlier.prompts, replay_fraction, held_out_groups, seed)
    return replace(
        fresh,
        pairs=_reweighted([*fresh.pairs, *pairs]),
        unpaired=_reweighted([*fresh.unpaired, *unpaired]),
        prompts=(*fresh.prompts, *prompts),
    )


def _identity(example: PreferencePair | UnpairedExample | PromptExample) -> str:
    if isinstance(example, PreferencePair):
        return example.pair_id
    return example.example_id if isinstance(example, UnpairedExample) else example.case_id


def _chosen(
    fresh: Sequence[Example],
    earlier: Sequence[Example],
    fraction: float,
    held_out: frozenset[str],
    seed: int,
) -> list[Example]:
    """The replayed examples, in an order that depends on seed and identities only."""
    taken = {_identity(example) for example in fresh}
    pool = {
        _identity(example): example
        for example in sorted(earlier, key=lambda example: example.origin_cycle)
        if example.group not in held_out and _identity(example) not in taken
    }
    order = sorted(pool, key=lambda name: hashlib.sha256(f"{seed} {name}".encode()).hexdigest())
    return [pool[name] for name in order[: int(fraction * len(fresh))]]


def _reweighted(examples: Sequence[Weighted]) -> tuple[Weighted, ...]:
    weights = mean_one([example.weight for example in examples])
    return tuple(
        replace(example, weight=weight) for example, weight in zip(examples, weights, strict=True)
    )
