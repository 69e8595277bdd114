"""Low-rank matrices as products of two factors, added up and cut back to a rank."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class ProductAverage:
    """An exponential moving average of products ``B_t A_t``, as a product of two longer factors.

    ``left`` is (out, n) and ``right`` (n, in), float32, their product the average. ``error`` bounds
    the Frobenius norm of what cutting n back has lost so far.
    """

    left: Tensor
    right: Tensor
    error: float = 0.0

    def updated(self, product: tuple[Tensor, Tensor], decay: float) -> ProductAverage:
        """``decay * average + (1 - decay) * B A``; exact, n grows by the product's rank."""
        left, right = product
        return ProductAverage(
            torch.cat([decay * self.left, (1 - decay) * left.float()], dim=1),
            torch.cat([self.right, right.float()], dim=0),
            decay * self.error,
        )

    def compressed(self, rank: int) -> ProductAverage:
        """The nearest product of at most ``rank`` columns; exact where ``rank`` is full."""
        left, singular, right = decompose(self.left, self.right)
        lost = float(singular[rank:].square().sum().sqrt())
        return replace(
            self,
            left=(left[:, :rank] * singular[:rank]).float(),
            right=right[:rank].float(),
            error=self.error + lost,
        )


def decompose(left: Tensor, right: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Singular value decomposition of ``left @ right`` without forming it: U, S, V^T, float64.

    ``left`` is (out, n), ``right`` (n, in); two QR factorisations leave one n by n matrix, so the
    cost is that of the factors and not of (out, in).
    """
    q_left, r_left = torch.linalg.qr(left.double())
    q_right, r_right = torch.linalg.qr(right.double().T)
    u, singular, v = torch.linalg.svd(r_left @ r_right.T, full_matrices=False)
    return q_left @ u, singular, v @ q_right.T


@dataclass(frozen=True)
class Refactored:
    """LoRA factors of the rank-r product nearest to an average.

    ``b`` is (out, r), ``a`` (r, in). ``energy`` is the squared Frobenius norm of the average and
    ``discarded`` at most what of it the factors lack.
    """

    b: Tensor
    a: Tensor
    energy: float
    discarded: float


def refactored(average: ProductAverage, rank: int, scale: float, a_norm: float) -> Refactored:
    """``scale * b @ a`` is the best rank-``rank`` approximation (Eckart and Young 1936).

    The rows of ``a`` are orthogonal and of equal length, together of norm ``a_norm``, and ``b``
    carries the singular values: a direction that the average lacks then has a zero in ``b`` alone,
    as in a new LoRA, and the next cycle can still train it.
    """
    left, singular, right = decompose(average.left, average.right)
    length = a_norm / math.sqrt(rank)
    cut = float(singular[rank:].square().sum().sqrt())
    return Refactored(
        b=left[:, :rank] * (singular[:rank] / (scale * length)),
        a=right[:rank] * length,
        energy=float(singular.square().sum()),
        discarded=(average.error + cut) ** 2,
    )
