"""The figures of the severity benchmark, on synthetic reports."""

from __future__ import annotations

import pytest
import severity_codes as codes
import severity_figures as figures

from negalign_train.cases.synthetic import synthetic_cases


def test_the_rules_pass_the_four_traps_and_a_word_count_does_not() -> None:
    assert figures.traps(figures.rules) == [True] * 4
    assert figures.traps(figures.finding_count) != [True] * 4


def test_spearman_shares_ranks_between_ties() -> None:
    """Ranks (1, 2.5, 2.5, 4) and (1, 2, 3, 4): 4.5 / sqrt(4.5 * 5) = 0.94868."""
    assert figures.spearman([0, 1, 1, 2], [5, 6, 7, 8]) == pytest.approx(0.94868, abs=1e-5)
    assert figures.spearman([1, 2, 3], [3, 2, 1]) == pytest.approx(-1.0)
    assert figures.spearman([1, 1, 1], [3, 2, 1]) == 0.0


def test_more_errors_cost_more() -> None:
    cases = synthetic_cases(0, 40, seed=3)
    chains = [figures.error_chain(case, 3, 3) for case in cases]
    references = [case.reference for case in cases]
    found = figures.ranking(figures.rules, chains, references)
    assert found["spearman"] > 0.8
    assert found["one_more_costs_more"] > 0.9


def test_recall_counts_reports_and_hits_per_operation() -> None:
    cases = synthetic_cases(0, 20, seed=3)
    rows = figures.recall(figures.rules, cases, 10, 3)
    assert rows["repetition"] == {"category": "report_integrity", "n": 10, "found": 10}
    merged = figures.by_category({"a": {"category": "x", "n": 3, "found": 3},
                                  "b": {"category": "x", "n": 1, "found": 0}})  # fmt: skip
    assert merged == {"x": {"n": 4, "recall": 0.75}}


def test_agreement_with_codes_is_counted_per_finding() -> None:
    cases = synthetic_cases(0, 30, seed=3)
    texts = {case.case_id: case.reference for case in cases}
    rows = codes.mesh_agreement(cases, texts, 5)
    assert [row["f1"] for row in rows.values()] == [1.0] * 5
    silent = codes.mesh_agreement(cases, dict.fromkeys(texts, "The lungs are clear."), 5)
    assert {row["recall"] for row in silent.values()} == {0.0}


def test_speed_and_memory_use_texts_that_never_repeat() -> None:
    cases = synthetic_cases(0, 5, seed=3)
    pairs = [pair for _, pair in zip(range(12), figures.distinct_pairs(cases), strict=False)]
    assert len({text for pair in pairs for text in pair}) == 24
    assert figures.speed(figures.rules, cases, 200)["cached_factor"] > 20
    samples = figures.memory(figures.rules, cases, 100, 2)
    assert [sample["pairs"] for sample in samples] == [50, 100]
