"""How often each case group is drawn: the cluster bootstrap of this room. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Places = NDArray[np.intp]
"""For each row the number of its group."""


def group_places(groups: Sequence[str]) -> tuple[int, Places]:
    """The number of groups, and for each row the number of its group."""
    names, places = np.unique(np.array(groups), return_inverse=True)
    return len(names), places


def draws(num_groups: int, num_bootstrap: int, seed: int, block: int = 100) -> Iterator[Floats]:
    """Blocks (block, num_groups) of how often each group is drawn, with replacement.

    Cases of one group are not independent, so groups are drawn and not cases (Davison and Hinkley
    1997, section 3.8).
    """
    rng = np.random.default_rng(seed)
    for first in range(0, num_bootstrap, block):
        count = min(block, num_bootstrap - first)
        shares = np.full(num_groups, 1 / num_groups)
        yield rng.multinomial(num_groups, shares, size=count).astype(np.float64)


def percentile_interval(values: Floats, confidence: float) -> tuple[float, float] | None:
    """The interval of the resampled values that are numbers; None where fewer than half are."""
    known = values[np.isfinite(values)]
    if 2 * len(known) < len(values) or not len(known):
        return None
    tail = 50 * (1 - confidence)
    low, high = np.percentile(known, [tail, 100 - tail])
    return float(low), float(high)
