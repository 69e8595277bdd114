"""The objectives, as pure functions of tensors.

Weights have mean 1 over the *dataset*, so every loss is the plain mean over the rows at hand of
weight times row loss. It is never divided by a micro-batch's own weight sum: that would cancel the
weights at batch size 1, and make the loss depend on how rows fall into micro-batches.

With all weights 1 these are TRL's losses (trl 1.16.0, trainer/dpo_trainer.py:1383-1510 and
trainer/kto_trainer.py:1447-1482), which the golden tests hold them to.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from negalign_train.recipe.candidate import PLAIN_OBJECTIVE, ObjectiveSettings
from negalign_train.recipe.trainer import DPOLoss, KTOLoss
from negalign_train.training.objective.margins import required_delta_S, shaped_margin, target_margin

DPO_LOSS_TYPES = get_args(DPOLoss)
OFFSET_LOSS_TYPES = ("sigmoid", "hinge", "robust")
"""Losses of beta times a summed margin: an offset in rewards has a meaning in these."""
PENALISED_LOSS_TYPES = (*OFFSET_LOSS_TYPES, "bfpo")
"""Losses of a summed margin, which DPOP's penalty can be taken off."""
KTO_LOSS_TYPES = get_args(KTOLoss)


@dataclass(frozen=True)
class DPOObjective:
    """Which DPO losses are mixed, and how: TRL's ``loss_type``, ``loss_weights``, ``beta`` and
    ``label_smoothing`` (the probability that a preference is flipped, in [0, 0.5)), and what the
    recipe's ``objective`` section adds to the margin.
    """

    beta: float
    loss_types: tuple[str, ...] = ("sigmoid",)
    loss_weights: tuple[float, ...] = (1.0,)
    label_smoothing: float = 0.0
    settings: ObjectiveSettings = PLAIN_OBJECTIVE


@dataclass(frozen=True)
class Completions:
    """One side of a batch of pairs; every tensor is (batch,).

    ``logratios``: policy minus reference sequence log-probability, token-weighted, in nats.
    ``lengths``: summed token weights, which is the number of completion tokens where all weigh 1.
    """

    logratios: Tensor
    lengths: Tensor


def weighted_logps(token_logps: Tensor, token_weights: Tensor) -> Tensor:
    """Token-weighted sequence log-probability ``sum_t u_t log p_t``, (batch,), in nats.

    ``token_logps`` and ``token_weights`` are (batch, length), both zero off the completion. All
    weights 1 give the plain log-probability; a weight of 0 removes a token from value and gradient.
    """
    return (token_logps * token_weights).sum(dim=1)


def sft_losses(chosen_logps: Tensor, mean_tokens: float) -> Tensor:
    """Negative log-likelihood of the chosen completions over their mean length, (batch,).

    ``chosen_logps`` are sums over all tokens, each weighing 1: the term keeps the whole chosen text
    likely, not only its changed words. ``mean_tokens`` is the mean length of a chosen completion,
    weighted by pair, over the dataset: the term's mean over it is TRL's mean over tokens (trl
    1.16.0, dpo_trainer.py:1495-1502), and it depends neither on how pairs fall into batches nor on
    whether a pair weighs 2 or stands there twice.
    """
    return -chosen_logps / mean_tokens


