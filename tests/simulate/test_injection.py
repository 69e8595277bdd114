"""Injected errors: the operation, its place, its category; and that the scorer finds them."""

from __future__ import annotations

import pytest

from negalign_train.cases.synthetic import synthetic_cases
from negalign_train.severity.pricing.score import score_report
from negalign_train.simulate.injection.reports import OPERATIONS, Injection, inject, inject_all
from negalign_train.simulate.injection.tables import tables
from negalign_train.vocabulary.errors import DataError
from negalign_train.vocabulary.records import CATEGORIES

REPORT = (
    "Findings: There is a small left pleural effusion. A 5 mm nodule is seen in the right upper "
    "lobe. The endotracheal tube ends above the carina. Stable cardiomegaly. Low lung volumes. "
    "Possible pneumonia. No pneumothorax. Impression: Small left pleural effusion. Stable "
    "mild cardiomegaly."
)


def injected(operation: str, report: str = REPORT, seed: int = 0) -> Injection:
    found = inject(report, operation, seed)
    assert found is not None
    return found


def test_every_category_has_an_operation_and_rexerr_is_covered_once() -> None:
    assert {operation.category for operation in OPERATIONS.values()} == set(CATEGORIES)
    indices = [o.rexerr for o in OPERATIONS.values() if o.rexerr is not None]
    assert sorted(indices) == list(range(12))


def test_every_operation_changes_the_report_where_its_span_says() -> None:
    made = inject_all(REPORT, 3)
    assert [injection.operation for injection in made] == list(OPERATIONS)
    for injection in made:
        start, end = injection.span
        assert injection.text != REPORT
        assert 0 <= start <= end <= len(injection.text)
        assert 0 < injection.severity <= 1
        assert injection.category == OPERATIONS[injection.operation].category
        kept = injection.text[:start].rstrip()
        assert REPORT.startswith(kept) or injection.operation in ("omission", "false_negation")


@pytest.mark.parametrize(
    ("operation", "texts"),
    [
        ("change_severity", {"large", "Large", "severe"}),
        ("change_location", {"right", "left", "lower"}),
        ("change_measurement", {"10", "15", "cm"}),
        ("change_device_name", {"Nasogastric tube", "nasogastric tube"}),
        ("change_device_position", {"in the right main bronchus"}),
        ("side_contradiction", {"right"}),
    ],
)
def test_the_changed_words_stand_at_the_span(operation: str, texts: set[str]) -> None:
    found = {
        injection.text[slice(*injection.span)]
        for seed in range(12)
        if (injection := injected(operation, seed=seed))
    }
    assert found <= texts
    assert found


def test_the_same_seed_gives_the_same_error_and_another_seed_another() -> None:
    assert injected("typing_error", seed=1) == injected("typing_error", seed=1)
    assert len({injected("typing_error", seed=seed).text for seed in range(8)}) > 1


def test_a_false_negation_leaves_no_sentence_that_asserts_the_finding() -> None:
    report = "Findings: There is a rib fracture. The heart is normal. Impression: Rib fracture."
    text = injected("false_negation", report).text
    assert text.count("ib fracture") == 1
    assert "o rib fracture" in text or "evidence of rib fracture" in text


def test_only_true_findings_are_denied_and_no_true_one_is_invented() -> None:
    report = "Findings: There is a rib fracture. The heart is normal."
    assert inject(report, "false_negation", 0, true_findings=["nodule"]) is None
    all_but_mass = [name for name in tables().false_findings if name != "mass"]
    found = inject(report, "false_prediction", 0, true_findings=all_but_mass)
    assert found is not None
    assert found.finding == "mass"


def test_what_has_no_place_gives_none_and_an_unknown_operation_is_refused() -> None:
    assert inject("Findings: The lungs are clear.", "change_measurement", 0) is None
    assert inject("", "repetition", 0) is None
    with pytest.raises(DataError, match="choose one of add_device"):
        inject(REPORT, "explode", 0)


def test_the_scorer_finds_nine_of_ten_in_every_category_on_synthetic_reports() -> None:
    made = dict.fromkeys(CATEGORIES, 0)
    found = dict.fromkeys(CATEGORIES, 0)
    for case in synthetic_cases(0, 150, seed=5):
        truth = [finding.name for finding in case.findings]
        for injection in inject_all(case.reference, 5, true_findings=truth):
            score = score_report(case.reference, injection.text)
            made[injection.category] += 1
            found[injection.category] += (
                score is not None and score.severities[injection.category] > 0
            )
    assert min(made.values()) >= 20
    assert {name: found[name] / n for name, n in made.items() if found[name] < 0.9 * n} == {}
