"""The gate's decision, its records and their chain."""

import json
from dataclasses import replace
from typing import Any

import pytest

from negalign_train.errors import GateError
from negalign_train.evaluation.bootstrap import Comparison, Interval
from negalign_train.evaluation.gate import GateEvidence, criteria_digest, decide
from negalign_train.evaluation.metrics import Divergence, ReportMetrics
from negalign_train.evaluation.records import (
    choose,
    gate_record_to_dict,
    seal,
    settle,
    verify_chain,
)
from negalign_train.recipe import GateSettings
from negalign_train.records import CATEGORIES

SETTINGS = GateSettings(
    min_cases=100,
    max_category_increase=0.02,
    max_severe_rate_increase=0.01,
    length_ratio=(0.8, 1.25),
    max_template_share_increase=0.05,
    min_distinct_ratio=0.5,
    max_placeholder_rate=0.01,
    max_unscored_rate=0.02,
    max_kl_to_parent=0.5,
    max_kl_to_base=1.0,
    max_reference_logps_drop=0.1,
    max_retention_increase=0.03,
)
METRICS = ReportMetrics(
    num_cases=200,
    num_scored=200,
    mean_S=0.5,
    per_category=dict.fromkeys(CATEGORIES, 0.05),
    severe_rate=0.2,
    length_ratio=1.0,
    template_share=0.1,
    distinct_ratio=0.9,
    placeholder_rate=0.0,
    unscored_rate=0.0,
)
LOWER = Interval(-0.1, -0.15, -0.05)
FLAT = Interval(0.0, -0.01, 0.01)
COMPARISON = Comparison(200, 150, LOWER, dict.fromkeys(CATEGORIES, FLAT), Interval(-0.05, -0.1, 0))


def evidence(**overrides):
    fields: dict[str, Any] = {
        "cycle": 2,
        "candidate": "dpo",
        "parent_adapter": "c0001-dpo-aaaa",
        "candidate_adapter": "c0002-dpo-bbbb",
        "parent": replace(METRICS, mean_S=0.6),
        "metrics": METRICS,
        "comparison": COMPARISON,
        "overall": COMPARISON,
        "divergence": Divergence(0.1, 0.2, 5000),
        "parent_reference_logps": -0.50,
        "reference_logps": -0.55,
        "retention": {1: FLAT},
    }
    return GateEvidence(**(fields | overrides))


def decided(**overrides):
    return decide(evidence(**overrides), SETTINGS, criteria_digest(SETTINGS))


def failed(record):
    return [criterion.name for criterion in record.criteria if not criterion.passed]


def test_candidate_that_is_shown_better_and_keeps_every_guardrail_is_promoted():
    record = decided()
    assert record.outcome == "promoted"
    assert failed(record) == []
    assert record.reasons == ("mean S is shown to be lower and every guardrail holds",)
    assert len(record.criteria) == 31


def category(name, interval):
    return replace(COMPARISON, per_category={**COMPARISON.per_category, name: interval})


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("mean_S", {"comparison": replace(COMPARISON, total=Interval(-0.1, -0.3, 0.0))}),
        ("mean_S", {"comparison": replace(COMPARISON, total=Interval(-0.1, -0.3, 0.1))}),
        (
            "category:device_error",
            {"comparison": category("device_error", Interval(0.1, 0.021, 0.2))},
        ),
        (
            "overall:device_error",
            {"overall": category("device_error", Interval(0.05, 0.011, 0.1))},
        ),
        ("severe_rate", {"comparison": replace(COMPARISON, severe_rate=Interval(0.02, 0, 0.1))}),
        ("length_ratio", {"metrics": replace(METRICS, length_ratio=0.79)}),
        ("length_ratio", {"metrics": replace(METRICS, length_ratio=1.26)}),
        ("template_share", {"metrics": replace(METRICS, template_share=0.16)}),
        ("distinct_ratio", {"metrics": replace(METRICS, distinct_ratio=0.49)}),
        ("placeholder_rate", {"metrics": replace(METRICS, placeholder_rate=0.02)}),
        ("kl_to_parent", {"divergence": Divergence(0.6, 0.2, 5000)}),
        ("kl_to_base", {"divergence": Divergence(0.1, 1.1, 5000)}),
        ("reference_logps_drop", {"reference_logps": -0.61}),
        ("retention:c0001", {"retention": {1: Interval(0.1, 0.031, 0.2)}}),
    ],
)
def test_one_failed_criterion_rejects(name, overrides):
    record = decided(**overrides)
    assert record.outcome == "rejected"
    assert failed(record) == [name]
    assert record.reasons[0].startswith(f"{name}: ")


