"""Averages of products, and the factors nearest to them."""

from __future__ import annotations

import pytest
import torch

from negalign_train.training.running.low_rank import ProductAverage, decompose, refactored


def random(rows: int, columns: int, seed: int) -> torch.Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


def dense(average: ProductAverage) -> torch.Tensor:
    return average.left @ average.right


@pytest.mark.parametrize("shape", [(12, 9, 4), (5, 20, 8), (20, 5, 8)])
def test_a_decomposition_of_factors_is_that_of_their_product(shape):
    out, inner, rank = shape
    left, right = random(out, rank, 0), random(rank, inner, 1)
    u, singular, v = decompose(left, right)
    assert torch.allclose(u @ torch.diag(singular) @ v, (left @ right).double(), atol=1e-5)
    expected = torch.linalg.svdvals((left @ right).double())
    assert torch.allclose(singular, expected[: len(singular)], atol=1e-5)


def test_the_average_is_the_recursion_on_products():
    average = ProductAverage(random(6, 2, 0), random(2, 7, 1))
    expected = dense(average)
    for step in range(5):
        product = random(6, 2, 10 + step), random(2, 7, 20 + step)
        average = average.updated(product, decay=0.8)
        expected = 0.8 * expected + 0.2 * product[0] @ product[1]
    assert torch.allclose(dense(average), expected, atol=1e-6)
    assert average.left.shape == (6, 12)
    assert average.error == 0.0


def test_it_is_not_the_product_of_averaged_factors():
    """(B, A) and (-B, -A) are one adapter: its average is itself, that of the factors is zero."""
    b, a = torch.tensor([[1.0], [2.0]]), torch.tensor([[3.0, 4.0]])
    average = ProductAverage(b, a).updated((-b, -a), decay=0.5)
    assert torch.equal(dense(average), b @ a)
    factors = (0.5 * b + 0.5 * -b) @ (0.5 * a + 0.5 * -a)
    assert torch.equal(factors, torch.zeros(2, 2))


def test_equal_adapters_written_with_other_factors_have_one_average():
    first, second = (random(6, 2, 0), random(2, 5, 1)), (random(6, 2, 2), random(2, 5, 3))
    mixing = torch.tensor([[2.0, 1.0], [0.0, 0.5]])
    rewritten = second[0] @ mixing, torch.linalg.inv(mixing) @ second[1]
    averages = [ProductAverage(*first).updated(each, 0.9) for each in (second, rewritten)]
    assert torch.allclose(dense(averages[0]), dense(averages[1]), atol=1e-5)


def test_compression_to_full_rank_loses_nothing():
    average = ProductAverage(random(4, 30, 0), random(30, 50, 1))
    shorter = average.compressed(16)
    assert shorter.left.shape == (4, 4)
    assert torch.allclose(dense(shorter), dense(average), atol=1e-4)
    assert shorter.error == 0.0


def test_compression_bounds_what_it_loses_and_the_bound_decays():
    average = ProductAverage(torch.eye(4), torch.diag(torch.tensor([4.0, 3.0, 2.0, 1.0])))
    shorter = average.compressed(2)
    assert shorter.error == pytest.approx(5**0.5)
    assert torch.linalg.norm(dense(shorter) - dense(average)).item() == pytest.approx(5**0.5)
    later = shorter.updated((torch.zeros(4, 1), torch.zeros(1, 4)), decay=0.5)
    assert later.error == pytest.approx(5**0.5 / 2)


def test_refactoring_keeps_the_largest_directions_and_says_what_it_drops():
    average = ProductAverage(torch.eye(3), torch.diag(torch.tensor([3.0, 2.0, 1.0])))
    actual = refactored(average, rank=2, scale=2.0, a_norm=5.0)
    expected = torch.diag(torch.tensor([3.0, 2.0, 0.0], dtype=torch.float64))
    assert torch.allclose(2.0 * actual.b @ actual.a, expected)
    assert [actual.energy, actual.discarded] == pytest.approx([14.0, 1.0])
    assert torch.linalg.norm(actual.a).item() == pytest.approx(5.0)


def test_refactoring_a_product_of_that_rank_gives_it_back():
    b, a = random(6, 2, 0), random(2, 7, 1)
    actual = refactored(ProductAverage(0.5 * b, a), rank=2, scale=0.5, a_norm=1.0)
    assert torch.allclose(actual.b @ actual.a, (b @ a).double(), atol=1e-5)
    assert actual.discarded == pytest.approx(0.0, abs=1e-9)


def test_a_direction_that_is_missing_can_still_be_trained():
    """A zero in B alone: its gradient is B's, through an A that is not zero."""
    actual = refactored(ProductAverage(torch.zeros(4, 2), random(2, 5, 0)), 2, 1.0, a_norm=3.0)
    assert actual.b.abs().max().item() == 0.0
    assert (torch.linalg.norm(actual.a, dim=1) > 1.0).all()
