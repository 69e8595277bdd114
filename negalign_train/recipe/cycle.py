"""Recipes: what a cycle is asked to do. Unknown keys are errors; nothing here imports torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, Field, ValidationError, model_validator

from negalign_train.recipe.candidate import CandidateSettings
from negalign_train.recipe.gate import MAX_SEVERITY, EvaluationSettings, GateSettings
from negalign_train.recipe.judge_spec import (
    DEFAULT_SERVER,
    JudgeName,
    JudgeServerSettings,
    refuse_judges,
)
from negalign_train.recipe.keys import suggestion
from negalign_train.recipe.sources import CasesSettings as CasesSettings
from negalign_train.recipe.sources import FeedbackSettings as FeedbackSettings
from negalign_train.recipe.sources import ModelSettings as ModelSettings
from negalign_train.recipe.sources import ReaderPanel as ReaderPanel
from negalign_train.recipe.strict import Strict, problems, read_yaml
from negalign_train.vocabulary.errors import RecipeError

RecipeType = TypeVar("RecipeType", bound=BaseModel)


class PreferenceSettings(Strict):
    """Events to pairs, labels and weights (DESIGN 2.3)."""

    pair_weight: Literal["uniform", "delta_S", "sqrt"]
    """Weight of a pair from its delta_S; scaled to mean 1 over the dataset."""
    pair_weight_cap: float = Field(default=3.0, ge=1)
    """Largest weight relative to the mean, which is 1, before the final scaling."""
    changed_word_weight: float = Field(ge=1)
    """Weight of the tokens of changed words on both sides; 1 switches it off."""
    span_severity: bool
    """Each changed span is further scaled by its own error's severity (mean 1 over all spans)."""
    struck_only: bool
    """Words the reader left standing after the first change weigh 0 on the rejected side."""
    min_delta_S: float = Field(default=0.0, ge=0, lt=MAX_SEVERITY)
    """Pairs with delta_S not above this are refused; 0 still refuses delta_S <= 0."""
    max_pairs_per_chosen: int = Field(default=20, ge=1)
    """Cap on pairs that share one chosen text."""
    reader_trust: dict[str, Annotated[float, Field(gt=0, le=1)]] = Field(default_factory=dict)
    """Reader id to a factor in (0, 1]; readers not named have 1. To leave a reader out, leave the
    reader's events out."""
    held_out_fraction: float = Field(default=0.1, ge=0, lt=1)
    """Share of case groups of the log kept from training, for retention and (log only) the gate."""
    replay_fraction: float = Field(default=0.25, ge=0, le=10)
    """Replayed examples of earlier cycles, at most this share of the fresh ones: 0.25 is one in
    four, 1 as many again."""


class SeveritySettings(Strict):
    """Who gives severities, and when readers' severities of earlier cycles re-scale them
    (severity/pricing/calibration.py).

    With less evidence than this nothing is re-scaled, and ``calibration.json`` says so.
    """

    judge: JudgeName = "rules"
    """Gives the severities that readers left out, and scores the held-out reports that the gate
    decides on: rules, encoder, nli:DIR, finetuned:DIR, self, ensemble, ensemble:FILE or server:URL
    (docs/judges.md)."""
    server: JudgeServerSettings = DEFAULT_SERVER
    calibrate: bool = True
    """false never re-scales."""
    min_events: int = Field(default=40, ge=10)
    """Events of a category with a severity above 0 from the scorer."""
    min_groups: int = Field(default=20, ge=5)
    """Case groups they come from."""
    confidence: float = Field(default=0.99, gt=0.5, lt=1)
    """Of the interval that must show a smaller error; nine categories are tried in every cycle."""

    @model_validator(mode="after")
    def _groups_hold_events(self) -> SeveritySettings:
        if self.min_groups > self.min_events:
            raise ValueError(
                f"min_groups {self.min_groups} is above min_events {self.min_events}, and every "
                "group holds an event: min_events would decide nothing; change one of them"
            )
        return self


