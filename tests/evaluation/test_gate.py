"""The gate's decision, its records and their chain."""

import json
from dataclasses import replace
from typing import Any

import pytest

from negalign_train.evaluation.bootstrap import Comparison, Interval, Means
from negalign_train.evaluation.gate import criteria_digest, decide
from negalign_train.evaluation.gate_records import (
    choose,
    gate_record_to_dict,
    keep_the_best,
    seal,
    verify_chain,
)
from negalign_train.evaluation.gate_terms import GateEvidence, Rise
from negalign_train.evaluation.metrics import Divergence, ReportMetrics
from negalign_train.vocabulary.errors import GateError
from negalign_train.vocabulary.records import CATEGORIES
from tests.gates import SETTINGS

METRICS = ReportMetrics(
    num_cases=200,
    num_scored=200,
    mean_S=0.5,
    mean_Q=0.4,
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
MEANS = Means(0.5, 0.4, dict.fromkeys(CATEGORIES, 0.05), 0.2)
COMPARISON = Comparison(
    200, 150, LOWER, dict.fromkeys(CATEGORIES, FLAT), Interval(-0.05, -0.1, 0), MEANS, MEANS
)


def evidence(**overrides):
    fields: dict[str, Any] = {
        "cycle": 2,
        "candidate": "dpo",
        "parent_adapter": "c0001-dpo-aaaa",
        "candidate_adapter": "c0002-dpo-bbbb",
        "num_candidates": 1,
        "parent": replace(METRICS, mean_S=0.6),
        "metrics": METRICS,
        "comparison": COMPARISON,
        "overall": COMPARISON,
        "placeholder_rate": Interval(0.0, 0.0, 0.008),
        "divergence": Divergence(0.1, 0.2, 5000),
        "parent_reference_logps": -0.50,
        "reference_logps": -0.55,
        "retention": {1: Rise(FLAT, 40, 36)},
        "retention_pooled": Rise(FLAT, 40, 36),
        "judge": "rules 0123abcd",
        "second": None,
    }
    return GateEvidence(**(fields | overrides))


def decided(**overrides):
    return decide(evidence(**overrides), SETTINGS, criteria_digest(SETTINGS))


def failed(record):
    return [c.name for c in record.criteria if c.state in ("broken", "open")]


def test_candidate_that_is_shown_better_and_keeps_every_guardrail_is_promoted():
    record = decided()
    assert record.outcome == "promoted"
    assert failed(record) == []
    assert record.reasons == ("mean S is shown to be lower and every guardrail holds",)
    assert len(record.criteria) == 32


def category(name, interval):
    return replace(COMPARISON, per_category={**COMPARISON.per_category, name: interval})


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("mean_S", {"comparison": replace(COMPARISON, total=Interval(0.0, -0.3, 0.3))}),
        (
            "category:device_error",
            {"comparison": category("device_error", Interval(0.1, 0.021, 0.2))},
        ),
        (
            "overall:device_error",
            {"overall": category("device_error", Interval(0.05, 0.031, 0.1))},
        ),
        ("severe_rate", {"comparison": replace(COMPARISON, severe_rate=Interval(0.1, 0.02, 0.2))}),
        ("length_ratio", {"metrics": replace(METRICS, length_ratio=0.79)}),
        ("length_ratio", {"metrics": replace(METRICS, length_ratio=1.26)}),
        ("template_share", {"metrics": replace(METRICS, template_share=0.16)}),
        ("distinct_ratio", {"metrics": replace(METRICS, distinct_ratio=0.49)}),
        ("placeholder_rate", {"placeholder_rate": Interval(0.1, 0.02, 0.2)}),
        ("kl_to_parent", {"divergence": Divergence(0.6, 0.2, 5000)}),
        ("kl_to_base", {"divergence": Divergence(0.1, 1.1, 5000)}),
        ("reference_logps_drop", {"reference_logps": -0.61}),
        ("retention:c0001", {"retention": {1: Rise(Interval(0.1, 0.031, 0.2), 40, 36)}}),
        ("retention", {"retention_pooled": Rise(Interval(0.1, 0.031, 0.2), 40, 36)}),
    ],
)
def test_one_broken_criterion_rejects(name, overrides):
    record = decided(**overrides)
    assert record.outcome == "rejected"
    assert failed(record) == [name]
    assert record.reasons[0].startswith(f"{name}: ")


WIDE = Interval(0.0, -0.2, 0.4)


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("mean_S", {"comparison": replace(COMPARISON, total=Interval(-0.1, -0.3, 0.0))}),
        ("category:device_error", {"comparison": category("device_error", WIDE)}),
        ("overall:device_error", {"overall": category("device_error", WIDE)}),
        ("severe_rate", {"comparison": replace(COMPARISON, severe_rate=WIDE)}),
        ("placeholder_rate", {"placeholder_rate": Interval(0.0, 0.0, 0.1)}),
        ("retention", {"retention_pooled": Rise(WIDE, 40, 36)}),
    ],
)
def test_what_is_not_shown_is_open_and_says_how_many_cases_would_show_it(name, overrides):
    record = decided(**overrides)
    assert record.outcome == "inconclusive"
    assert failed(record) == [name]
    (criterion,) = (c for c in record.criteria if c.name == name)
    assert criterion.cases_needed is not None
    assert f"about {criterion.cases_needed} cases would show it" in record.reasons[0]


