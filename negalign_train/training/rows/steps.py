"""How the examples of one optimiser step fall into processes and micro-batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

IDLE: list[Any] = []
"""What a turn of Trainer's accumulation loop gets that has nothing to do."""


@dataclass(frozen=True)
class Unit:
    """Examples that belong in one row of a batch, and how many tokens that row computes."""

    examples: tuple[int, ...]
    tokens: int


@dataclass(frozen=True)
class MicroBatchLimits:
    """What one forward may hold: at most ``max_tokens`` tokens, padding counted, unless it is None;
    else at most ``max_examples`` examples. A single unit beyond the limit is a batch of its own.
    """

    max_examples: int
    max_tokens: int | None = None


def share_out(units: Sequence[Unit], processes: int) -> list[list[Unit]]:
    """Units of a step by process, so that each computes about as many tokens: the longest first,
    each to the process with least so far.
    """
    shares: list[list[Unit]] = [[] for _ in range(processes)]
    loads = [0] * processes
    for unit in sorted(units, key=lambda unit: (-unit.tokens, unit.examples)):
        lightest = loads.index(min(loads))
        shares[lightest].append(unit)
        loads[lightest] += unit.tokens
    return shares


def micro_batches(units: Sequence[Unit], limits: MicroBatchLimits) -> list[list[int]]:
    """Examples of each micro-batch; units of like length stand together, the longest first, so that
    the first forward is the one that decides whether memory suffices.
    """
    cut: list[list[int]] = []
    longest = rows = 0
    for unit in sorted(units, key=lambda unit: (-unit.tokens, unit.examples)):
        if limits.max_tokens is not None:
            fits = longest * (rows + 1) <= limits.max_tokens
        else:
            fits = bool(cut) and len(cut[-1]) + len(unit.examples) <= limits.max_examples
        if not cut or not fits:
            cut.append([])
            longest, rows = unit.tokens, 0
        cut[-1] += unit.examples
        rows += 1
    return cut


def plan_step(
    units: Sequence[Unit], processes: int, limits: MicroBatchLimits
) -> list[list[list[int]]]:
    """Examples of each micro-batch of each process.

    Every process gets as many micro-batches, since ZeRO's collectives run in each; one that runs
    out has empty ones. The plan follows from the step's examples alone, so that every process knows
    all of it and none has to ask.
    """
    plan = [micro_batches(share, limits) for share in share_out(units, processes)]
    turns = max(len(cut) for cut in plan)
    return [cut + [[] for _ in range(turns - len(cut))] for cut in plan]


class GlobalBatchSampler(Sampler[list[int]]):
    """Indices of all processes' examples of one loader batch; each process reads the same ones, and
    ``plan_step`` shares them out. The last batch may be short; nothing is dropped or seen twice.
    """

    def __init__(self, order: Sampler[int], num_rows: int, batch_size: int) -> None:
        self.order = order
        self.num_rows = num_rows
        self.batch_size = batch_size

    def __len__(self) -> int:
        return -(-self.num_rows // self.batch_size)

    def set_epoch(self, epoch: int) -> None:
        if hasattr(self.order, "set_epoch"):
            self.order.set_epoch(epoch)

    def __iter__(self) -> Iterator[list[int]]:
        order = list(self.order)
        for start in range(0, len(order), self.batch_size):
            yield order[start : start + self.batch_size]


class RowLoader(DataLoader[Any]):
    """Batches of raw rows: tensors are made per step, when its micro-batches are known."""

    def __init__(self, dataset: Dataset[Any], sampler: GlobalBatchSampler, workers: int) -> None:
        super().__init__(
            dataset,
            batch_sampler=sampler,
            collate_fn=list,
            num_workers=workers,
            # Its own, so that reading rows leaves the global generator where it was.
            generator=torch.Generator(),
        )

    def set_epoch(self, epoch: int) -> None:
        """Called by Trainer before each epoch (transformers 5.23.0, trainer.py:1850)."""
        assert isinstance(self.batch_sampler, GlobalBatchSampler)
        self.batch_sampler.set_epoch(epoch)