def dpo_losses(
    loss_type: str,
    chosen: Completions,
    rejected: Completions,
    objective: DPOObjective,
    delta_S: Tensor | None = None,
) -> Tensor:
    """One loss per pair, (batch,), of the margin ``h = logratio(chosen) - logratio(rejected)``,
    less what ``objective.settings`` takes off it (``margins.py``) where h is a sum over tokens.

    - sigmoid: ``-log sigma(beta h)`` (DPO, Rafailov et al. 2023, Eq. 7)
    - hinge: ``max(0, 1 - beta h)`` (SLiC, Zhao et al. 2023, on DPO's margin)
    - ipo: ``(h' - 1 / (2 beta))^2``, h' from per-token means (IPO, Azar et al. 2023, Eq. 17)
    - robust: ``(-(1-e) log sigma(beta h) + e log sigma(-beta h)) / (1 - 2e)`` (rDPO,
      Chowdhury et al. 2024, Eq. 12; e is ``label_smoothing``)
    - sigmoid_norm: sigmoid of per-token means
    - bfpo: ``(h - t / beta)^2`` with t from delta_S (BFPO, :func:`margins.target_margin`)

    ``delta_S``, (batch,), is S(rejected) - S(chosen).
    """
    beta, settings = objective.beta, objective.settings
    margin = chosen.logratios - rejected.logratios
    if loss_type in PENALISED_LOSS_TYPES:
        margin = shaped_margin(margin, chosen.logratios, delta_S, settings, beta)
    if loss_type == "bfpo":
        assert settings.target is not None
        return (margin - target_margin(required_delta_S(delta_S), settings.target) / beta) ** 2
    if loss_type == "sigmoid":
        return -F.logsigmoid(beta * margin)
    if loss_type == "hinge":
        return torch.relu(1 - beta * margin)
    if loss_type == "robust":
        flipped = objective.label_smoothing
        clean = -(1 - flipped) * F.logsigmoid(beta * margin)
        return (clean + flipped * F.logsigmoid(-beta * margin)) / (1 - 2 * flipped)
    per_token = chosen.logratios / chosen.lengths.clamp(min=1)
    per_token = per_token - rejected.logratios / rejected.lengths.clamp(min=1)
    if loss_type == "ipo":
        return (per_token - 1 / (2 * beta)) ** 2
    if loss_type == "sigmoid_norm":
        return -F.logsigmoid(beta * per_token)
    raise ValueError(f"loss type {loss_type!r} is not one of {DPO_LOSS_TYPES}")


def weighted_dpo_loss(
    chosen: Completions,
    rejected: Completions,
    weight: Tensor,
    objective: DPOObjective,
    sft: Tensor | None = None,
    delta_S: Tensor | None = None,
) -> Tensor:
    """``sum_k loss_weight_k * mean_i(weight_i * loss_k,i)``, a scalar.

    Args:
        weight: (batch,) pair weights, mean 1 over the dataset.
        sft: (batch,) from :func:`sft_losses`; needed where ``loss_types`` holds ``sft``.
        delta_S: (batch,), S(rejected) - S(chosen); needed where ``objective.settings`` reads it.

    Three pairs of margin 0, +2 and -2 at beta 0.1 lose 0.6931, 0.5981 and 0.7981 (sigmoid).
    """
    total = weight.new_zeros(())
    delta_S = None if delta_S is None else delta_S.to(weight.dtype)
    for loss_type, loss_weight in zip(objective.loss_types, objective.loss_weights, strict=True):
        if loss_type == "sft":
            assert sft is not None
            losses = sft
        else:
            losses = dpo_losses(loss_type, chosen, rejected, objective, delta_S)
        total = total + loss_weight * (weight * losses).mean()
    return total


def kl_reference_point(mismatched_logratios: Tensor) -> Tensor:
    """KTO's z0, a scalar without gradient: the mean log-ratio of mismatched (prompt, completion)
    rows. It estimates a KL divergence, so it is never negative (KTO, arXiv 2402.01306, Sec. 4.1).
    """
    return mismatched_logratios.mean().detach().clamp(min=0)


def kto_losses(
    loss_type: str, logratios: Tensor, labels: Tensor, z0: Tensor, beta: float
) -> Tensor:
    """One loss per row, (batch,). ``labels`` is boolean, True for desirable.

    - kto: ``1 - sigma(beta (r - z0))`` if desirable, else ``1 - sigma(beta (z0 - r))`` (KTO,
      Ethayarajh et al. 2024, Eq. 7)
    - apo_zero_unpaired: ``1 - sigma(beta r)`` if desirable, else ``sigma(beta r)`` (APO,
      D'Oosterlinck et al. 2024, Eq. 7, unpaired)
    """
    if loss_type not in KTO_LOSS_TYPES:
        raise ValueError(f"loss type {loss_type!r} is not one of {KTO_LOSS_TYPES}")
    centred = logratios - z0 if loss_type == "kto" else logratios
    sign = torch.where(labels, 1.0, -1.0).to(logratios.dtype)
    return 1 - torch.sigmoid(beta * sign * centred)


def weighted_kto_loss(losses: Tensor, weight: Tensor, class_weight: Tensor) -> Tensor:
    """``mean_i(weight_i * class_weight_i * loss_i)``, a scalar; all three are (batch,).

    ``class_weight`` is TRL's ``desirable_weight`` or ``undesirable_weight`` of the row's label.
    """
    return (weight * class_weight * losses).mean()
