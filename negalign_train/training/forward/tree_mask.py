"""The attention mask of prefix trees."""

from __future__ import annotations

import torch
from torch import Tensor


def tree_mask(subtree_ends: Tensor, dtype: torch.dtype) -> Tensor:
    """(rows, 1, length, length), additive: 0 where query i may see key j, the least number of
    ``dtype`` elsewhere.

    ``subtree_ends`` is (rows, length), nodes in depth-first order: j is i or an ancestor of i where
    ``j <= i < subtree_ends[j]``. Every node sees itself, padding too, so no softmax is empty. Added
    to the scores it serves ``sdpa`` and ``eager`` alike; a boolean mask would be turned into this
    one in every layer.
    """
    length = subtree_ends.shape[1]
    places = torch.arange(length, device=subtree_ends.device)
    queries, keys = places[:, None], places[None, :]
    seen = (keys <= queries) & (queries < subtree_ends[:, None, :])
    mask = torch.zeros(seen.shape, dtype=dtype, device=seen.device)
    return mask.masked_fill_(~seen, torch.finfo(dtype).min).unsqueeze(1)
