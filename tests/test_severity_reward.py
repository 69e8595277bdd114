"""The GRPO reward: minus S, minus the length term; silence never pays."""

from __future__ import annotations

import pytest

from negalign_train.recipe import RewardSettings
from negalign_train.severity.reward import severity_reward

REFERENCE = "Small left pleural effusion. The heart is normal in size."
SETTINGS = RewardSettings(length_weight=0.5, length_slack=0.2, unscorable=-10.0)


def rewards(*completions: object, settings: RewardSettings = SETTINGS) -> list[float]:
    return severity_reward(settings)(
        prompts=[""] * len(completions),
        completions=completions,  # type: ignore[arg-type]
        reference=[REFERENCE] * len(completions),
        completion_ids=[[1]] * len(completions),
        trainer_state=None,
    )


def test_the_right_report_earns_zero_and_an_error_its_severity() -> None:
    wrong_side = REFERENCE.replace("left", "right")
    assert rewards(REFERENCE, wrong_side) == [0.0, -0.5]


def test_messages_and_text_earn_the_same() -> None:
    message = [{"role": "assistant", "content": REFERENCE.replace("Small", "Large")}]
    assert rewards(message) == rewards(REFERENCE.replace("Small", "Large")) == [-0.5]


def test_an_unscorable_completion_earns_the_worst_reward() -> None:
    assert rewards("", "qzx wvb kjp") == [-10.0, -10.0]


def test_length_beyond_the_slack_costs() -> None:
    """Ten words against twenty-two: 0.5 * (|22/10 - 1| - 0.2) = 0.5."""
    longer = REFERENCE + " The patient was seen in the department with two views of the chest."
    assert len(REFERENCE.split()) == 10
    ratio = len(longer.split()) / 10
    assert rewards(longer) == [pytest.approx(-0.5 * (ratio - 1 - 0.2))]
    free = RewardSettings(length_weight=0.0, length_slack=0.0, unscorable=-10.0)
    assert rewards(longer, settings=free) == [0.0]


def test_trl_finds_a_name_for_its_log() -> None:
    assert severity_reward(SETTINGS).__name__ == "negative_severity"
