"""The worked examples of ``docs/severity.md`` say what the scorer does."""

from __future__ import annotations

from pathlib import Path

import pytest

from negalign_train.severity.pricing.score import score_report
from negalign_train.vocabulary.taxonomy import taxonomy

PAGE = Path(__file__).resolve().parents[2] / "docs" / "severity.md"


def rows() -> list[list[str]]:
    section = PAGE.read_text(encoding="utf-8").split("## Ten worked examples")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_there_are_ten_examples() -> None:
    assert len(rows()) == 10


@pytest.mark.parametrize(("reference", "candidate", "evidence", "total", "quality"), rows())
def test_an_example_costs_what_the_page_says(
    reference: str, candidate: str, evidence: str, total: str, quality: str
) -> None:
    ids = {category.name: category.id for category in taxonomy()}
    score = score_report(reference, candidate)
    assert score is not None
    found = "; ".join(
        f"{ids[e.category]} {e.severity:g} {e.finding or 'text'}: {e.detail}"
        for e in score.evidence
    )
    assert score.quality is not None
    figures = f"{score.total:.3g}", f"{score.quality:.3g}"
    assert (found or "none", *figures) == (evidence, total, quality)
