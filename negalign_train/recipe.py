"""Recipes: what a cycle is asked to do. Unknown keys are errors; nothing here imports torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, TypeVar

import yaml
from pydantic import BaseModel, Field, ValidationError, model_validator

from negalign_train.errors import RecipeError
from negalign_train.recipe_candidate import CandidateSettings, Quantisation
from negalign_train.recipe_keys import suggestion
from negalign_train.strict import Strict

Section = TypeVar("Section", bound=BaseModel)
Fraction = Annotated[float, Field(ge=0, le=1)]


class ModelSettings(Strict):
    """The base model every adapter of the workspace sits on."""

    model_name_or_path: str
    """A folder written by ``save_pretrained`` or a hub id. ``embedded`` is the one we ship."""
    revision: str | None = None
    """Branch, tag or commit of a hub id; null takes the one that is in the local cache."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Of the base's weights; bfloat16 on a GPU, float32 on a CPU. The adapter trains in float32."""
    quantisation: Quantisation = "none"
    """``nf4`` trains on a 4-bit base (QLoRA); drafts and the gate read the whole base."""
    max_new_tokens: int = Field(ge=1)
    """Tokens of a report at most; a report that reaches it counts as truncated."""
    temperature: float = Field(ge=0)
    """How the generator decodes where it is deployed, and so how it is judged; 0 is greedy."""


class CasesSettings(Strict):
    """Where cases come from. ``path`` is needed by openi (CSV) and jsonl; ``log`` has none of its
    own, the feedback log is all there is.
    """

    source: Literal["synthetic", "openi", "jsonl", "log"]
    """``synthetic``: drawn from ``data/grammar.yaml``. ``openi``: the CSV of OpenI's reports.
    ``jsonl``: a file of cases of your own (docs/cases.md). ``log``: the feedback log alone."""
    path: Path | None = None
    """File of the cases, from the working directory; for ``openi`` and ``jsonl``, only there."""
    num_feedback_cases: int = Field(ge=0)
    """Cases drafted and read in each cycle (``feedback.source: simulated`` only)."""
    num_evaluation_cases: int = Field(ge=0)
    """Frozen evaluation cases, the same in every cycle; 0 takes the log's held-out groups."""

    @model_validator(mode="after")
    def _path_is_given(self) -> CasesSettings:
        if self.source in ("openi", "jsonl") and self.path is None:
            raise ValueError(f"cases.source {self.source} needs cases.path")
        if self.source == "log" and (self.num_feedback_cases or self.num_evaluation_cases):
            raise ValueError("cases.source log has no cases of its own; set both numbers to 0")
        return self


class ReaderPanel(Strict):
    """Simulated readers. All rates are probabilities in [0, 1]."""

    num_readers: int = Field(default=3, ge=1)
    """Readers of the panel; each draft is read by one."""
    miss_rate: Fraction = 0.0
    """An error of severity 0.25 is overlooked with this probability; a worse one in proportion
    less, a severity of 1 never."""
    severity_noise: float = Field(default=0.0, ge=0)
    """Standard deviation added to each severity before clipping to [0, 1]."""
    severity_bias: float = 0.0
    """Added to each severity before clipping; a strict reader has a positive bias."""
    reject_edits: Fraction = 0.5
    """Share of rejected reports that come back with an edit."""
    max_turns: int = Field(default=3, ge=1, le=3)
    """Turns of a negotiated thread at most."""
    thread_rate: Fraction = 0.2
    """Share of imperfect reports negotiated over several turns."""


class FeedbackSettings(Strict):
    """``log``: what was imported. ``simulated``: drafts of the champion, read by a panel."""

    source: Literal["log", "simulated"]
    """Where grades come from; ``simulated`` needs cases with ground truth, synthetic or openi."""
    readers: ReaderPanel = ReaderPanel()
    draft_temperature: float = Field(default=1.0, ge=0)
    """Decoding of simulated drafts."""
    min_events: int = Field(default=1, ge=1)
    """A cycle with fewer new events than this refuses to start."""


class PreferenceSettings(Strict):
    """Events to pairs, labels and weights (DESIGN 2.3)."""

    pair_weight: Literal["uniform", "margin", "sqrt"]
    """Weight of a pair from its margin dS; scaled to mean 1 over the dataset."""
    pair_weight_cap: float = Field(default=3.0, gt=0)
    """Largest weight relative to the mean before the final scaling."""
    changed_word_weight: float = Field(ge=1)
    """Weight of the tokens of changed words on both sides; 1 switches it off."""
    span_severity: bool
    """Each changed span is further scaled by its own error's severity (mean 1 over all spans)."""
    struck_only: bool
    """Words the reader left standing after the first change weigh 0 on the rejected side."""
    min_margin: float = Field(default=0.0, ge=0)
    """Pairs with dS not above this are refused; 0 still refuses dS <= 0."""
    max_pairs_per_chosen: int = Field(default=20, ge=1)
    """Cap on pairs that share one chosen text."""
    reader_trust: dict[str, float] = Field(default_factory=dict)
    """Reader id to a factor in (0, 1]; readers not named have 1."""
    held_out_fraction: Fraction = 0.1
    """Share of case groups of the log kept from training, for retention and (log only) the gate."""
    replay_fraction: float = Field(default=0.25, ge=0)
    """Replayed examples of earlier cycles, at most this share of the fresh ones."""


