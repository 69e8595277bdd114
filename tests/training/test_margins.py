"""How delta_S and the chosen side's fall enter the margin, against values worked out by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from negalign_train.recipe.candidate import ObjectiveSettings, OffsetSettings, TargetSettings
from negalign_train.training.objective.losses import (
    Completions,
    DPOObjective,
    dpo_losses,
    sft_losses,
    weighted_dpo_loss,
)
from negalign_train.training.objective.margins import dpop_penalty, severity_offset, target_margin

LENGTHS = torch.full((3,), 4.0)
# Margins +2, +2 and -2 nats; the chosen completion rose, fell and fell.
CHOSEN = Completions(torch.tensor([1.0, -1.0, -3.0]), LENGTHS)
REJECTED = Completions(torch.tensor([-1.0, -3.0, -1.0]), LENGTHS)
DELTA_S = torch.tensor([0.25, 1.0, 2.25])


def objective(*loss_types: str, beta: float = 0.1, **settings: Any) -> DPOObjective:
    return DPOObjective(
        beta, loss_types, (1.0,) * len(loss_types), settings=ObjectiveSettings(**settings)
    )


def softplus(value: float) -> float:
    return math.log(1 + math.exp(value))


def gradients(
    chosen: float, rejected: float, delta_S: float, spec: DPOObjective
) -> tuple[float, float]:
    """d loss / d logratio of the chosen and of the rejected side of one pair."""
    sides = [torch.tensor([value], requires_grad=True) for value in (chosen, rejected)]
    up_side, down_side = (Completions(side, torch.ones(1)) for side in sides)
    loss = weighted_dpo_loss(
        up_side, down_side, torch.ones(1), spec, delta_S=torch.tensor([delta_S])
    )
    up, down = torch.autograd.grad(loss, sides)
    return up.item(), down.item()


@pytest.mark.parametrize(
    ("of", "expected"),
    [
        ("delta_S", [0.5, 2.0, 4.5]),
        ("sqrt", [1.0, 2.0, 3.0]),
        ("log1p", [2 * math.log(1.25), 2 * math.log(2), 2 * math.log(3.25)]),
    ],
)
def test_the_offset_is_alpha_times_dS_its_root_or_its_logarithm(of, expected):
    offset = severity_offset(DELTA_S, OffsetSettings(scale=2.0, of=of))
    assert offset.tolist() == pytest.approx(expected)


def test_odpo_takes_the_offset_off_the_difference_of_rewards():
    spec = objective("sigmoid", offset=OffsetSettings(scale=2.0))
    losses = dpo_losses("sigmoid", CHOSEN, REJECTED, spec, DELTA_S)
    # beta h is 0.2, 0.2 and -0.2; alpha delta_S is 0.5, 2.0 and 4.5
    assert losses.tolist() == pytest.approx([softplus(0.3), softplus(1.8), softplus(4.7)])


def test_odpo_of_the_hinge_is_zero_only_past_the_offset():
    spec = objective("hinge", beta=1.0, offset=OffsetSettings(scale=1.0))
    losses = dpo_losses("hinge", CHOSEN, REJECTED, spec, DELTA_S)
    assert losses.tolist() == pytest.approx([0.0, 0.0, 5.25])  # 1 - 2 + delta_S; 1 + 2 + delta_S


def test_a_severer_pair_is_pulled_apart_harder_under_an_offset():
    spec = objective("sigmoid", offset=OffsetSettings(scale=1.0))
    mild, severe = (gradients(1.0, -1.0, delta_S, spec) for delta_S in (0.25, 2.25))
    assert severe[0] < mild[0] < 0 < mild[1] < severe[1]
    assert mild[0] == -mild[1]


def test_the_target_is_the_published_one_at_its_corners():
    """BFPO: safe/safe 0.5, safe/unsafe 1.0 at b1 3, alpha 0.5."""
    targets = target_margin(torch.tensor([0.0, 4.5, 9.0]), TargetSettings())
    assert targets.tolist() == pytest.approx([0.5, 0.75, 1.0])


def test_the_target_follows_b1_alpha_and_the_range_of_dS():
    settings = TargetSettings(alpha=0.2, b1=2.0, severity_range=3.0)
    assert target_margin(DELTA_S, settings).tolist() == pytest.approx(
        [0.8 + 0.25 / 3, 0.8 + 1 / 3, 0.8 + 0.75]
    )


def test_bfpo_squares_the_distance_to_the_target_in_nats():
    spec = objective("bfpo", beta=0.5, target=TargetSettings(severity_range=1.0))
    losses = dpo_losses("bfpo", CHOSEN, REJECTED, spec, torch.tensor([0.0, 1.0, 0.5]))
    # targets (0.5, 1.0, 0.75) / 0.5 against margins 2, 2, -2
    assert losses.tolist() == pytest.approx([1.0, 0.0, 3.5**2])


def test_bfpo_widens_a_margin_under_its_target_and_narrows_one_over_it():
    spec = objective("bfpo", beta=0.5, target=TargetSettings())  # 1 nat at delta_S 0
    assert gradients(0.0, 0.0, 0.0, spec) == (-2.0, 2.0)
    assert gradients(2.0, 0.0, 0.0, spec) == (2.0, -2.0)


def test_the_dpop_penalty_is_lambda_times_the_fall_of_the_chosen_completion():
    assert dpop_penalty(CHOSEN.logratios, 5.0).tolist() == [0.0, 5.0, 15.0]


def test_dpop_takes_the_penalty_off_the_margin():
    losses = dpo_losses("sigmoid", CHOSEN, REJECTED, objective("sigmoid", dpop_lambda=5.0))
    # beta (h - penalty): 0.1 * (2 - 0), 0.1 * (2 - 5), 0.1 * (-2 - 15)
    assert losses.tolist() == pytest.approx([softplus(-0.2), softplus(0.3), softplus(1.7)])


def test_dpop_raises_a_fallen_chosen_completion_and_leaves_a_risen_one_to_dpo():
    plain, penalised = objective("sigmoid"), objective("sigmoid", dpop_lambda=5.0)
    assert gradients(1.0, -1.0, 0.0, plain) == gradients(1.0, -1.0, 0.0, penalised)
    up, down = gradients(-1.0, -3.0, 0.0, penalised)
    assert up == pytest.approx(-6 * down)  # (1 + lambda) on the chosen side
    assert up < gradients(-1.0, -3.0, 0.0, plain)[0] < 0


def test_penalty_and_offset_add_up():
    spec = objective("sigmoid", dpop_lambda=5.0, offset=OffsetSettings(scale=2.0))
    losses = dpo_losses("sigmoid", CHOSEN, REJECTED, spec, DELTA_S)
    assert losses[1].item() == pytest.approx(softplus(0.3 + 2.0))


@pytest.mark.parametrize("loss_type", ["ipo", "sigmoid_norm"])
def test_losses_of_per_token_margins_are_left_alone(loss_type):
    plain, shaped = objective(loss_type), objective(loss_type, dpop_lambda=5.0)
    losses = [dpo_losses(loss_type, CHOSEN, REJECTED, each).tolist() for each in (plain, shaped)]
    assert losses[0] == losses[1]


def test_nothing_named_is_plain_dpo():
    losses = dpo_losses("sigmoid", CHOSEN, REJECTED, objective("sigmoid"), DELTA_S)
    assert losses.tolist() == pytest.approx([softplus(-0.2), softplus(-0.2), softplus(0.2)])


@pytest.mark.parametrize(
    "spec",
    [
        objective("sigmoid", offset=OffsetSettings(scale=1.0)),
        objective("bfpo", target=TargetSettings()),
    ],
)
def test_a_delta_S_column_that_is_lost_is_refused(spec):
    with pytest.raises(ValueError, match="its column did not reach the loss"):
        weighted_dpo_loss(CHOSEN, REJECTED, torch.ones(3), spec)


SHAPED = [
    objective("sigmoid", offset=OffsetSettings(scale=1.0, of="sqrt")),
    objective("hinge", dpop_lambda=3.0),
    objective("robust", offset=OffsetSettings(scale=1.0, of="log1p"), dpop_lambda=3.0),
    objective("bfpo", target=TargetSettings(), dpop_lambda=3.0),
]


@pytest.mark.parametrize("spec", SHAPED, ids=lambda spec: spec.loss_types[0])
def test_gradients_of_shaped_losses(spec):
    weight = torch.tensor([2.0, 0.5, 0.5], dtype=torch.float64)
    lengths = LENGTHS.double()

    def loss(chosen: torch.Tensor, rejected: torch.Tensor) -> torch.Tensor:
        sides = Completions(chosen, lengths), Completions(rejected, lengths)
        return weighted_dpo_loss(*sides, weight, spec, delta_S=DELTA_S)

    sides = [
        torch.tensor(values, dtype=torch.float64, requires_grad=True)
        for values in ([1.1, -1.3, -3.2], [-1.4, -2.7, -0.6])
    ]
    assert torch.autograd.gradcheck(loss, sides)


EVERY_LOSS = [
    *(objective(name, beta=0.3) for name in ("sigmoid", "hinge", "ipo", "robust", "sigmoid_norm")),
    *SHAPED,
]


@pytest.mark.parametrize("spec", EVERY_LOSS, ids=lambda spec: spec.loss_types[0])
def test_weight_3_is_the_pair_three_times_and_weight_0_is_its_absence(spec):
    def total(rows: list[int], weights: list[float]) -> float:
        chosen = Completions(CHOSEN.logratios[rows].double(), LENGTHS[rows].double())
        rejected = Completions(REJECTED.logratios[rows].double(), LENGTHS[rows].double())
        weight = torch.tensor(weights, dtype=torch.float64)
        loss = weighted_dpo_loss(chosen, rejected, weight, spec, delta_S=DELTA_S[rows])
        return loss.item() * len(rows)

    weighted = total([0, 1, 2], [3.0, 1.0, 0.0])
    assert weighted == pytest.approx(total([0, 0, 0, 1], [1.0] * 4), rel=1e-12)


def test_with_the_datasets_mean_length_the_sft_term_also_counts_copies():
    """Weights 2, 0 and 1 on completions of 3, 1 and 2 tokens: the mean is (2 * 3 + 2) / 3."""
    logps = torch.tensor([-6.0, -4.0, -2.0])
    weighted = sft_losses(logps, 8 / 3) * torch.tensor([2.0, 0.0, 1.0])
    copies = sft_losses(logps[[0, 0, 2]], 8 / 3)
    assert weighted.sum().item() == pytest.approx(copies.sum().item()) == pytest.approx(14 * 3 / 8)
