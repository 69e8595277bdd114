"""Tokenised rows, and the order in which they come."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NotRequired, TypedDict

import torch
from torch.utils.data import Sampler
from transformers.trainer_pt_utils import get_length_grouped_indices


class PairRow(TypedDict):
    """One tokenised preference pair: what the DPO trainer's dataset holds."""

    example_id: str
    prompt_ids: list[int]
    chosen_ids: list[int]
    rejected_ids: list[int]
    chosen_weights: list[float]
    rejected_weights: list[float]
    weight: float
    length: int
    delta_S: NotRequired[float]
    shared: int
    """Leading completion tokens that chosen and rejected have in common."""
    ref_chosen_logps: NotRequired[float]
    ref_rejected_logps: NotRequired[float]
    ref_chosen_suffix_logps: NotRequired[float]
    ref_rejected_suffix_logps: NotRequired[float]


class UnpairedRow(TypedDict):
    """One tokenised unpaired example: what the KTO trainer's dataset holds."""

    example_id: str
    group: str
    prompt_ids: list[int]
    completion_ids: list[int]
    token_weights: list[float]
    label: bool
    weight: float
    KL_completion_ids: NotRequired[list[int]]
    KL_token_weights: NotRequired[list[float]]
    ref_logps: NotRequired[float]
    ref_KL_logps: NotRequired[float]


@dataclass(frozen=True)
class TokenSequence:
    """A prompt and a completion of token ids, one loss weight per completion token."""

    prompt_ids: list[int]
    completion_ids: list[int]
    token_weights: list[float]

    def __len__(self) -> int:
        return len(self.prompt_ids) + len(self.completion_ids)


def chosen_sequence(row: PairRow) -> TokenSequence:
    return TokenSequence(row["prompt_ids"], row["chosen_ids"], row["chosen_weights"])


def rejected_sequence(row: PairRow) -> TokenSequence:
    return TokenSequence(row["prompt_ids"], row["rejected_ids"], row["rejected_weights"])


def unpaired_sequence(row: UnpairedRow) -> TokenSequence:
    return TokenSequence(row["prompt_ids"], row["completion_ids"], row["token_weights"])


def suffix_of(sequence: TokenSequence, shared: int) -> TokenSequence:
    """``sequence`` with its first ``shared`` completion tokens out of the score."""
    weights = [0.0] * shared + sequence.token_weights[shared:]
    return TokenSequence(sequence.prompt_ids, sequence.completion_ids, weights)


def unweighted(sequence: TokenSequence) -> TokenSequence:
    """``sequence`` with every completion token scored alike."""
    weights = [1.0] * len(sequence.completion_ids)
    return TokenSequence(sequence.prompt_ids, sequence.completion_ids, weights)


class EpochSampler(Sampler[int]):
    """Indices in an order drawn from seed and epoch alone, the same in every process.

    Batches of like length cut the padding: with ``lengths`` the order is that of transformers'
    ``group_by_length`` (shuffled, sorted inside large slices); without, a plain shuffle. Neither
    touches the global generator, so a resumed run sees the order of an uninterrupted one.
    """

    def __init__(self, num_rows: int, batch_size: int, seed: int, lengths: list[int] | None):
        self.num_rows = num_rows
        self.batch_size = batch_size
        self.seed = seed
        self.lengths = lengths
        self.epoch = 0

    def __len__(self) -> int:
        return self.num_rows

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        if self.lengths is None:
            order = torch.randperm(self.num_rows, generator=generator).tolist()
        else:
            order = get_length_grouped_indices(  # type: ignore[no-untyped-call]
                self.lengths, self.batch_size, generator=generator
            )
        yield from order
