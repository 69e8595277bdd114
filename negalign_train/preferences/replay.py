"""Replay: examples of earlier cycles mixed into the fresh ones, against forgetting.

The number replayed is a share of the fresh examples, so a cycle costs the same however long the
history is. Every example has its turn before one comes again: those replayed least often go first,
and a hash of seed, cycle and example decides among equals, not their order in the files.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from negalign_train.preferences.build import PreferenceSet, Standing
from negalign_train.preferences.files import read_pairs, read_prompts, read_unpaired
from negalign_train.preferences.loss_weights import mean_one
from negalign_train.vocabulary.records import PreferencePair, PromptExample, UnpairedExample

PAIRS_FILE, UNPAIRED_FILE, PROMPTS_FILE = "pairs.parquet", "unpaired.parquet", "prompts.parquet"
COUNTS_FILE = "preferences.json"
"""Names of the files in a cycle's folder (DESIGN 2.6)."""

Example = TypeVar("Example", PreferencePair, UnpairedExample, PromptExample)
Weighted = TypeVar("Weighted", PreferencePair, UnpairedExample)
Identity = tuple[str, str]
"""Kind of an example, and its id."""


@dataclass(frozen=True)
class Draw:
    """The random order of one cycle's replay."""

    seed: int
    cycle: int

    def number(self, name: Identity) -> str:
        """The same for one example in one cycle, and another one in the next."""
        return hashlib.sha256(f"{self.seed} {self.cycle} {name[1]}".encode()).hexdigest()


@dataclass(frozen=True)
class EarlierExamples:
    """The examples that earlier cycles made themselves, and how often each was replayed since."""

    pairs: tuple[PreferencePair, ...] = ()
    unpaired: tuple[UnpairedExample, ...] = ()
    prompts: tuple[PromptExample, ...] = ()
    replays: Mapping[Identity, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        return len(self.pairs) + len(self.unpaired) + len(self.prompts)


def read_earlier(folders: Iterable[tuple[int, Path]]) -> EarlierExamples:
    """Reads (cycle, folder) of earlier cycles. An example belongs to the cycle that made it;
    later cycles that trained on it are counted.
    """
    pairs: list[PreferencePair] = []
    unpaired: list[UnpairedExample] = []
    prompts: list[PromptExample] = []
    replays: Counter[Identity] = Counter()
    for cycle, folder in folders:
        own_pairs, old_pairs = _by_origin(read_pairs(folder / PAIRS_FILE), cycle)
        own_unpaired, old_unpaired = _by_origin(read_unpaired(folder / UNPAIRED_FILE), cycle)
        own_prompts, old_prompts = _by_origin(read_prompts(folder / PROMPTS_FILE), cycle)
        pairs += own_pairs
        unpaired += own_unpaired
        prompts += own_prompts
        replays.update(map(_identity, old_pairs))
        replays.update(map(_identity, old_unpaired))
        replays.update(map(_identity, old_prompts))
    return EarlierExamples(tuple(pairs), tuple(unpaired), tuple(prompts), dict(replays))


def still_standing(earlier: EarlierExamples, standing: Standing) -> EarlierExamples:
    """``earlier`` less what readers have revised or contradicted since."""
    return replace(
        earlier,
        pairs=tuple(x for x in earlier.pairs if x.pair_id in standing.pairs),
        unpaired=tuple(x for x in earlier.unpaired if x.example_id in standing.unpaired),
        prompts=tuple(
            x for x in earlier.prompts if standing.references.get(x.case_id) == x.reference
        ),
    )


def with_replay(
    fresh: PreferenceSet,
    earlier: EarlierExamples,
    replay_fraction: float,
    held_out_groups: frozenset[str],
    draw: Draw,
) -> PreferenceSet:
    """``fresh`` followed by at most ``replay_fraction`` times as many earlier examples.

    Weights have mean 1 over the mixture. Examples that are fresh again, and those of a held-out
    group, are never replayed.
    """

    def replayed(own: Sequence[Example], pool: Sequence[Example]) -> list[Example]:
        allowed = [example for example in pool if example.group not in held_out_groups]
        ordered = _in_turn(own, allowed, earlier.replays, draw)
        return ordered[: int(replay_fraction * len(own))]

    return replace(
        fresh,
        pairs=_reweighted([*fresh.pairs, *replayed(fresh.pairs, earlier.pairs)]),
        unpaired=_reweighted([*fresh.unpaired, *replayed(fresh.unpaired, earlier.unpaired)]),
        prompts=(*fresh.prompts, *replayed(fresh.prompts, earlier.prompts)),
    )


def _in_turn(
    fresh: Sequence[Example],
    earlier: Sequence[Example],
    replays: Mapping[Identity, int],
    draw: Draw,
) -> list[Example]:
    """Earlier examples that are not fresh again: least replayed first, then by ``draw``."""
    pool = {
        _identity(example): example
        for example in sorted(earlier, key=lambda example: example.origin_cycle)
    }
    for example in fresh:
        pool.pop(_identity(example), None)
    order = sorted(pool, key=lambda name: (replays.get(name, 0), draw.number(name)))
    return [pool[name] for name in order]


def _identity(example: PreferencePair | UnpairedExample | PromptExample) -> Identity:
    if isinstance(example, PreferencePair):
        return "pair", example.pair_id
    if isinstance(example, UnpairedExample):
        return "unpaired", example.example_id
    return "prompt", example.case_id


def _by_origin(examples: Sequence[Example], cycle: int) -> tuple[list[Example], list[Example]]:
    """The examples that ``cycle`` made, and those that it replayed."""
    return (
        [example for example in examples if example.origin_cycle == cycle],
        [example for example in examples if example.origin_cycle != cycle],
    )


def _reweighted(examples: Sequence[Weighted]) -> tuple[Weighted, ...]:
    weights = mean_one([example.weight for example in examples])
    return tuple(
        replace(example, weight=weight) for example, weight in zip(examples, weights, strict=True)
    )