class CycleRecipe(Strict):
    """Everything one feedback cycle needs, ``recipes/**/cycle.yaml``."""

    schema_: Literal["negalign.cycle/1"] = Field(alias="schema")
    """The kind of file and its version."""
    model: ModelSettings
    cases: CasesSettings
    feedback: FeedbackSettings
    severity: SeveritySettings = SeveritySettings()
    preferences: PreferenceSettings
    candidates: tuple[CandidateSettings, ...] = Field(min_length=1)
    accelerate_config: Path
    """Passed to ``accelerate launch --config_file``."""
    evaluation: EvaluationSettings
    gate: GateSettings

    @model_validator(mode="after")
    def _readers_have_ground_truth(self) -> CycleRecipe:
        if self.feedback.source == "simulated" and self.cases.source not in ("synthetic", "openi"):
            raise ValueError(
                "feedback.source simulated needs cases with ground truth, synthetic or openi; "
                "use feedback.source log"
            )
        return self

    @model_validator(mode="after")
    def _judges_go_together(self) -> CycleRecipe:
        rewards = [each.reward.judge for each in self.candidates if each.reward is not None]
        second = self.gate.second_judge
        refuse_judges(self.severity.judge, second, rewards, self.severity.server)
        return self

    @model_validator(mode="after")
    def _cases_are_enough(self) -> CycleRecipe:
        refuse_too_few_cases(self)
        return self

    @model_validator(mode="after")
    def _reports_fit(self) -> CycleRecipe:
        for candidate in self.candidates:
            longest = candidate.trainer.get("max_length")
            if longest is not None and longest <= self.model.max_new_tokens:
                raise ValueError(
                    f"candidate {candidate.name}: trainer.max_length {longest} is for prompt and "
                    f"report, and model.max_new_tokens {self.model.max_new_tokens} lets the report "
                    "alone be as long; raise the one or lower the other"
                )
        return self

    @model_validator(mode="after")
    def _names_are_distinct(self) -> CycleRecipe:
        names = [candidate.name for candidate in self.candidates]
        if len(set(names)) != len(names):
            raise ValueError("candidates: two share a name")
        return self

    @model_validator(mode="after")
    def _starts_are_there(self) -> CycleRecipe:
        before: dict[str, CandidateSettings] = {}
        for candidate in self.candidates:
            start = candidate.continues
            if start is not None and start not in before:
                raise ValueError(
                    f"candidate {candidate.name}: start {start!r} is neither parent, fresh nor a "
                    "candidate listed before it"
                )
            if start is not None and candidate.lora != before[start].lora:
                raise ValueError(
                    f"candidate {candidate.name}: its lora section is not that of candidate "
                    f"{start}, whose adapter it continues"
                )
            before[candidate.name] = candidate
        return self

    def continues_parent(self, candidate: CandidateSettings) -> bool:
        """Whether the parent's weights are under ``candidate``'s, perhaps by way of others."""
        by_name = {each.name: each for each in self.candidates}
        while (earlier := candidate.continues) is not None:
            candidate = by_name[earlier]
        return candidate.start == "parent"


def refuse_too_few_cases(recipe: CycleRecipe) -> None:
    """Raises ValueError where the numbers of a recipe contradict each other: more is asked of the
    cases than there are.
    """
    cases, feedback, evaluation = recipe.cases, recipe.feedback, recipe.evaluation
    frozen = cases.num_evaluation_cases
    if frozen and recipe.gate.min_cases > frozen:
        raise ValueError(
            f"gate.min_cases {recipe.gate.min_cases} is above cases.num_evaluation_cases {frozen}: "
            "every decision would be inconclusive"
        )
    if frozen and evaluation.num_kl_cases > frozen:
        raise ValueError(
            f"evaluation.num_kl_cases {evaluation.num_kl_cases} is above "
            f"cases.num_evaluation_cases {frozen}"
        )
    if not frozen and not recipe.preferences.held_out_fraction:
        raise ValueError(
            "the gate has nothing to decide on: set cases.num_evaluation_cases, or "
            "preferences.held_out_fraction above 0"
        )
    if feedback.source == "log" and cases.num_feedback_cases:
        raise ValueError("feedback.source log drafts nothing; set cases.num_feedback_cases: 0")
    most = cases.num_feedback_cases * feedback.readers.max_turns
    if feedback.source == "simulated" and most < feedback.min_events:
        raise ValueError(
            f"feedback.min_events {feedback.min_events} cannot be reached: "
            f"cases.num_feedback_cases {cases.num_feedback_cases} give at most {most} events"
        )
    tail = (1 - recipe.gate.confidence) / len(recipe.candidates) * evaluation.num_bootstrap
    if tail < 1:
        raise ValueError(
            f"gate.confidence {recipe.gate.confidence}, shared among {len(recipe.candidates)} "
            f"candidates, leaves less than one of {evaluation.num_bootstrap} draws "
            "(evaluation.num_bootstrap) outside on either side; raise num_bootstrap"
        )


def _explain(error: ValidationError, section: type[BaseModel]) -> str:
    lines = []
    faults = problems(error)
    for location, kind, message in faults:
        inner = any(
            len(deep) > len(location) and deep[: len(location)] == location for deep, _, _ in faults
        )
        if kind == "too_short" and inner:
            continue  # pydantic counts what is right in it
        place = ".".join(map(str, location)) or "recipe"
        unknown = kind == "extra_forbidden"
        lines.append(f"{place}: {suggestion(section, location) if unknown else message}")
    return "; ".join(lines)


def load_yaml(path: Path, section: type[RecipeType]) -> RecipeType:
    """Reads a YAML file into ``section``.

    Raises:
        RecipeError: the file is missing, is no YAML mapping, holds an unknown key, one key twice or
            a bad value; the message names every key at fault.
    """
    data = read_yaml(path)
    try:
        return section.model_validate(data)
    except ValidationError as error:
        raise RecipeError(f"{path}: {_explain(error, section)}; fix the recipe") from error