class RolloutSettings(Strict):
    """Who writes drafts and held-out reports. GRPO's own are set by TRL's ``trainer.use_vllm``."""

    backend: Literal["generate", "vllm_server"] = "generate"
    """``generate``: the model in this process. ``vllm_server``: a server that is running, with
    ``--enable-lora`` and VLLM_ALLOW_RUNTIME_LORA_UPDATING=True."""
    server_url: str | None = Field(default=None, pattern=r"^https?://[^/]+$")
    """Scheme, host and port, as http://localhost:8000."""
    timeout_seconds: float = Field(default=600.0, gt=0)
    """For one report."""
    concurrency: int = Field(default=64, ge=1)
    """Requests under way at once; the server batches them."""

    @model_validator(mode="after")
    def _a_server_has_an_address(self) -> RolloutSettings:
        if (self.backend == "vllm_server") != (self.server_url is not None):
            raise ValueError("rollouts.server_url goes with backend vllm_server, only there")
        return self


class SeveritySettings(Strict):
    """When readers' severities of earlier cycles re-scale the scorer's (severity/calibration.py).

    With less evidence than this nothing changes, and ``calibration.json`` says so.
    """

    calibrate: bool = True
    """false never re-scales."""
    min_events: int = Field(default=40, ge=10)
    """Events of a category with a severity above 0 from the scorer."""
    min_groups: int = Field(default=20, ge=5)
    """Case groups they come from."""
    confidence: float = Field(default=0.99, gt=0.5, lt=1)
    """Of the interval that must show a smaller error; nine categories are tried in every cycle."""


class EvaluationSettings(Strict):
    """How held-out cases are generated and compared."""

    batch_size: int = Field(ge=1)
    """Reports generated at once; lower it where memory runs out."""
    rollouts: RolloutSettings = RolloutSettings()
    num_kl_cases: int = Field(ge=1)
    """Cases on which KL to parent and base is computed."""
    max_retention_cases: int = Field(ge=0)
    """Held-out log cases of each earlier cycle that are generated again."""
    num_bootstrap: int = Field(default=4000, ge=100)
    """Resamples of case groups behind every interval."""


class GateSettings(Strict):
    """Pre-declared criteria (DESIGN 2.5). Ratios and rates are differences candidate - parent
    unless their name says otherwise.
    """

    min_cases: int = Field(ge=2)
    """Fewer scored cases than this is inconclusive."""
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    """Of the intervals that superiority and the guardrails are read from."""
    max_category_increase: float = Field(ge=0)
    """Non-inferiority margin: no category's mean may be shown to rise by more than this."""
    max_category_increase_overall: float = Field(default=0.01, ge=0)
    """The same against the model the first cycle started from: many small rises add up."""
    severe_threshold: float = Field(default=0.8, gt=0, le=1)
    """A report is severe when one of its nine severities reaches this."""
    max_severe_rate_increase: float = Field(ge=0)
    """Rise of the share of severe reports that is allowed."""
    length_ratio: tuple[float, float]
    """Allowed mean words of the candidate over mean words of the references."""
    max_template_share_increase: float = Field(ge=0)
    """Share of reports equal to the most frequent one."""
    min_distinct_ratio: float = Field(gt=0)
    """Distinct reports of the candidate over those of the references."""
    max_placeholder_rate: float = Field(ge=0)
    """Share of reports that are empty, truncated or hold a placeholder such as XXXX."""
    max_unscored_rate: float = Field(ge=0)
    """Share of reports that the scorer could not score."""
    max_kl_to_parent: float = Field(gt=0)
    """Nats per token."""
    max_kl_to_base: float = Field(gt=0)
    """Nats per token."""
    max_reference_logps_drop: float = Field(gt=0)
    """Nats per token by which the log-probability of the held-out references may fall."""
    max_retention_increase: float = Field(ge=0)
    """Rise of mean S on any earlier cycle's held-out cases that may not be shown."""


class CycleRecipe(Strict):
    """Everything one feedback cycle needs, ``recipes/**/cycle.yaml``."""

    schema_: Literal["negalign.cycle/1"] = Field(alias="schema")
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
    def _readers_have_truth_to_judge_from(self) -> CycleRecipe:
        if self.feedback.source == "simulated" and self.cases.source not in ("synthetic", "openi"):
            raise ValueError(
                "feedback.source simulated needs cases with ground truth, synthetic or openi; "
                "use feedback.source log"
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


def _explain(error: ValidationError, section: type[BaseModel]) -> str:
    lines = []
    for item in error.errors(include_input=False, include_url=False):
        place = ".".join(str(part) for part in item["loc"]) or "recipe"
        unknown = item["type"] == "extra_forbidden"
        lines.append(f"{place}: {suggestion(section, item['loc']) if unknown else item['msg']}")
    return "; ".join(lines)


def load_yaml(path: Path, section: type[Section]) -> Section:
    """Reads a YAML file into ``section``.

    Raises:
        RecipeError: the file is missing, is no YAML mapping, holds an unknown key or a bad value;
            the message names every key at fault.
    """
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except yaml.YAMLError as error:
        raise RecipeError(f"{path}: not YAML ({error}); fix the file") from error
    try:
        return section.model_validate(data)
    except ValidationError as error:
        raise RecipeError(f"{path}: {_explain(error, section)}; fix the recipe") from error
