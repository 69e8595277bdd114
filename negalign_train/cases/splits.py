"""Splits by a hash of the case group alone: the same on every machine and in every run."""

from __future__ import annotations

import hashlib


def group_fraction(group: str, seed: int) -> float:
    """A number in [0, 1) that depends on group and seed only, uniform over groups (SHA-256)."""
    digest = hashlib.sha256(f"{seed}\x00{group}".encode()).digest()
    return (int.from_bytes(digest[:8], "big") >> 11) / (1 << 53)
