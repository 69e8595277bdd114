"""A candidate of a recipe: TRL's own keys, and beside them the adapter, the reward, what the
objective takes from the severities, and what guards a run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from negalign_train.recipe.judge_spec import DEFAULT_SERVER, JudgeName, JudgeServerSettings
from negalign_train.recipe.strict import Strict
from negalign_train.recipe.trainer import Method as Method
from negalign_train.recipe.trainer import check_trainer
from negalign_train.vocabulary.records import CATEGORIES

DType = Literal["float32", "bfloat16", "float16"]
Quantisation = Literal["none", "nf4"]
ReferencePolicy = Literal["previous", "approved", "base"]
NonNegative = Annotated[float, Field(ge=0)]

MAX_SEED = 4_000_000
"""Largest ``--seed``. Training takes ``seed * 1000 + cycle`` plus the process's rank, and NumPy
takes no seed above 2**32 - 1."""

OffsetOf = Literal["delta_S", "sqrt", "log1p"]
"""The offset is proportional to a pair's delta_S, its square root, or log(1 + delta_S)."""


def _distinct(names: tuple[str, ...]) -> tuple[str, ...]:
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{', '.join(twice)} stands there twice; name each once")
    return names


class OffsetSettings(Strict):
    """ODPO: how far apart the rewards of a pair must be grows with its delta_S."""

    scale: float = Field(gt=0)
    """alpha of the paper, in units of beta times nats per unit of ``of``."""
    of: OffsetOf = "delta_S"
    """Which function of delta_S the offset is proportional to."""


class TargetSettings(Strict):
    """BFPO: ``loss_type: [bfpo]`` draws each pair to a target margin made from its delta_S."""

    alpha: float = Field(default=0.5, ge=0, lt=1)
    """A pair of delta_S 0 is drawn to ``(1 - alpha) / beta`` nats."""
    b1: float = Field(default=3.0, gt=1)
    """A pair of delta_S = ``severity_range`` is drawn ``1 / ((b1 - 1) beta)`` nats further."""
    severity_range: float = Field(default=9.0, gt=0, le=9)
    """The delta_S that counts as full; S has nine parts, and rarely exceeds 3."""


class ObjectiveSettings(Strict):
    """DPO only. An empty section is TRL's objective."""

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
    """Optimiser steps over which the drop is averaged before it is compared."""


class AveragingSettings(Strict):
    """Exponential moving average of the adapter over optimiser steps; the average is published."""

    decay: float = Field(gt=0, lt=1)
    """What of the average stays in a step; 0.99 looks back about 100 steps."""


class LoraSettings(Strict):
    """A new adapter's shape: the portable profile that vLLM and llama.cpp both load."""

    r: int = Field(default=16, ge=1)
    """Rank; vLLM loads up to 16 without a flag."""
    lora_alpha: int = Field(default=32, ge=1)
    """The update is scaled by ``lora_alpha / r``."""
    target_modules: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        default=("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
        min_length=1,
    )
    """Linear maps of every layer that get an update; names as in the base model."""

    @field_validator("target_modules")
    @classmethod
    def _each_once(cls, modules: tuple[str, ...]) -> tuple[str, ...]:
        return _distinct(modules)


class BatchingSettings(Strict):
    """How a step's examples are computed; none of it changes the result."""

    share_prefixes: bool = True
    """Completions of one prompt are one prefix tree; false computes each on its own."""
    max_tokens: int | None = Field(default=None, ge=1)
    """Tokens of a micro-batch, padding counted (DPO, SFT, KTO); a step keeps its examples and is
    cut by this. null cuts it by trainer.per_device_train_batch_size examples."""


class RewardSettings(Strict):
    """GRPO's reward: ``-sum of category_weights * severities - length_weight * max(0, |words /
    reference words - 1| - slack) - format_weight * share of required sections that are missing or
    empty``, never below ``unscorable``. With no category weighted, the first term is ``-S``.
    """

    judge: JudgeName | None = None
    """Gives the severities; null is severity.judge. One with a model of its own needs room beside
    the policy, in every process."""
    category_weights: dict[str, NonNegative] = Field(default_factory=dict)
    """Weights of categories by name; those not named weigh 1. A policy rewarded for a low S
    says less, since what is not said cannot be wrong; a weight above 1 on false_negative counters
    that."""
    length_weight: float = Field(ge=0)
    """Cost of a report of twice the reference's length, at slack 0."""
    length_slack: float = Field(ge=0)
    """Relative difference in length that costs nothing."""
    format_weight: float = Field(default=0.0, ge=0)
    """Cost of a report without any of the required sections."""
    required_sections: tuple[Literal["findings", "impression"], ...] = ("findings", "impression")
    """Sections that ``format_weight`` looks for."""
    unscorable: float = Field(le=-9)
    """Reward of a completion that cannot be scored, and the worst there is; -9 is the worst S."""

    @field_validator("category_weights")
    @classmethod
    def _only_known_categories(cls, weights: dict[str, float]) -> dict[str, float]:
        if unknown := sorted(weights.keys() - set(CATEGORIES)):
            raise ValueError(f"unknown categories {unknown}; known are {', '.join(CATEGORIES)}")
        if not any(weights.get(name, 1.0) for name in CATEGORIES):
            raise ValueError("every category weighs 0, and no error would cost anything")
        return weights

    @model_validator(mode="after")
    def _the_format_is_felt(self) -> RewardSettings:
        _distinct(self.required_sections)
        if self.format_weight > 0 and not self.required_sections:
            raise ValueError("format_weight goes with required_sections, which are none")
        return self


