"""Which pairs are scored, and how events without severities are filled."""

from __future__ import annotations

import time

import pytest

from negalign_train.severity.pricing.score import (
    explain_unscorable,
    score_many,
    score_report,
)
from negalign_train.vocabulary.taxonomy import soft_cap

NORMAL = "Heart size is normal. The lungs are clear."


@pytest.mark.parametrize(
    ("reference", "candidate", "reason"),
    [
        ("", NORMAL, "empty_reference"),
        (NORMAL, " \n", "empty_candidate"),
        ("Thank you for this referral.", NORMAL, "no_statement_in_reference"),
        (NORMAL, "Röntgenbild ohne Auffälligkeiten, keine Stauung.", "other_language"),
        (NORMAL, "?", "unreadable_candidate"),
        (NORMAL, "effusion " * 30_000, "too_long"),
        (NORMAL, "The report of this patient.", None),
        (NORMAL, "XXXX XXXX XXXX", None),
        (NORMAL, "Findings: Impression:", "unreadable_candidate"),
        (NORMAL, NORMAL, None),
    ],
)
def test_what_cannot_be_scored_has_a_reason_and_no_score(
    reference: str, candidate: str, reason: str | None
) -> None:
    assert explain_unscorable(reference, candidate) == reason
    assert (score_report(reference, candidate) is None) == (reason is not None)


def test_text_that_says_nothing_is_worth_nothing_and_misses_all() -> None:
    score = score_report("Left pneumothorax.", "XXXX XXXX XXXX")
    assert score is not None
    assert (score.severities["false_negative"], score.severities["report_integrity"]) == (
        soft_cap(1.0),
        soft_cap(1.75),
    )


def test_Q_weighs_errors_against_what_is_right_and_leaves_the_severities_alone() -> None:
    """A missed pneumothorax among right findings: severe as ever, but a better report."""
    others = "Mild cardiomegaly. Small left effusion. Right upper lobe nodule."
    alone = score_report("Left pneumothorax.", "No effusion.")
    among = score_report(f"Left pneumothorax. {others}", others)
    assert alone is not None
    assert among is not None
    assert alone.severities == among.severities
    assert among.severities["false_negative"] == soft_cap(1.0)
    assert (alone.correct_weight, among.correct_weight) == (0.0, 1.5)
    assert alone.quality == pytest.approx(1 / 1.25)
    assert among.quality == pytest.approx(1 / 2.75)
    longer = score_report(f"Left pneumothorax. {others}", f"{others} No mass. Normal aorta.")
    assert longer is not None
    assert longer.quality == among.quality


def test_an_attribute_that_is_wrong_leaves_its_finding_right_in_part() -> None:
    """w * w / (w + a) = 0.5 * 0.5 / (0.5 + 0.25)."""
    score = score_report("Left effusion.", "Right effusion.")
    assert score is not None
    assert score.correct_weight == pytest.approx(1 / 3)


def test_many_pairs_keep_their_order() -> None:
    totals = [s and s.total for s in score_many([(NORMAL, NORMAL), (NORMAL, ""), (NORMAL, "CHF.")])]
    assert totals == [0.0, None, 0.5]


def test_a_thousand_pairs_take_less_than_two_seconds() -> None:
    """The target is 2,000 pairs a second on an idle core; this asserts a quarter of it."""
    findings = ["effusion", "nodule", "opacity", "atelectasis", "edema", "pneumothorax"]
    reports = [
        f"Findings: The heart is normal in size. The lungs are clear. There is a {i} mm {name} on "
        f"the left. No pleural effusion or pneumothorax. No acute bony abnormality is seen. "
        f"The aorta is tortuous. Impression: {name} measuring {i} mm. No acute disease."
        for i in range(1, 84)
        for name in findings
    ]
    pairs = [(a, b) for a, b in zip(reports, reports[::-1], strict=True)] * 2
    started = time.process_time()
    score_many(pairs[:1000])
    assert time.process_time() - started < 2.0
