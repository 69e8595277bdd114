"""Objectives against values worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from negalign_train.training.objective.losses import (
    Completions,
    DPOObjective,
    dpo_losses,
    kl_reference_point,
    kto_losses,
    sft_losses,
    weighted_dpo_loss,
    weighted_kto_loss,
    weighted_logps,
)

# Three pairs of margin 0, +2 and -2 nats; four completion tokens on each side.
CHOSEN = Completions(torch.tensor([0.0, 1.0, -1.0]), torch.full((3,), 4.0))
REJECTED = Completions(torch.tensor([0.0, -1.0, 1.0]), torch.full((3,), 4.0))
ONES = torch.ones(3)


def sides(margin: torch.Tensor) -> tuple[Completions, Completions]:
    lengths = torch.full_like(margin, 4.0)
    return Completions(margin, lengths), Completions(torch.zeros_like(margin), lengths)


def test_sigmoid_losses_of_margins_0_plus_2_and_minus_2_at_beta_01():
    losses = dpo_losses("sigmoid", CHOSEN, REJECTED, DPOObjective(beta=0.1))
    assert losses.tolist() == pytest.approx([0.6931, 0.5981, 0.7981], abs=5e-5)


def test_hinge_is_linear_below_one_over_beta():
    losses = dpo_losses("hinge", CHOSEN, REJECTED, DPOObjective(beta=0.1))
    assert losses.tolist() == pytest.approx([1.0, 0.8, 1.2])


def test_ipo_squares_the_distance_of_the_per_token_margin_from_half_over_beta():
    losses = dpo_losses("ipo", CHOSEN, REJECTED, DPOObjective(beta=0.5))
    assert losses.tolist() == pytest.approx([1.0, 0.25, 2.25])  # (0, +0.5, -0.5) against 1


def test_robust_at_label_smoothing_01_is_the_unbiased_mixture():
    objective = DPOObjective(beta=0.1, label_smoothing=0.1)
    clean, flipped = -math.log(1 / (1 + math.exp(-0.2))), -math.log(1 / (1 + math.exp(0.2)))
    expected = (0.9 * clean - 0.1 * flipped) / 0.8
    losses = dpo_losses("robust", CHOSEN, REJECTED, objective)
    assert losses.tolist()[:2] == pytest.approx([math.log(2), expected])


def test_sigmoid_norm_takes_the_per_token_margin():
    losses = dpo_losses("sigmoid_norm", CHOSEN, REJECTED, DPOObjective(beta=0.4))
    assert losses[1].item() == pytest.approx(0.5981, abs=5e-5)  # 0.4 * 2 / 4 = 0.2


def test_an_unknown_loss_type_is_refused():
    with pytest.raises(ValueError, match="bco_pair"):
        dpo_losses("bco_pair", CHOSEN, REJECTED, DPOObjective(beta=0.1))


def test_the_weighted_loss_is_the_plain_mean_of_weight_times_loss():
    weight = torch.tensor([2.0, 1.0, 0.0])
    loss = weighted_dpo_loss(CHOSEN, REJECTED, weight, DPOObjective(beta=0.1))
    assert loss.item() == pytest.approx((2 * 0.693147 + 0.598139) / 3, abs=1e-6)


def test_weights_survive_a_micro_batch_of_one():
    one = Completions(torch.zeros(1), torch.ones(1))
    loss = weighted_dpo_loss(one, one, torch.tensor([3.0]), DPOObjective(beta=0.1))
    assert loss.item() == pytest.approx(3 * math.log(2))


def test_losses_mix_by_loss_weights():
    objective = DPOObjective(beta=0.1, loss_types=("hinge", "sft"), loss_weights=(1.0, 0.5))
    loss = weighted_dpo_loss(CHOSEN, REJECTED, ONES, objective, sft=torch.tensor([1.0, 2.0, 3.0]))
    assert loss.item() == pytest.approx(1.0 + 0.5 * 2.0)


def test_the_mean_of_sft_losses_is_the_mean_over_the_datasets_tokens():
    """Completions of three tokens and one, four in all: a mean length of 2."""
    losses = sft_losses(torch.tensor([-6.0, -4.0]), mean_tokens=2.0)
    assert losses.tolist() == [3.0, 2.0]
    assert losses.mean().item() == 10 / 4


def test_token_weights_multiply_log_probabilities_and_zero_removes_a_token():
    token_logps = torch.tensor([[-1.0, -2.0, -3.0]], requires_grad=True)
    logps = weighted_logps(token_logps, torch.tensor([[1.0, 5.0, 0.0]]))
    logps.sum().backward()
    assert logps.tolist() == [-11.0]
    assert token_logps.grad is not None
    assert token_logps.grad.tolist() == [[1.0, 5.0, 0.0]]


def test_kto_losses_pull_each_class_away_from_the_reference_point():
    labels = torch.tensor([True, False])
    losses = kto_losses("kto", torch.tensor([3.0, 3.0]), labels, torch.tensor(1.0), beta=0.1)
    expected = 1 - 1 / (1 + math.exp(-0.2))
    assert losses.tolist() == pytest.approx([expected, 1 - expected])


def test_apo_zero_unpaired_ignores_the_reference_point():
    labels = torch.tensor([True, False])
    logratios = torch.tensor([2.0, 2.0])
    losses = kto_losses("apo_zero_unpaired", logratios, labels, torch.tensor(9.0), beta=0.1)
    assert losses.tolist() == pytest.approx([0.450166, 0.549834], abs=1e-6)


def test_the_reference_point_is_a_mean_never_negative_and_without_gradient():
    logratios = torch.tensor([1.0, 3.0], requires_grad=True)
    z0 = kl_reference_point(logratios)
    assert z0.item() == 2.0
    assert not z0.requires_grad
    assert kl_reference_point(torch.tensor([-5.0, 1.0])).item() == 0.0


def test_kto_rows_weigh_by_row_and_by_class():
    losses = torch.tensor([0.5, 0.5])
    loss = weighted_kto_loss(losses, torch.tensor([2.0, 1.0]), torch.tensor([1.0, 3.0]))
    assert loss.item() == pytest.approx((1.0 + 1.5) / 2)


@pytest.mark.parametrize("loss_type", ["sigmoid", "hinge", "ipo", "robust", "sigmoid_norm"])
def test_gradients_of_dpo_losses(loss_type):
    objective = DPOObjective(0.3, (loss_type,), label_smoothing=0.1)
    weight = torch.tensor([2.0, 0.5, 0.5], dtype=torch.float64)

    def loss(margin: torch.Tensor) -> torch.Tensor:
        return weighted_dpo_loss(*sides(margin), weight, objective)

    margin = torch.tensor([0.1, 1.7, -2.3], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(loss, margin)


@pytest.mark.parametrize("loss_type", ["kto", "apo_zero_unpaired"])
def test_gradients_of_kto_losses(loss_type):
    labels = torch.tensor([True, False])
    z0 = torch.tensor(0.4, dtype=torch.float64)
    logratios = torch.tensor([0.3, -1.1], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda values: kto_losses(loss_type, values, labels, z0, 0.3), logratios
    )
