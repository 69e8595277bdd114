"""Sections of a candidate that stand beside TRL's own keys: what the objective takes from the
severities, and what guards a run.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from negalign_train.strict import Strict

OffsetOf = Literal["margin", "sqrt", "log1p"]
"""What of a pair's dS the offset is proportional to: dS, its square root, or log(1 + dS)."""


class OffsetSettings(Strict):
    """ODPO: how far apart the rewards of a pair must be grows with its dS."""

    scale: float = Field(gt=0)
    """alpha of the paper, in units of beta times nats per unit of ``of``."""
    of: OffsetOf = "margin"


class TargetSettings(Strict):
    """BFPO: ``loss_type: [bfpo]`` draws each pair to a target margin that follows from its dS."""

    alpha: float = Field(default=0.5, ge=0, lt=1)
    """A pair of dS 0 is drawn to ``(1 - alpha) / beta`` nats."""
    b1: float = Field(default=3.0, gt=1)
    """A pair of dS = ``severity_range`` is drawn ``1 / ((b1 - 1) beta)`` nats further."""
    severity_range: float = Field(default=9.0, gt=0, le=9)
    """The dS that counts as full; S has nine parts, and rarely exceeds 3."""


class ObjectiveSettings(Strict):
    """DPO only. Nothing given is TRL's objective."""

    offset: OffsetSettings | None = None
    """Goes with loss types sigmoid, hinge and robust."""
    target: TargetSettings | None = None
    """Goes with loss type bfpo, which needs it (``{}`` takes the paper's values)."""
    dpop_lambda: float | None = Field(default=None, gt=0)
    """DPOP: weight of the penalty on a chosen completion that is less likely than under the
    reference; goes with sigmoid, hinge, robust and bfpo. The paper takes 5 to 50."""


PLAIN_OBJECTIVE = ObjectiveSettings()
"""TRL's objective: nothing added."""


class DisplacementSettings(Strict):
    """DPO and KTO: stops a run whose chosen completions become too unlikely."""

    max_drop: float | None = Field(default=1.0, gt=0)
    """Nats per chosen token below the reference, token weights included; null never stops."""
    window: int = Field(default=20, ge=1)
    """Optimiser steps over which the drop is averaged before it is judged."""


class AveragingSettings(Strict):
    """Exponential moving average of the adapter over optimiser steps; the average is published."""

    decay: float = Field(gt=0, lt=1)
    """What of the average stays in a step; 0.99 looks back about 100 steps."""
