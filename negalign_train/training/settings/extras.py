"""Checks of a candidate's sections beside ``trainer``: each must have an effect."""

from __future__ import annotations

from collections.abc import Sequence

from negalign_train.recipe.candidate import (
    PLAIN_OBJECTIVE,
    CandidateSettings,
    DisplacementSettings,
    ObjectiveSettings,
)
from negalign_train.training.objective.losses import OFFSET_LOSS_TYPES, PENALISED_LOSS_TYPES
from negalign_train.vocabulary.errors import RecipeError


def check_extras(candidate: CandidateSettings, loss_types: Sequence[str]) -> None:
    """Refuses settings that nothing would read, and loss types whose settings are missing.

    Args:
        loss_types: of the trainer; read for DPO only.

    Raises:
        RecipeError: naming the key, and what it goes with.
    """
    where = f"candidate {candidate.name}"
    objective = candidate.objective
    if candidate.method != "dpo" and objective != PLAIN_OBJECTIVE:
        raise RecipeError(f"{where}: objective goes with method dpo, not {candidate.method}")
    if candidate.method == "dpo":
        _check_objective(objective, loss_types, f"{where}: objective")
    if candidate.method not in ("dpo", "kto") and candidate.displacement != DisplacementSettings():
        raise RecipeError(
            f"{where}: displacement goes with methods dpo and kto, not {candidate.method}; "
            "remove it"
        )


def _check_objective(objective: ObjectiveSettings, loss_types: Sequence[str], where: str) -> None:
    offsettable = set(loss_types) & set(OFFSET_LOSS_TYPES)
    if objective.offset is not None and not offsettable:
        raise RecipeError(
            f"{where}.offset goes with trainer.loss_type {OFFSET_LOSS_TYPES}, got {loss_types}"
        )
    if objective.dpop_lambda is not None and not set(loss_types) & set(PENALISED_LOSS_TYPES):
        raise RecipeError(
            f"{where}.dpop_lambda goes with trainer.loss_type {PENALISED_LOSS_TYPES}, got "
            f"{loss_types}"
        )
    if (objective.target is None) == ("bfpo" in loss_types):
        raise RecipeError(
            f"{where}.target and trainer.loss_type bfpo go together; give both, target: {{}} for "
            "the published values, or neither"
        )
