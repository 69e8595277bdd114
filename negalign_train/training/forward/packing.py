"""Completions to the tensors of one forward: a prefix tree per row, or a completion per row."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from negalign_train.training.forward.tree import Indices, PrefixTree, build_tree
from negalign_train.training.objective.losses import weighted_logps
from negalign_train.training.rows.batches import TokenSequence

MODEL_INPUTS = (
    "input_ids", "position_ids", "subtree_ends", "scored_rows", "target_rows", "targets",
)  # fmt: skip
"""The model's inputs of a packed batch; the completion head (``head.py``) explains them."""


_LEAST_SAVED = 0.1
"""Share of a batch's tokens that trees must save. Below it plain rows are as fast or faster: their
attention needs no mask, and looks back over one text instead of the whole row.
"""


@dataclass(frozen=True)
class _Row:
    """One row of a batch: its tree, and where each of its nodes stands among those computed."""

    tree: PrefixTree
    members: list[int]
    inner: np.ndarray
    places: Indices
    """(nodes + 1,): how many computed nodes come before each."""

    @property
    def length(self) -> int:
        return int(self.places[-1])


def pack(sequences: Sequence[TokenSequence], pad_token_id: int, shared: bool) -> dict[str, Tensor]:
    """Tensors for the model, and from its token log-probabilities back to the sequences.

    With ``shared`` all sequences of one prompt are one row, each distinct token computed once: a
    token that several sequences reach through the same prefix is one node with one log-probability,
    and a row of hidden states that forks has several targets. Without, every distinct sequence is
    a row of its own, and no mask is needed: attention is causal, and padding stands to the right.
    Sequences that share less than ``_LEAST_SAVED`` of their tokens are packed in the same plain
    rows. Tokens of weight 0 never reach the LM head.

    ``input_ids`` (rows, length), ``position_ids`` and ``subtree_ends`` alike (``shared`` only);
    ``scored_rows`` (scored,) flat places in (rows, length) that reach the head; ``targets`` and
    ``target_rows`` (targets,) tokens and the scored row each is predicted from. ``target_index``
    and ``token_weights`` are (sequences, tokens): each completion token's target and its weight,
    0 where it is not scored.
    """
    rows = _make_rows(sequences, shared)
    if shared and sum(len(row.tree) for row in rows) > (1 - _LEAST_SAVED) * _unshared(sequences):
        shared, rows = False, _make_rows(sequences, shared=False)
    length = max(row.length for row in rows)
    batch = _inputs(rows, length, pad_token_id)
    if not shared:
        del batch["position_ids"], batch["subtree_ends"]
    return batch | _targets(rows, sequences, length)


def model_inputs(batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The part of a packed batch that the model takes."""
    return {name: batch[name] for name in MODEL_INPUTS if name in batch}


def completion_logps(target_logps: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
    """Token-weighted log-probability of each sequence, (sequences,), in nats, from those of the
    targets, (targets,).
    """
    token_weights = batch["token_weights"].to(target_logps.dtype)
    return weighted_logps(target_logps[batch["target_index"]], token_weights)


def _groups(sequences: Sequence[TokenSequence], shared: bool) -> Iterable[list[int]]:
    """Indices of the sequences of each row, in order of first appearance."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for index, each in enumerate(sequences):
        ids = each.prompt_ids if shared else each.prompt_ids + each.completion_ids
        groups.setdefault(tuple(ids), []).append(index)
    return groups.values()


def _unshared(sequences: Sequence[TokenSequence]) -> int:
    """Tokens of the distinct sequences."""
    distinct = {(tuple(each.prompt_ids), tuple(each.completion_ids)) for each in sequences}
    return sum(len(prompt) + len(completion) for prompt, completion in distinct)


def _make_rows(sequences: Sequence[TokenSequence], shared: bool) -> list[_Row]:
    return [_make_row(sequences, members) for members in _groups(sequences, shared)]


def _make_row(sequences: Sequence[TokenSequence], members: list[int]) -> _Row:
    ids = [sequences[index].prompt_ids + sequences[index].completion_ids for index in members]
    tree = build_tree(ids)
    inner = tree.inner()
    return _Row(tree, members, inner, np.concatenate([[0], np.cumsum(inner)]))


def _inputs(rows: Sequence[_Row], length: int, pad_token_id: int) -> dict[str, Tensor]:
    """Padding follows a row's nodes, and is a tree of its own: it attends to itself alone."""
    input_ids = np.full((len(rows), length), pad_token_id)
    position_ids = np.zeros((len(rows), length), dtype=np.int64)
    subtree_ends = np.tile(np.arange(1, length + 1), (len(rows), 1))
    for index, row in enumerate(rows):
        input_ids[index, : row.length] = row.tree.token_ids[row.inner]
        position_ids[index, : row.length] = row.tree.positions[row.inner]
        subtree_ends[index, : row.length] = row.places[row.tree.ends[row.inner]]
    return {
        "input_ids": torch.from_numpy(input_ids),
        "position_ids": torch.from_numpy(position_ids),
        "subtree_ends": torch.from_numpy(subtree_ends),
    }


def _targets(
    rows: Sequence[_Row], sequences: Sequence[TokenSequence], length: int
) -> dict[str, Tensor]:
    width = max(len(each.completion_ids) for each in sequences)
    nodes = np.full((len(sequences), width), -1)
    sources = np.zeros((len(sequences), width), dtype=np.int64)
    weights = np.zeros((len(sequences), width))
    first_node = 0
    for index, row in enumerate(rows):
        for member, path in zip(row.members, row.tree.paths, strict=True):
            each = sequences[member]
            start = len(each.prompt_ids)
            # The first token of a row is predicted from nothing.
            skipped = 1 if start == 0 else 0
            count = len(each.completion_ids)
            nodes[member, skipped:count] = first_node + path[start + skipped :]
            before = path[start + skipped - 1 : -1]
            sources[member, skipped:count] = index * length + row.places[before]
            weights[member, skipped:count] = each.token_weights[skipped:]
        first_node += len(row.tree)
    weights[nodes < 0] = 0
    scored = weights != 0
    if not scored.any():
        # Two equal texts have nothing to score; one target of weight 0 keeps the forward whole.
        scored[np.unravel_index(np.argmax(nodes >= 0), nodes.shape)] = True
    distinct, first, target_index = np.unique(nodes[scored], return_index=True, return_inverse=True)
    token_ids = np.concatenate([row.tree.token_ids for row in rows])
    scored_rows, target_rows = np.unique(sources[scored][first], return_inverse=True)
    targets_of = np.zeros(nodes.shape, dtype=np.int64)
    targets_of[scored] = target_index
    return {
        "scored_rows": torch.from_numpy(scored_rows),
        "target_rows": torch.from_numpy(target_rows),
        "targets": torch.from_numpy(token_ids[distinct]),
        "target_index": torch.from_numpy(targets_of),
        "token_weights": torch.from_numpy(weights),
    }
