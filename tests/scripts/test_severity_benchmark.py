"""The figures of the severity benchmark, on synthetic reports."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import bench_severity
import pytest
from benchmarks import severity_baselines as baselines
from benchmarks import severity_codes as codes
from benchmarks import severity_encoder as encoders
from benchmarks import severity_figures as figures
from benchmarks import severity_judges as judges
from benchmarks import severity_material as material
from benchmarks import severity_tables as tables
from benchmarks.severity_entries import Settings, answer_of
from benchmarks.severity_kinds import kinds_figures
from benchmarks.severity_language import language_figures
from benchmarks.severity_self import self_figures

from negalign_train.cases.synthetic import synthetic_cases
from negalign_train.severity.judges.rules import RulesJudge


def test_the_rules_pass_the_four_traps_and_a_word_count_does_not() -> None:
    assert figures.traps(baselines.rules) == [True] * 4
    assert figures.traps(baselines.finding_count) != [True] * 4


def test_spearman_shares_ranks_between_ties() -> None:
    """Ranks (1, 2.5, 2.5, 4) and (1, 2, 3, 4): 4.5 / sqrt(4.5 * 5) = 0.94868."""
    assert figures.spearman([0, 1, 1, 2], [5, 6, 7, 8]) == pytest.approx(0.94868, abs=1e-5)
    assert figures.spearman([1, 2, 3], [3, 2, 1]) == pytest.approx(-1.0)
    assert figures.spearman([1, 1, 1], [3, 2, 1]) == 0.0


def test_more_errors_cost_more() -> None:
    cases = synthetic_cases(0, 40, seed=3)
    chains = [(case.reference, material.error_chain(case, 3, 3)) for case in cases]
    found = figures.ranking(baselines.rules, chains)
    assert found["n"] == 40
    assert found["spearman"] > 0.8
    assert found["one_more_costs_more"] > 0.9


def test_recall_counts_reports_and_hits_per_operation() -> None:
    made = material.make_material(synthetic_cases(0, 20, seed=3), 10, 0, 3)
    rows = figures.recall(baselines.rules, made.injected)
    assert rows is not None
    assert rows["repetition"] == {"category": "report_integrity", "n": 10, "found": 10}
    merged = figures.by_category({"a": {"category": "x", "n": 3, "found": 3},
                                  "b": {"category": "x", "n": 1, "found": 0}})  # fmt: skip
    assert merged == {"x": {"n": 4, "recall": 0.75}}


def test_what_cannot_be_scored_is_counted_and_is_neither_found_nor_an_alarm() -> None:
    """Four traps, one report against itself, and a judge that scores the traps alone."""
    made = material.Material((("A b.", "A b."),), (), (("A b.", ("A b.", "A c.")),), {})
    traps = {reference for reference, _, _ in material.TRAPS}
    found = figures.judge_figures(lambda r, _: figures.Verdict(1.0) if r in traps else None, made)
    assert found["not_scored"] == pytest.approx(2 / 6)
    assert found["false_alarms"] is None
    assert found["ranking"] == {"n": 0, "spearman": None, "one_more_costs_more": None}
    assert found["traps_passed"] == [False, True, True, True]


def test_the_packages_judges_and_the_baselines_answer_the_same_pairs() -> None:
    made = material.make_material(synthetic_cases(0, 4, seed=3), 2, 2, 3)
    pairs = made.pairs()
    assert len(set(pairs)) == len(pairs) > 20
    alone = figures.one_by_one(baselines.rules)(pairs)
    assert answer_of(RulesJudge())(pairs) == alone
    verdicts = dict(zip(pairs, alone, strict=True))
    direct = figures.judge_figures(baselines.rules, made)
    assert figures.judge_figures(figures.looked_up(verdicts), made) == direct


def test_a_trained_judge_learns_from_errors_and_from_rewordings_without_any() -> None:
    cases = synthetic_cases(0, 12, seed=3)
    examples = encoders.training_examples(cases, 60, seed=1)
    assert len(examples) == len({example.event_id for example in examples}) == 60
    right = [example for example in examples if example.total == 0]
    assert 30 <= len(right) <= 40
    assert sum(example.candidate == example.reference for example in right) >= 15
    wrong = [example for example in examples if example.total > 0]
    assert all(sum(value > 0 for value in example.row) == 1 for example in wrong)
    assert len({next(k for k, v in e.severities.items() if v > 0) for e in wrong}) >= 5
    assert all(example.candidate != example.reference for example in wrong)


def test_the_models_of_the_benchmark_go_through_the_packages_own_training(tmp_path: Path) -> None:
    cases = synthetic_cases(0, 12, seed=3)
    settings = Settings(
        only=("count", "finetuned", "ensemble", "nli"), work_dir=tmp_path, seed=1,
        finetuned_reports=2, slow_reports=2, training_examples=40, training_epochs=1,
        learning_rate=1e-3,
    )  # fmt: skip
    entries, report = judges.entries_of(settings, cases)
    assert [entry.name for entry in entries] == [
        "finding count", "finetuned, trained here", "ensemble of rules and finetuned, mean",
        "nli, random weights",
    ]  # fmt: skip
    assert report["training"]["num_train"] + report["training"]["num_validation"] == 40
    pair = (cases[0].reference, cases[1].reference)
    answers = {entry.name: entry.answer([pair])[0] for entry in entries}
    rules, finetuned = baselines.rules(*pair), answers["finetuned, trained here"]
    both = answers["ensemble of rules and finetuned, mean"]
    assert rules is not None
    assert finetuned is not None
    assert both is not None
    assert both.total == pytest.approx((rules.total + finetuned.total) / 2)
    assert answers["nli, random weights"] is not None


def test_only_names_judges_that_exist() -> None:
    assert bench_severity.names("rules, self") == ("rules", "self")
    with pytest.raises(argparse.ArgumentTypeError, match="choose from rules"):
        bench_severity.names("rules,green")


def test_agreement_with_codes_is_counted_per_finding() -> None:
    cases = synthetic_cases(0, 30, seed=3)
    texts = {case.case_id: case.reference for case in cases}
    rows = codes.mesh_agreement(cases, texts, 5)
    assert [row["f1"] for row in rows.values()] == [1.0] * 5
    silent = codes.mesh_agreement(cases, dict.fromkeys(texts, "The lungs are clear."), 5)
    assert {row["recall"] for row in silent.values()} == {0.0}


def test_a_finding_that_the_codes_do_not_tell_apart_counts_as_coded() -> None:
    cases = synthetic_cases(0, 30, seed=3)
    coded = [case for case in cases if "rib_fracture" in {f.name for f in case.findings}]
    texts = {case.case_id: "Fracture of the left clavicle." for case in coded}
    assert len(coded) > 0
    assert codes.mesh_agreement(coded, texts, 40)["rib_fracture"]["recall"] == 1.0


def test_speed_and_memory_use_texts_that_never_repeat() -> None:
    cases = synthetic_cases(0, 5, seed=3)
    pairs = [pair for _, pair in zip(range(12), material.distinct_pairs(cases), strict=False)]
    assert len({text for pair in pairs for text in pair}) == 24
    assert figures.speed(baselines.rules, cases, 200)["cached_factor"] > 20
    answer = figures.one_by_one(baselines.rules)
    cold, warm = (figures.seconds_per_thousand(answer, cases, 100, 500) for _ in range(2))
    assert cold > 5 * warm > 0
    samples = figures.memory(baselines.rules, cases, 100, 2)
    assert [sample["pairs"] for sample in samples] == [50, 100]


def test_kinds_come_from_a_file_and_count_by_kind(tmp_path: Path) -> None:
    path = tmp_path / "kinds.jsonl"
    rows = [
        {"id": "a", "kind": "one", "reference": "Large effusion.", "candidate": "No effusion.",
         "expect": "R2>0"},
        {"id": "b", "kind": "one", "reference": "Large effusion.", "candidate": "Large effusion.",
         "expect": "S>0"},
        {"id": "c", "kind": "two", "reference": "No effusion.", "candidate": "No effusion.",
         "expect": "S==0"},
    ]  # fmt: skip
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    assert kinds_figures(path) == {
        "file": "kinds.jsonl",
        "n": 3,
        "held": 2,
        "kinds": {"one": {"held": 1, "n": 2}, "two": {"held": 1, "n": 1}},
    }


def test_reports_against_themselves_are_counted_as_they_stand_and_wrapped() -> None:
    """Of two reports that can be scored one contradicts itself; the third says nothing."""
    wordy = "There is no effusion, and the heart is not enlarged, and the lungs are clear. "
    found = self_figures([wordy, wordy + "There is a large effusion.", "Film of today."])
    assert (found["n"], found["costly"], found["compared"]) == (2, 0.5, 0.0)
    assert found["wrapped"] == {
        "60": {"costly": 0.5, "differs": 0.0},
        "76": {"costly": 0.5, "differs": 0.0},
    }


def test_the_summary_names_every_figure(capsys: pytest.CaptureFixture[str]) -> None:
    made = material.make_material(synthetic_cases(0, 4, seed=3), 2, 0, 3)
    rules = figures.judge_figures(baselines.rules, made) | {"seconds_per_thousand": 0.4}
    tables.show(
        {
            "reports": 4, "groups": 4, "part": "test", "judges": {"rules": rules}, "mesh": {},
            "mesh_macro_f1": 1.0, "speed": {"pairs_per_s": 2500.4, "cached_factor": 30.0},
            "memory": [], "missing": [], "itself": self_figures([c for c, _ in made.untouched]),
            "kinds": [{"file": "kinds.jsonl", "n": 3, "held": 2}], "language": language_figures(),
        }
    )  # fmt: skip
    printed = capsys.readouterr().out
    for line in (
        "| pairs of kinds.jsonl that hold | 2/3 |",
        "| ... wrapped at 60 = unwrapped | 100.0% |",
        "| injected errors found, false_negative | 100.0% |",
        "| rewordings at S = 0 | 100.0% |",
        "| distinct pairs a second, one core | 2500 |",
    ):
        assert line in printed
    assert "| own language pairs, held back |" in printed
