"""Rewording keeps the meaning: the control that must cost nothing."""

from __future__ import annotations

import random

import pytest

from negalign_train.cases.synthetic import synthetic_cases
from negalign_train.severity.pricing.score import score_report
from negalign_train.simulate.paraphrase import paraphrase, paraphrase_sentence


class Always(random.Random):
    """Uses every rule that fits."""

    def random(self) -> float:
        return 0.0


@pytest.mark.parametrize(
    ("text", "reworded"),
    [
        ("There is no pleural effusion or pneumothorax.", "No pleural fluid or PTX."),
        ("Mild cardiomegaly.", "Slight enlargement of the heart."),
        ("A 1.2 cm nodule.", "A 12 mm nodule."),
        ("The lungs are clear.", "Clear lungs."),
    ],
)
def test_a_sentence_is_said_in_other_words(text: str, reworded: str) -> None:
    found = {paraphrase_sentence(text, random.Random(seed)) for seed in range(400)}
    assert reworded in found | {paraphrase_sentence(text, Always())}


def test_rewording_is_deterministic_and_keeps_the_sections() -> None:
    report = "Findings: Mild cardiomegaly. No pneumothorax. Impression: Mild cardiomegaly."
    assert paraphrase(report, 1) == paraphrase(report, 1)
    assert len({paraphrase(report, seed) for seed in range(10)}) > 1
    assert paraphrase(report, 1).startswith("Findings: ")
    assert " Impression: " in paraphrase(report, 1)


def test_rewording_costs_nothing() -> None:
    """Synthetic reports cost nothing against themselves, so every cost comes from the rewording."""
    charged = []
    for case in synthetic_cases(0, 150, seed=8):
        score = score_report(case.reference, paraphrase(case.reference, 8))
        if score is None or score.total > 0:
            charged.append(case.case_id)
    assert len(charged) <= 7
