"""What a cycle came to, ``cycle.json``: the object that ``negalign cycle --json`` prints.

It lies in this room because it is the lowest one that reads it: the cycle writes it, and the page,
the terminal and programs read it without importing the cycle.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from negalign_train.evaluation.second_opinion import SecondOpinion
from negalign_train.feedback.stats import LogStats
from negalign_train.storage.record_json import record_from_json, record_to_json
from negalign_train.storage.workspace import read_json
from negalign_train.vocabulary.errors import CycleError

SCHEMA = "negalign.summary/3"
Decision = Literal["promoted", "rejected", "inconclusive"]


@dataclass(frozen=True)
class CategoryChange:
    """Mean severity of one category; None where no case was scored for both sides."""

    before: float | None
    candidate: float | None
    after: float | None


@dataclass(frozen=True)
class Check:
    """Mean S of the parent's and the candidate's reports by another measure than the gate's, on the
    ``num_cases`` that it could score for both, with the interval of the change.
    """

    num_cases: int
    mean_S_before: float
    mean_S_after: float
    ci_low: float
    ci_high: float


@dataclass(frozen=True)
class SinceFirstCycle:
    """The candidate against the model that the first cycle started from."""

    num_cases: int
    mean_S_start: float
    mean_S_now: float
    ci_low: float
    ci_high: float


@dataclass(frozen=True)
class RetentionMatrix:
    """``mean_S[i][j]`` is mean S on cycle i's held-out cases of the champion after cycle j.

    ``backward_transfer`` is the mean over the earlier cycles i of ``mean_S[i][now]`` minus
    ``mean_S[i][i]`` (Lopez-Paz and Ranzato 2017, equation 3, of S: above 0 is forgotten); None
    where no earlier cycle was measured right after it. ``num_cases`` is per earlier cycle.
    """

    mean_S: Mapping[int, Mapping[int, float]]
    num_cases: Mapping[int, int]
    backward_transfer: float | None


@dataclass(frozen=True)
class Rescaling:
    """How readers' severities re-scale one category of the scorer."""

    scale: float
    exponent: float


@dataclass(frozen=True)
class ScorerUsed:
    """Who gave the severities of the cycle. ``calibration`` is a digest, ``reason`` says why the
    categories in ``rescaled``, or none, are re-scaled. ``unscored`` counts by reason the
    candidate's held-out reports that it could not score.
    """

    judge: str
    version: str
    calibration: str
    rescaled: Mapping[str, Rescaling]
    reason: str
    unscored: Mapping[str, int]


@dataclass(frozen=True)
class CandidateResult:
    """One candidate's own figures on the cases scored for it and its parent; ``not_applied`` is
    guardrail to reason.
    """

    name: str
    adapter: str
    outcome: Decision
    reasons: tuple[str, ...]
    num_cases: int
    mean_S: float | None
    mean_Q: float | None
    ci_low: float | None
    ci_high: float | None
    severe_rate: float | None
    per_category: Mapping[str, float] | None
    template_share: float
    length_ratio: float
    distinct_ratio: float
    kl_to_parent: float | None
    kl_to_base: float | None
    not_applied: Mapping[str, str]
    reward_judge: str | None = None
    """Name and version of the judge behind GRPO's reward."""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class OtherGenerators:
    """``events`` of other bases than the cycle's ``base``, by their name, and the recipe's
    ``setting`` for them.
    """

    setting: str
    base: str
    events: Mapping[str, int]


