"""Prefix trees: sequences of token ids that share their common beginnings.

A node is a token after a prefix, so tokens that two sequences reach through the same prefix
are one node. Nodes stand in depth-first order: the descendants of node i are the nodes from i + 1
to ``ends[i]``, which is all an attention mask has to know.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class PrefixTree:
    """A trie of sequences, nodes in depth-first order.

    ``token_ids``, ``positions`` (distance from the root) and ``ends`` (one past the last
    descendant) are (nodes,); ``paths`` holds the nodes of each sequence, in the sequences' order.
    """

    token_ids: Indices
    positions: Indices
    ends: Indices
    paths: tuple[Indices, ...]

    def __len__(self) -> int:
        return len(self.token_ids)

    def inner(self) -> NDArray[np.bool_]:
        """(nodes,): True where a node has a child. Nothing is predicted from the others, so that
        the model need not compute them.
        """
        inner = np.zeros(len(self), dtype=bool)
        for path in self.paths:
            inner[path[:-1]] = True
        return inner


def common_prefix_length(left: Sequence[int], right: Sequence[int]) -> int:
    """How many leading items two sequences share, by bisection over slices."""
    low, high = 0, min(len(left), len(right))
    while low < high:
        middle = (low + high + 1) // 2
        if left[low:middle] == right[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def build_tree(sequences: Sequence[list[int]]) -> PrefixTree:
    """The prefix tree of ``sequences``; equal ones share a path, and so may a prefix of another."""
    order = sorted(range(len(sequences)), key=lambda index: sequences[index])
    token_ids: list[int] = []
    positions: list[Indices] = []
    closed: list[tuple[Indices, int]] = []
    paths: dict[int, Indices] = {}
    before: list[int] = []
    path = np.zeros(0, dtype=np.int64)
    for index in order:
        sequence = sequences[index]
        shared = common_prefix_length(before, sequence)
        start = len(token_ids)
        closed.append((path[shared:], start))
        token_ids += sequence[shared:]
        positions.append(np.arange(shared, len(sequence)))
        path = np.concatenate([path[:shared], np.arange(start, len(token_ids))])
        paths[index] = path
        before = sequence
    closed.append((path, len(token_ids)))
    ends = np.zeros(len(token_ids), dtype=np.int64)
    for nodes, end in closed:
        ends[nodes] = end
    return PrefixTree(
        np.array(token_ids, dtype=np.int64),
        np.concatenate(positions) if positions else np.zeros(0, dtype=np.int64),
        ends,
        tuple(paths[index] for index in range(len(sequences))),
    )


def tree_size(sequences: Sequence[list[int]]) -> int:
    """Nodes of the tree of ``sequences``, without building it."""
    total, before = 0, list[int]()
    for sequence in sorted(sequences):
        total += len(sequence) - common_prefix_length(before, sequence)
        before = sequence
    return total
