"""How a pair's delta_S and the chosen side's fall enter the margin, as pure functions of tensors.

All are off unless the recipe's ``objective`` section names them; they are alternatives, or
additions, to the pair weight.
"""

from __future__ import annotations

import torch
from torch import Tensor

from negalign_train.recipe.candidate import ObjectiveSettings, OffsetSettings, TargetSettings


def severity_offset(delta_S: Tensor, settings: OffsetSettings) -> Tensor:
    """``alpha f(delta_S)``, (batch,): how far apart the two rewards of a pair must be.

    ODPO (Amini et al. 2024, arXiv 2402.10571, Eq. 8) subtracts it from the difference of rewards,
    ``-log sigma(beta h - alpha f(delta_S))``. Its f is the logarithm of a difference of scores.
    That is negative below 1, where most delta_S lie, so f here is delta_S, its root, or
    log(1 + delta_S).
    """
    if settings.of == "sqrt":
        return settings.scale * delta_S.sqrt()
    if settings.of == "log1p":
        return settings.scale * delta_S.log1p()
    return settings.scale * delta_S


def target_margin(delta_S: Tensor, settings: TargetSettings) -> Tensor:
    """BFPO's target times beta, (batch,): ``1 - alpha + delta_S / ((b1 - 1) R)``.

    BFPO (Zhang et al. 2024, arXiv 2408.15313) draws the margin to ``(b1 b3 safe(chosen) -
    b3 safe(rejected) - alpha) / beta`` with ``b3 = 1 / (b1 - 1)``. With ``safe = 1 - S / R`` and
    S(chosen) = 0, since the chosen text is what a reader wrote or accepted, that is the line above:
    at b1 3 and alpha 0.5, 0.5 where neither report errs and 1 where the rejected one errs fully,
    as published. S(chosen) > 0, possible inside a thread, would lower it by S(chosen) / R.
    """
    return 1 - settings.alpha + delta_S / ((settings.b1 - 1) * settings.severity_range)


def dpop_penalty(chosen_logratios: Tensor, dpop_lambda: float) -> Tensor:
    """``lambda max(0, log pi_ref(chosen) - log pi(chosen))``, (batch,), in nats.

    DPOP subtracts it from the margin (Smaug, Pal et al. 2024, arXiv 2402.13228, Eq. 3): a chosen
    completion less likely than under the reference costs, however unlikely the rejected one is.
    """
    return dpop_lambda * torch.relu(-chosen_logratios)


def shaped_margin(
    margin: Tensor,
    chosen_logratios: Tensor,
    delta_S: Tensor | None,
    objective: ObjectiveSettings,
    beta: float,
) -> Tensor:
    """The margin h (batch,), in nats, with the recipe's DPOP penalty and ODPO offset taken off:
    ``h - lambda max(0, -logratio(chosen)) - alpha f(delta_S) / beta``.
    """
    if objective.dpop_lambda is not None:
        margin = margin - dpop_penalty(chosen_logratios, objective.dpop_lambda)
    if objective.offset is not None:
        margin = margin - severity_offset(required_delta_S(delta_S), objective.offset) / beta
    return margin


def required_delta_S(delta_S: Tensor | None) -> Tensor:
    """``delta_S`` itself.

    Raises:
        ValueError: it is None; a trainer that drops the column would train without it in silence.
    """
    if delta_S is None:
        raise ValueError(
            "objective.offset and objective.target need delta_S, and its column did not reach "
            "the loss; check the collator"
        )
    return delta_S