@dataclass(frozen=True)
class CycleData:
    """Counts of the cycle's events, what was made of them, and what was refused.

    Events are split by what happened to them: trained on, held out, of frozen evaluation cases,
    withdrawn. ``held_out_without_reference`` cases have no text that the gate could compare with.
    ``last_sequence`` is the newest event's place in the log; the next cycle begins after it.
    ``drafts`` are absent where the log was imported.
    """

    events: int
    events_of_other_generators: int
    events_with_edit: int
    events_trained: int
    events_trained_with_edit: int
    events_held_out: int
    events_of_evaluation_cases: int
    events_withdrawn: int
    groups: int
    groups_held_out: int
    severities_from_reader: int
    severities_from_scorer: int
    severities_unknown: int
    severities_unknown_because: Mapping[str, int]
    pairs: int
    pairs_replayed: int
    unpaired: int
    unpaired_replayed: int
    desirable: int
    label_groups: int
    prompts: int
    prompts_replayed: int
    replay_no_longer_valid: int
    refused: Mapping[str, int]
    readers: LogStats
    other_generators: OtherGenerators
    held_out_without_reference: int
    last_sequence: int
    drafts: int | None = None
    drafts_empty: int | None = None

    def counts(self) -> dict[str, int]:
        """The single counts by name."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, int)}


@dataclass(frozen=True)
class CycleResult:
    """The outcome of one cycle.

    ``ci_low`` and ``ci_high`` bound S(candidate) - S(parent) of the candidate that the result
    speaks of, each with an error rate of ``level``. ``*_after`` is the new champion's, so it equals
    ``*_before`` where nothing was promoted; ``*_candidate`` is the candidate's own. Means are over
    the ``num_cases`` of ``num_held_out`` cases that were scored for both; None without any. Q is
    errors against what is right (``SeverityScore.quality``); the gate decides on S.
    ``champion`` and ``parent`` None are the base model. ``training`` holds each candidate's
    metrics, ``seconds_by_step`` wall-clock seconds. ``second_judge`` is None where the recipe names
    none; ``warnings`` are of the candidate that the result speaks of, and decided nothing.
    """

    cycle: int
    seed: int
    decision: Decision
    reasons: tuple[str, ...]
    champion: str | None
    parent: str | None
    candidate: str
    level: float
    num_cases: int
    num_held_out: int
    mean_S_before: float | None
    mean_S_candidate: float | None
    mean_S_after: float | None
    mean_Q_before: float | None
    mean_Q_candidate: float | None
    mean_Q_after: float | None
    ci_low: float | None
    ci_high: float | None
    severe_rate_before: float | None
    severe_rate_candidate: float | None
    severe_rate_after: float | None
    per_category: Mapping[str, CategoryChange]
    length_ratio: float
    distinct_ratio: float
    template_share_before: float
    template_share: float
    since_first_cycle: SinceFirstCycle | None
    retention: RetentionMatrix
    readers_check: Check | None
    scorer: ScorerUsed
    calibrated_check: Check | None
    candidates: tuple[CandidateResult, ...]
    data: CycleData
    training: Mapping[str, Mapping[str, Any]]
    seconds: float
    seconds_by_step: Mapping[str, float]
    second_judge: SecondOpinion | None = None
    warnings: tuple[str, ...] = ()

    @property
    def chosen_candidate(self) -> CandidateResult:
        """The candidate that the result speaks of."""
        (chosen,) = (each for each in self.candidates if each.name == self.candidate)
        return chosen

    def to_json(self) -> dict[str, Any]:
        """The object of schema ``negalign.summary/3``; it holds no report text."""
        return {"schema": SCHEMA} | record_to_json(self)

    @staticmethod
    def from_json(value: Any, source: str) -> CycleResult:
        """The result that ``to_json`` gave; ``source`` names where it stands.

        Raises:
            CycleError: another schema, an unknown or missing key, or a value of another type.
        """
        schema = value.get("schema") if isinstance(value, dict) else None
        problem = f"schema: must be {SCHEMA}"
        if schema == SCHEMA:
            body = {name: each for name, each in value.items() if name != "schema"}
            try:
                return record_from_json(CycleResult, body)
            except ValueError as error:
                problem = str(error)
        raise CycleError(
            f"{source}: {problem}. Another release of negalign-train wrote it, or it was changed: "
            "go on with that release, or restore the file from a backup"
        )


def read_result(path: Path) -> CycleResult:
    """The result of a finished cycle.

    Raises:
        CycleError: see ``CycleResult.from_json``.
    """
    return CycleResult.from_json(read_json(path), str(path))
