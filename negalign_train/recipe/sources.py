"""The sections of a recipe that say where reports and feedback come from: model, cases, readers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from negalign_train.recipe.candidate import DType, Quantisation
from negalign_train.recipe.strict import Strict, changed_fields

Fraction = Annotated[float, Field(ge=0, le=1)]
"""A share or a rate: 20 % is 0.2."""


def _greedy_or_warm(temperature: float) -> float:
    if 0 < temperature < 0.01:
        raise ValueError("must be 0 (greedy) or at least 0.01: below, the logits overflow")
    return temperature


Temperature = Annotated[float, Field(ge=0, le=2), AfterValidator(_greedy_or_warm)]
"""Of decoding; 0 is greedy. Servers take no more than 2."""


class ModelSettings(Strict):
    """The base model every adapter of the workspace sits on."""

    model_name_or_path: str = Field(min_length=1)
    """A folder written by ``save_pretrained`` or a hub id. ``embedded`` is the one we ship."""
    revision: str | None = Field(default=None, min_length=1)
    """Branch, tag or commit of a hub id; null takes the one that is in the local cache."""
    dtype: DType = "float32"
    """Of the base's weights; bfloat16 on a GPU, float32 on a CPU. The adapter trains in float32."""
    quantisation: Quantisation = "none"
    """``nf4`` trains on a 4-bit base (QLoRA); drafts and the gate read the whole base."""
    max_new_tokens: int = Field(ge=1)
    """Tokens of a report at most; a report that reaches it counts as truncated."""
    temperature: Temperature
    """How the generator decodes where it is deployed, and so how it is evaluated; 0 is greedy."""

    @model_validator(mode="after")
    def _only_hub_ids_have_revisions(self) -> ModelSettings:
        name = self.model_name_or_path
        if self.revision is not None and (name == "embedded" or Path(name).is_dir()):
            raise ValueError(f"revision goes with a hub id, and {name} is none; remove it")
        return self


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
    equal_prompts: Literal["distinct", "same_case"] | None = None
    """Whether two case ids with one prompt are one case. ``distinct``: they are two, as where
    every prompt reads "Write the report." beside an image. ``same_case``: the prompt holds all that
    the generator knows of the study; such cases are held out together, and one's accepted report is
    set against another's rejected one. null: ``same_case`` for synthetic and openi, else
    ``distinct``."""

    @property
    def joins_equal_prompts(self) -> bool:
        """Whether equal prompts are one case."""
        if self.equal_prompts is None:
            return self.source in ("synthetic", "openi")
        return self.equal_prompts == "same_case"

    @model_validator(mode="after")
    def _path_is_given(self) -> CasesSettings:
        if self.source in ("openi", "jsonl") and self.path is None:
            raise ValueError(f"cases.source {self.source} needs cases.path")
        if self.source not in ("openi", "jsonl") and self.path is not None:
            raise ValueError(f"cases.source {self.source} reads no cases.path; remove it")
        if self.source == "log" and (self.num_feedback_cases or self.num_evaluation_cases):
            raise ValueError("cases.source log has no cases of its own; set both numbers to 0")
        return self


class ReaderPanel(Strict):
    """Simulated readers, ``sim-reader-1`` and so on. All rates are probabilities in [0, 1]."""

    num_readers: int = Field(default=3, ge=1)
    """Readers of the panel; each draft is read by one."""
    miss_rate: Fraction = 0.0
    """An error of severity 0.25 is overlooked with this probability; a worse one in proportion
    less, a severity of 1 never."""
    severity_noise: Fraction = 0.0
    """Standard deviation added to each severity before clipping to [0, 1]."""
    severity_bias: float = Field(default=0.0, ge=-1, le=1)
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
    draft_temperature: Temperature = 1.0
    """Decoding of simulated drafts."""
    min_events: int = Field(default=1, ge=1)
    """A cycle with fewer new events than this refuses to start."""
    other_generators: Literal["refuse", "warn", "accept"] = "warn"
    """Events whose completion another base model wrote: ``refuse`` stops before anything is frozen,
    ``warn`` trains on them and says how many, ``accept`` only counts them."""

    @model_validator(mode="after")
    def _simulation_is_on(self) -> FeedbackSettings:
        unread = changed_fields(self, "readers", "draft_temperature")
        if self.source == "log" and unread:
            raise ValueError(f"source log reads no {' and no '.join(unread)}; remove it")
        return self
