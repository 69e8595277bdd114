"""A wrapped report reads as the same report unwrapped; lines that stand for themselves stay."""

from __future__ import annotations

import textwrap

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from negalign_train.cases.openi import load_openi, part_of
from negalign_train.severity.pricing.score import score_report
from negalign_train.severity.reading.facts import ReportFacts, extract_facts
from negalign_train.severity.text.lines import join_lines
from tests.cases.test_openi import OPENI, needs_openi

REPORTS = (
    "Findings: There is a small left pleural effusion with adjacent atelectasis. The left PICC "
    "ends in the SVC. No Kerley B lines. Degenerative changes of the T-spine. Impression: Small "
    "left pleural effusion. No pneumothorax.",
    "The cardiac silhouette is moderately enlarged, unchanged since the prior study. Well-expanded "
    "lungs without focal airspace disease, pneumothorax or large pleural effusion.",
    "FINDINGS: THE HEART IS ENLARGED. NO FOCAL CONSOLIDATION, PLEURAL EFFUSION OR PNEUMOTHORAX. "
    "MILD DEGENERATIVE CHANGES OF THE THORACIC SPINE. IMPRESSION: CARDIOMEGALY WITHOUT FAILURE.",
)


def wrapped(text: str, width: int) -> str:
    return textwrap.fill(text, width, break_long_words=False)


def content(facts: ReportFacts) -> tuple[list[object], list[str]]:
    """Statements and slips without their places."""
    return [s._replace(span=(0, 0)) for s in facts.statements], [s.kind for s in facts.slips]


@pytest.mark.parametrize("report", REPORTS)
@pytest.mark.parametrize("width", [*range(20, 70, 3), 76, 80, 100])
def test_wrapping_at_any_width_changes_nothing(report: str, width: int) -> None:
    again = wrapped(report, width)
    assert content(extract_facts(again)) == content(extract_facts(report))
    score = score_report(report, again)
    assert score is not None
    assert score.total == 0


@pytest.mark.parametrize(
    "ending", ["\n", "\r\n", "\r", "\n      ", "<br>", "<br/>\n", "\\.br\\", "~"]
)
def test_every_export_has_its_own_line_end(ending: str) -> None:
    report = REPORTS[0]
    again = wrapped(report, 60).replace("\n", ending)
    assert content(extract_facts(again)) == content(extract_facts(report))


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("Lungs clear\nHeart normal\nNo effusion", 3),
        ("LUNGS CLEAR\nHEART NORMAL\nNO EFFUSION", 3),
        ("lungs clear\nheart enlarged\nsmall left effusion", 3),
        ("Lungs: clear\nHeart: normal\nPleura: no effusion", 3),
        ("1. Small left effusion\n2. Mild cardiomegaly\n3. No pneumothorax", 3),
        ("- Small left\n  effusion\n- Mild cardiomegaly", 2),
        ("a) Small left effusion\nb) Mild cardiomegaly", 2),
        ("IMPRESSION\nSmall left effusion with\nadjacent atelectasis", 2),
        ("Small left effusion\n\nMild cardiomegaly", 2),
        ("Pneumothorax     No\nEffusion         No", 2),
        ("Small left pleural effusion with\nadjacent atelectasis and a line in the\nSVC", 1),
        ("No focal consolidation, pleural\neffusion or pneumothorax", 1),
        ("Fracture of the left third rib and of\n2 vertebral bodies", 1),
    ],
)
def test_only_a_break_where_the_line_was_full_joins(text: str, lines: int) -> None:
    assert len([line for line in join_lines(text).split("\n") if line.strip()]) == lines


def test_no_character_moves() -> None:
    text = wrapped(REPORTS[0], 40)
    assert len(join_lines(text)) == len(text)
    start, end = extract_facts(text).statements[0].span
    assert text[start:end] == "pleural\neffusion" or text[start:end] == "pleural effusion"


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [
                "Heart normal",
                "no",
                "effusion",
                "1.",
                "- ",
                ":",
                "A" * 30,
                "Lungs: clear",
                "",
                "   ",
                "a b c d e f",
            ]
        ),
        max_size=40,
    )
)
def test_any_lines_keep_their_length(lines: list[str]) -> None:
    text = "\n".join(lines)
    assert len(join_lines(text)) == len(text)


@needs_openi
@pytest.mark.parametrize("width", [60, 76])
def test_real_reports_read_the_same_wrapped(width: int) -> None:
    reports = [c.reference for c in load_openi(OPENI) if part_of(c.group) == "development"][:600]
    differing = [
        text
        for text in reports
        if content(extract_facts(text)) != content(extract_facts(wrapped(text, width)))
    ]
    assert len(reports) == 600
    assert not differing
