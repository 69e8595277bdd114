"""Several errors in one report: all of them there, none undone or hidden by another."""

from __future__ import annotations

import random
from itertools import pairwise

from negalign_train.cases.synthetic import synthetic_cases
from negalign_train.simulate.injection.reports import OPERATIONS, inject
from negalign_train.simulate.injection.several import inject_several
from tests.simulate.test_injection import REPORT


def test_one_error_of_several_is_the_one_of_inject() -> None:
    for name in OPERATIONS:
        single = inject(REPORT, name, 3)
        assert inject_several(REPORT, [name], 1, 3) == ((single,) if single else ())


def test_every_error_stands_at_its_span_in_the_last_text() -> None:
    made = inject_several(
        REPORT, ["add_device", "change_device_position", "change_measurement", "homophone"], 4, 1
    )
    assert [error.operation for error in made] == [
        "add_device", "change_device_position", "change_measurement", "homophone"
    ]  # fmt: skip
    texts = {error.text for error in made}
    assert len(texts) == 1
    (text,) = texts
    words = [text[slice(*error.span)] for error in made]
    assert words[1] == "in the right main bronchus"
    assert words[2] in ("10", "15", "cm")
    assert text.count(words[0]) == 1
    assert words[3] not in REPORT


def test_no_two_errors_concern_one_finding_or_one_sentence() -> None:
    checked = 0
    for case in synthetic_cases(0, 60, seed=9):
        rng = random.Random(case.case_id)
        order = rng.sample(list(OPERATIONS), len(OPERATIONS))
        truth = [finding.name for finding in case.findings]
        made = inject_several(case.reference, order, 3, 2, true_findings=truth)
        findings = [error.finding for error in made if error.finding is not None]
        assert len(set(findings)) == len(findings)
        spans = sorted(error.span for error in made)
        assert all(a[1] <= b[0] for a, b in pairwise(spans))
        checked += len(made) == 3
    assert checked > 40


def test_a_repetition_outlives_the_errors_after_it() -> None:
    report = "Findings: Small left pleural effusion. Impression: Normal heart."
    repeated, *_ = inject_several(report, ["repetition", "change_location", "typing_error"], 3, 0)
    start, end = repeated.span
    sentence = repeated.text[start:end]
    assert repeated.text.count(sentence) == 2


def test_what_stands_in_an_aside_is_neither_changed_nor_taken_for_a_finding() -> None:
    report = (
        "Indication: rule out left pneumothorax, mild cough. Technique: Two views.\n\n"
        "Findings: Small left pleural effusion. Impression: Small left pleural effusion."
    )
    for name in OPERATIONS:
        made = inject(report, name, 1)
        assert made is None or made.text.startswith(report[: report.index("Findings")])
    assert inject("Indication: Small left pleural effusion.", "change_location", 1) is None


def test_an_omitted_sentence_leaves_no_two_spaces() -> None:
    made = inject(REPORT, "omission", 0)
    assert made is not None
    assert "  " not in made.text
    assert made.text[made.span[0] : made.span[1]] == ""


def test_a_list_loses_the_number_with_its_line_and_nothing_is_added_behind_a_number() -> None:
    report = "Findings: Clear bases. Impression:\n1. Left lung nodule.\n2. Cardiomegaly."
    for seed in range(12):
        omitted = inject(report, "omission", seed)
        assert omitted is not None
        kept = omitted.text.split("Impression:")[1].split()
        assert kept in (["1.", "Left", "lung", "nodule."], ["2.", "Cardiomegaly."])
        added = inject(report, "add_device", seed)
        assert added is not None
        before = added.text[: added.span[0]].rstrip()
        assert not before.endswith(("1.", "2."))
