"""The sections of a recipe that say how a candidate is evaluated: held-out reports and the gate."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from negalign_train.recipe.judge_spec import JudgeName
from negalign_train.recipe.sources import Fraction
from negalign_train.recipe.strict import Strict, changed_fields
from negalign_train.vocabulary.records import CATEGORIES

MAX_SEVERITY = len(CATEGORIES)
"""The worst S."""
MIN_GROUPS = 20
"""Under about this many independent groups a percentile bootstrap is too narrow to trust."""


class RolloutSettings(Strict):
    """Who writes drafts and held-out reports. GRPO's own are set by TRL's ``trainer.use_vllm``."""

    backend: Literal["generate", "vllm_server"] = "generate"
    """``generate``: the model in this process. ``vllm_server``: a server that is running, with
    ``--enable-lora`` and VLLM_ALLOW_RUNTIME_LORA_UPDATING=True."""
    server_url: str | None = Field(default=None, pattern=r"^https?://[^/]+$")
    """Scheme, host and port, as http://localhost:8000."""
    timeout_seconds: float = Field(default=600.0, gt=0, le=86400)
    """For one report."""
    concurrency: int = Field(default=64, ge=1)
    """Requests under way at once; the server batches them."""

    @model_validator(mode="after")
    def _a_server_has_an_address(self) -> RolloutSettings:
        if (self.backend == "vllm_server") != (self.server_url is not None):
            raise ValueError("rollouts.server_url goes with backend vllm_server, only there")
        unread = changed_fields(self, "timeout_seconds", "concurrency")
        if self.backend == "generate" and unread:
            raise ValueError(f"backend generate reads no {' and no '.join(unread)}; remove it")
        return self


class EvaluationSettings(Strict):
    """How held-out cases are generated and compared."""

    batch_size: int = Field(ge=1)
    """Reports generated at once; lower it where memory runs out."""
    rollouts: RolloutSettings = RolloutSettings()
    num_kl_cases: int = Field(ge=1)
    """Cases on which KL to parent and base is computed."""
    max_retention_cases: int = Field(ge=0)
    """Held-out log cases of each earlier cycle that are generated again; 0 tests no retention."""
    num_bootstrap: int = Field(default=4000, ge=100, le=1_000_000)
    """Resamples of case groups behind every interval."""

    @model_validator(mode="after")
    def _retention_can_be_shown(self) -> EvaluationSettings:
        if 0 < self.max_retention_cases < MIN_GROUPS:
            raise ValueError(
                f"max_retention_cases {self.max_retention_cases} is too few to show anything; give "
                f"{MIN_GROUPS} or more, or 0 to test no retention"
            )
        return self


class GateSettings(Strict):
    """Pre-declared criteria (DESIGN 2.5). Ratios and rates are differences candidate - parent
    unless their name says otherwise.
    """

    min_cases: int = Field(ge=2)
    """Fewer scored cases than this is inconclusive."""
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    """1 minus the chance that a cycle promotes a candidate that is no better, or that breaks a
    margin; it is shared among the candidates, and each end of an interval is read by itself."""
    max_category_increase: Fraction = Field(gt=0)
    """Non-inferiority margin: every category's mean must be shown to rise by no more than this."""
    max_category_increase_overall: Fraction = Field(default=0.03, gt=0)
    """The same against the model the first cycle started from: many small rises add up."""
    severe_threshold: float = Field(default=0.8, gt=0, le=1)
    """A report is severe when one of its nine severities reaches this."""
    max_severe_rate_increase: Fraction
    """The share of severe reports must be shown to rise by no more than this; 0 asks for a fall."""
    length_ratio: tuple[float, float]
    """Allowed mean words of the candidate over mean words of the references."""
    max_template_share_increase: Fraction
    """Share of reports equal to the most frequent one."""
    min_distinct_ratio: float = Field(gt=0, le=1)
    """Distinct reports of the candidate over those of the references."""
    max_placeholder_rate: Fraction
    """Share of reports that are empty, truncated or hold a placeholder such as XXXX."""
    max_unscored_rate: Fraction
    """Share of reports that the scorer could not score."""
    max_kl_to_parent: float = Field(gt=0)
    """Nats per token."""
    max_kl_to_base: float = Field(gt=0)
    """Nats per token."""
    max_reference_logps_drop: float = Field(gt=0)
    """Nats per token by which the log-probability of the held-out references may fall."""
    second_judge: JudgeName | None = None
    """Scores the same reports beside severity.judge. It stops nobody: where it sees mean S move the
    other way, the record, the page and the summary warn."""
    max_retention_increase: float = Field(ge=0, le=MAX_SEVERITY)
    """Mean S on the earlier cycles' held-out cases together must be shown to rise by no more than
    this, and on no single cycle's be shown to rise by more."""

    @field_validator("length_ratio")
    @classmethod
    def _bounds_hold_the_references(cls, bounds: tuple[float, float]) -> tuple[float, float]:
        low, high = bounds
        if not 0 < low <= 1 <= high:
            raise ValueError(
                f"[{low}, {high}] must be [low, high] with 0 < low <= 1 <= high: a report as long "
                "as its reference has 1"
            )
        return bounds