def test_a_measured_rise_of_the_margin_is_open_for_any_number_of_cases():
    record = decided(comparison=category("device_error", Interval(0.1, -0.2, 0.4)))
    assert record.outcome == "inconclusive"
    assert "no number of cases would show it at this estimate" in record.reasons[0]


def test_one_broken_guardrail_rejects_whatever_else_is_open():
    broken = category("device_error", Interval(0.1, 0.03, 0.2))
    record = decided(comparison=broken, retention_pooled=Rise(WIDE, 40, 36))
    assert record.outcome == "rejected"
    assert len(record.reasons) == 2


def test_one_earlier_cycle_by_itself_need_not_be_shown():
    assert decided(retention={1: Rise(WIDE, 40, 36)}).outcome == "promoted"


@pytest.mark.parametrize(
    ("overrides", "names", "reason"),
    [
        ({"retention": {}, "retention_pooled": None}, ["retention"], "no held-out case of an"),
        (
            {"retention": {1: Rise(FLAT, 30, 19)}, "retention_pooled": Rise(FLAT, 30, 19)},
            ["retention", "retention:c0001"],
            "19 case groups, fewer than 20",
        ),
        ({"retention": {1: None}}, ["retention:c0001"], "no case that was scored"),
    ],
)
def test_a_guardrail_that_cannot_be_applied_is_listed_so(overrides, names, reason):
    record = decided(**overrides)
    absent = [c for c in record.criteria if c.state == "not applied"]
    assert [c.name for c in absent] == names
    assert all(reason in c.detail for c in absent)
    assert record.outcome == "promoted"


def test_the_error_rate_is_shared_among_the_candidates_and_written_down():
    data = gate_record_to_dict(decided(num_candidates=4))
    assert data["num_candidates"] == 4
    assert data["level"] == pytest.approx(0.05 / 4)


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
        ("reference_logps_drop", {"reference_logps": None}),
        ("reference_logps_drop", {"parent_reference_logps": None}),
        ("placeholder_rate", {"placeholder_rate": None}),
    ],
)
def test_missing_measurement_promotes_nobody(name, overrides):
    record = decided(**overrides)
    assert record.outcome == "inconclusive"
    assert f"{name}: not measured" in record.reasons


def test_a_number_that_is_not_finite_rejects():
    record = decided(divergence=Divergence(float("nan"), 0.2, 1))
    assert record.outcome == "rejected"
    assert record.reasons == ("kl_to_parent: not a finite number",)


def test_no_comparison_at_all_is_inconclusive():
    record = decided(comparison=None)
    assert record.outcome == "inconclusive"
    assert "mean_S: not measured" in record.reasons


def test_criteria_changed_after_the_declaration_are_refused():
    looser = SETTINGS.model_copy(update={"max_kl_to_base": 9.0})
    with pytest.raises(GateError, match="restore them, or start a new cycle"):
        decide(evidence(), looser, criteria_digest(SETTINGS))


def candidate(name, mean_S, **overrides):
    lower = Interval(mean_S - 0.6, mean_S - 0.65, mean_S - 0.55)
    return decided(candidate=name, comparison=replace(COMPARISON, total=lower), **overrides)


def test_best_passing_candidate_is_chosen_and_the_beaten_one_says_why():
    records = [
        candidate("dpo", 0.5),
        candidate("kto", 0.4),
        candidate("grpo", 0.1, divergence=None),
    ]
    best = choose(records)
    assert best is not None
    assert best.evidence.candidate == "kto"
    settled = keep_the_best(records)
    assert [record.outcome for record in settled] == ["rejected", "promoted", "inconclusive"]
    assert "candidate kto passed with a larger fall of mean S" in settled[0].reasons[0]
    assert settled[1:] == tuple(records[1:])


def test_nothing_is_chosen_where_none_passed():
    records = [candidate("dpo", 0.5, divergence=None)]
    assert choose(records) is None
    assert keep_the_best(records) == tuple(records)


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
    assert (data["schema"], data["cycle"], data["candidate"]) == ("negalign.gate/2", 2, "dpo")
    assert data["outcome"] == "inconclusive"
    assert data["evidence"]["comparison"]["total"] == {
        "estimate": -0.1,
        "low": -0.15,
        "high": -0.05,
    }
    by_name = {criterion["name"]: criterion for criterion in data["criteria"]}
    assert by_name["kl_to_base"] == {
        "name": "kl_to_base",
        "kind": "guardrail",
        "state": "open",
        "value": None,
        "interval": None,
        "limit": [None, 1.0],
        "detail": "nats per token, over all cycles",
        "cases_needed": None,
    }