RESERVED_NAMES = (
    "parent", "fresh", "origin", "base", "previous", "champion", "approved", "candidate",
)  # fmt: skip
"""Words that a recipe, the registry or a comparison gives a meaning of its own."""


class CandidateSettings(Strict):
    """One way to train from the parent. ``trainer`` holds TRL's own keys, unchanged."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_+-]{0,31}$")
    """Part of the adapter's id; every candidate of a recipe has its own."""
    method: Method
    """Objective: DPO and SFT train on pairs, KTO on labels, GRPO on prompts and a reward."""
    start: str = "parent"
    """What training starts from: ``parent``, ``fresh`` (a new LoRA), or the name of a candidate
    listed before this one, whose adapter of the same cycle it continues (DPO, then GRPO)."""
    reference: ReferencePolicy = "previous"
    """The frozen model of the loss: ``previous`` is the parent adapter, ``approved`` the adapter
    under the alias ``approved``, ``base`` the bare base model."""
    lora: LoraSettings = LoraSettings()
    batching: BatchingSettings = BatchingSettings()
    trainer: dict[str, Any]
    """Keys of TRL's DPOConfig, KTOConfig, GRPOConfig or SFTConfig (learning_rate, beta, ...)."""
    reward: RewardSettings | None = None
    """Needed by grpo, and only there."""
    objective: ObjectiveSettings = ObjectiveSettings()
    displacement: DisplacementSettings = DisplacementSettings()
    averaging: AveragingSettings | None = None
    """null publishes the last step's adapter."""

    @property
    def continues(self) -> str | None:
        """The candidate that ``start`` names; None where it names none."""
        return None if self.start in ("parent", "fresh") else self.start

    @model_validator(mode="after")
    def _reward_goes_with_grpo(self) -> CandidateSettings:
        if self.name in RESERVED_NAMES:
            raise ValueError(
                f"{self.name!r} is reserved and cannot name a candidate (reserved: "
                f"{', '.join(sorted(RESERVED_NAMES))}); "
                "give it another name"
            )
        if (self.method == "grpo") != (self.reward is not None):
            raise ValueError(f"candidate {self.name}: a reward section goes with grpo, only there")
        return self

    @model_validator(mode="after")
    def _settings_are_felt(self) -> CandidateSettings:
        try:
            check_trainer(self.method, self.trainer)
        except ValueError as error:
            raise ValueError(f"candidate {self.name}: {error}") from None
        if self.method == "grpo" and self.batching.max_tokens is not None:
            raise ValueError(
                f"candidate {self.name}: batching.max_tokens goes with dpo, sft and kto, not with "
                "grpo; remove it"
            )
        if self.method == "sft" and self.reference != "previous":
            raise ValueError(
                f"candidate {self.name}: sft has no reference; remove reference: {self.reference}"
            )
        return self


class CandidateRun(Strict):
    """One launch of ``negalign_train.training.run``: written by the cycle, read by the run."""

    schema_: Literal["negalign.candidate/1"] = Field(default="negalign.candidate/1", alias="schema")
    candidate: CandidateSettings
    model_dir: Path
    base_digest: str
    base_name: str
    """What goes into ``base_model_name_or_path`` of the published adapter; never a path."""
    base_revision: str | None = None
    """The commit of a base of the hub, for ``revision`` of the published adapter."""
    dtype: str
    quantisation: Quantisation = "none"
    max_new_tokens: int = Field(ge=1)
    parent_adapter_dir: Path | None
    earlier_adapter_dir: Path | None = None
    """The adapter of the candidate that ``start`` names; None where it names none."""
    approved_adapter_dir: Path | None = None
    """Needed by ``reference: approved``."""
    reference_cache_dir: Path | None = None
    """Where reference log-probabilities are kept for the cycle's other candidates and for runs
    that go on; None computes them anew."""
    calibration_path: Path | None = None
    """The cycle's calibration of the reward's severities; None: as the judge gives them."""
    judge_server: JudgeServerSettings = DEFAULT_SERVER
    """How the reward's judge is asked, where it is a server."""
    pairs_path: Path
    unpaired_path: Path
    prompts_path: Path
    output_dir: Path
    seed: int = Field(ge=0, lt=2**32)
    num_processes: int | None = Field(default=None, ge=1)
    """Of the launch file: they multiply the batch, so another number is another training."""

    @model_validator(mode="after")
    def _start_is_there(self) -> CandidateRun:
        if (self.candidate.continues is None) != (self.earlier_adapter_dir is None):
            raise ValueError(
                f"candidate {self.candidate.name} starts from {self.candidate.start}: "
                "earlier_adapter_dir goes with a start that names a candidate, only there"
            )
        return self

    @property
    def reward_judge(self) -> str:
        """The judge of the reward. A cycle fills in its own where the recipe names none."""
        reward = self.candidate.reward
        return "rules" if reward is None or reward.judge is None else reward.judge

    @property
    def start_adapter_dir(self) -> Path | None:
        """The adapter that training continues; None draws a new LoRA."""
        if self.candidate.start == "fresh":
            return None
        return self.earlier_adapter_dir or self.parent_adapter_dir
