"""A cycle's result written out by hand, for the tests of what reads one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from negalign_train.feedback.stats import log_stats
from negalign_train.report.result import (
    CandidateResult,
    CategoryChange,
    Check,
    CycleData,
    CycleResult,
    OtherGenerators,
    RetentionMatrix,
    ScorerUsed,
    SinceFirstCycle,
)
from negalign_train.vocabulary.records import CATEGORIES

DATA = CycleData(
    events=30,
    events_of_other_generators=0,
    events_with_edit=20,
    events_trained=24,
    events_trained_with_edit=16,
    events_held_out=6,
    events_of_evaluation_cases=0,
    events_withdrawn=0,
    groups=30,
    groups_held_out=6,
    severities_from_reader=28,
    severities_from_scorer=1,
    severities_unknown=1,
    severities_unknown_because={"no_statement": 1},
    pairs=14,
    pairs_replayed=0,
    unpaired=24,
    unpaired_replayed=0,
    desirable=12,
    label_groups=24,
    prompts=24,
    prompts_replayed=0,
    replay_no_longer_valid=0,
    refused={"delta_S_too_small": 2},
    readers=log_stats([]),
    other_generators=OtherGenerators("warn", "mine", {}),
    held_out_without_reference=1,
    last_sequence=30,
)
CANDIDATE = CandidateResult(
    name="dpo",
    adapter="c0002-dpo-77aa01fe",
    outcome="promoted",
    reasons=("mean S is shown to be lower and every guardrail holds",),
    num_cases=398,
    mean_S=0.483,
    mean_Q=0.31,
    ci_low=-0.257,
    ci_high=-0.157,
    severe_rate=0.217,
    per_category=dict.fromkeys(CATEGORIES, 0.05),
    template_share=0.04,
    length_ratio=1.02,
    distinct_ratio=0.93,
    kl_to_parent=0.08,
    kl_to_base=0.15,
    not_applied={"retention": "12 case groups, fewer than 20"},
)
RESULT = CycleResult(
    cycle=2,
    seed=1,
    decision="promoted",
    reasons=CANDIDATE.reasons,
    champion=CANDIDATE.adapter,
    parent="c0001-dpo-1f9a2b3c",
    candidate="dpo",
    level=0.025,
    num_cases=398,
    num_held_out=400,
    mean_S_before=0.69,
    mean_S_candidate=0.483,
    mean_S_after=0.483,
    mean_Q_before=0.42,
    mean_Q_candidate=0.31,
    mean_Q_after=0.31,
    ci_low=-0.257,
    ci_high=-0.157,
    severe_rate_before=0.31,
    severe_rate_candidate=0.217,
    severe_rate_after=0.217,
    per_category=dict.fromkeys(CATEGORIES, CategoryChange(0.07, 0.05, 0.05)),
    length_ratio=1.02,
    distinct_ratio=0.93,
    template_share_before=0.05,
    template_share=0.04,
    since_first_cycle=SinceFirstCycle(397, 0.95, 0.483, -0.52, -0.41),
    retention=RetentionMatrix({1: {1: 0.71, 2: 0.64}}, {1: 36}, -0.07),
    readers_check=Check(400, 0.71, 0.5, -0.26, -0.16),
    scorer=ScorerUsed("rules", "0123abcd", "ef" * 32, {}, "no category is re-scaled", {}),
    calibrated_check=None,
    candidates=(CANDIDATE,),
    data=DATA,
    training={"dpo": {"num_steps": 40}},
    seconds=107.2,
    seconds_by_step={"feedback": 11.2, "train dpo": 74.0, "evaluate": 22.0},
)


def make_data(**overrides: Any) -> CycleData:
    return replace(DATA, **overrides)


def make_result(**overrides: Any) -> CycleResult:
    """A promoted second cycle; overrides are its fields."""
    return replace(RESULT, **overrides)


def make_refused(decision: Any, *reasons: str) -> CycleResult:
    """The same cycle with its candidate refused: the champion and its figures stay."""
    candidate = replace(CANDIDATE, outcome=decision, reasons=reasons)
    return make_result(
        decision=decision,
        reasons=reasons,
        candidates=(candidate,),
        champion=RESULT.parent,
        mean_S_after=RESULT.mean_S_before,
        mean_Q_after=RESULT.mean_Q_before,
        severe_rate_after=RESULT.severe_rate_before,
    )