def test_rise_that_is_not_shown_does_not_reject():
    wide = Interval(0.1, -0.2, 0.4)
    record = decided(comparison=category("device_error", wide), retention={1: wide})
    assert record.outcome == "promoted"


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("scored_cases", {"comparison": replace(COMPARISON, num_cases=99)}),
        ("case_groups", {"comparison": replace(COMPARISON, num_groups=19)}),
        ("unscored_rate", {"metrics": replace(METRICS, unscored_rate=0.03)}),
        ("unscored_rate", {"parent": replace(METRICS, unscored_rate=0.03)}),
    ],
)
def test_thin_evidence_is_inconclusive_even_where_the_interval_is_clear(name, overrides):
    record = decided(**overrides)
    assert record.outcome == "inconclusive"
    assert failed(record) == [name]


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("kl_to_base", {"divergence": None}),
        ("kl_to_parent", {"divergence": Divergence(float("nan"), 0.2, 1)}),
        ("reference_logps_drop", {"reference_logps": None}),
        ("reference_logps_drop", {"parent_reference_logps": None}),
        ("retention:c0001", {"retention": {1: None}}),
    ],
)
def test_missing_measurement_fails_closed(name, overrides):
    record = decided(**overrides)
    assert record.outcome == "rejected"
    assert f"{name}: not measured" in record.reasons


def test_no_comparison_at_all_is_inconclusive():
    record = decided(comparison=None)
    assert record.outcome == "inconclusive"
    assert "mean_S: not measured" in record.reasons


def test_criteria_changed_after_the_declaration_are_refused():
    looser = SETTINGS.model_copy(update={"max_kl_to_base": 9.0})
    with pytest.raises(GateError, match="restore them, or start a new cycle"):
        decide(evidence(), looser, criteria_digest(SETTINGS))


def candidate(name, mean_S, **overrides):
    return decided(candidate=name, metrics=replace(METRICS, mean_S=mean_S), **overrides)


def test_best_passing_candidate_is_chosen_and_the_beaten_one_says_why():
    records = [
        candidate("dpo", 0.5),
        candidate("kto", 0.4),
        candidate("grpo", 0.1, divergence=None),
    ]
    best = choose(records)
    assert best is not None
    assert best.evidence.candidate == "kto"
    settled = settle(records)
    assert [record.outcome for record in settled] == ["rejected", "promoted", "rejected"]
    assert "candidate kto passed with a lower mean S" in settled[0].reasons[0]
    assert settled[1:] == tuple(records[1:])


def test_nothing_is_chosen_where_none_passed():
    records = [candidate("dpo", 0.5, divergence=None)]
    assert choose(records) is None
    assert settle(records) == tuple(records)


def test_chain_survives_json_and_shows_a_changed_or_missing_record():
    sealed = seal([candidate("dpo", 0.5), candidate("kto", 0.4)], previous="f00d")
    read = json.loads(json.dumps(sealed, allow_nan=False))
    verify_chain(read, previous="f00d")
    assert read[1]["previous"] == read[0]["fingerprint"]
    with pytest.raises(GateError, match="gate record 0"):
        verify_chain(read[1:], previous="f00d")
    read[0]["outcome"] = "rejected"
    with pytest.raises(GateError, match="was changed"):
        verify_chain(read, previous="f00d")


def test_record_as_json_holds_the_whole_decision():
    data = gate_record_to_dict(decided(divergence=None))
    assert (data["schema"], data["cycle"], data["candidate"]) == ("negalign.gate/1", 2, "dpo")
    assert data["outcome"] == "rejected"
    assert data["evidence"]["comparison"]["total"] == {
        "estimate": -0.1,
        "low": -0.15,
        "high": -0.05,
    }
    by_name = {criterion["name"]: criterion for criterion in data["criteria"]}
    assert by_name["kl_to_base"] == {
        "name": "kl_to_base",
        "kind": "guardrail",
        "value": None,
        "limit": [None, 1.0],
        "passed": False,
        "detail": "nats per token, over all cycles",
    }
