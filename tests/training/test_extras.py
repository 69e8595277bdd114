"""Sections beside ``trainer``: how they reach the run, and what is refused with what is allowed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from negalign_train.recipe.candidate import ObjectiveSettings, OffsetSettings, TargetSettings
from negalign_train.training.settings.arguments import dpo_objective, trainer_config
from negalign_train.vocabulary.errors import RecipeError
from tests.tiny import write_run

REWARD = {"length_weight": 0.1, "length_slack": 0.2, "unscorable": -9.0}


@pytest.fixture
def config(base: Path, tmp_path: Path) -> Any:
    """``config(trainer, **candidate)``."""

    def make(trainer: dict[str, Any] | None = None, **candidate: Any) -> Any:
        if candidate.get("method") == "grpo":
            candidate["reward"] = REWARD
        return trainer_config(write_run(tmp_path, base, candidate=candidate, trainer=trainer or {}))

    return make


def test_the_objective_section_reaches_the_loss(config):
    made = config(
        {"loss_type": ["sigmoid", "bfpo"]},
        objective={"offset": {"scale": 0.5, "of": "sqrt"}, "target": {"b1": 2.0}, "dpop_lambda": 5},
    )
    assert dpo_objective(made).settings == ObjectiveSettings(
        offset=OffsetSettings(scale=0.5, of="sqrt"),
        target=TargetSettings(alpha=0.5, b1=2.0, severity_range=9.0),
        dpop_lambda=5.0,
    )


REFUSED: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    (
        {"loss_type": ["ipo"]},
        {"objective": {"offset": {"scale": 1.0}}},
        r"'sigmoid', 'hinge', 'rob",
    ),
    (
        {"loss_type": ["bfpo"]},
        {"objective": {"offset": {"scale": 1.0}, "target": {}}},
        "offset goe",
    ),
    ({"loss_type": ["sigmoid_norm"]}, {"objective": {"dpop_lambda": 5.0}}, r"dpop_lambda .*'bfpo'"),
    ({"loss_type": ["bfpo"]}, {}, "target and trainer.loss_type bfpo go together"),
    ({}, {"objective": {"target": {}}}, "target and trainer.loss_type bfpo go together"),
    ({}, {"method": "kto", "objective": {"dpop_lambda": 5.0}}, "objective goes with method dpo"),
    (
        {},
        {"method": "sft", "displacement": {"max_drop": 2.0}},
        "displacement goes with methods dpo",
    ),
    (
        {"num_generations": 4},
        {"method": "grpo", "displacement": {"window": 5}},
        "dpo and kto, not g",
    ),
]


@pytest.mark.parametrize(("trainer", "candidate", "message"), REFUSED)
def test_what_nothing_would_read_is_refused_with_what_is_allowed(
    config, trainer, candidate, message
):
    with pytest.raises(RecipeError, match=message):
        config(trainer, **candidate)


@pytest.mark.parametrize(
    ("candidate", "message"),
    [
        ({"objective": {"offset": {"scale": 1.0, "of": "square"}}}, "'delta_S', 'sqrt' or 'log1p'"),
        ({"objective": {"offset": {"scale": 0.0}}}, "greater than 0"),
        ({"objective": {"target": {"b1": 1.0}}}, "greater than 1"),
        ({"objective": {"target": {"severity_range": 10.0}}}, "less than or equal to 9"),
        ({"objective": {"dpop": 5.0}}, "Extra inputs are not permitted"),
        ({"displacement": {"max_drop": 0.0}}, "greater than 0"),
        ({"displacement": {"window": 0}}, "greater than or equal to 1"),
        ({"averaging": {"decay": 1.0}}, "less than 1"),
        ({"averaging": {}}, "decay"),
    ],
)
def test_a_wrong_value_is_refused_with_its_range(config, candidate, message):
    with pytest.raises(ValidationError, match=message):
        config(**candidate)
