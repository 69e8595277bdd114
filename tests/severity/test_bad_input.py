"""Hostile and broken texts: a defined result or a reason, in bounded time."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from negalign_train.severity.pricing.score import UNSCORABLE, explain_unscorable, score_report
from negalign_train.severity.reading.facts import extract_facts
from negalign_train.vocabulary.records import CATEGORIES

REFERENCE = "Findings: Small left pleural effusion. The heart is normal. Impression: Effusion."
_PIECES = st.sampled_from(
    ["no ", "or ", ", ", "and ", "effusion ", "without ", "heart ", "enlarged ", "possible ", "is ",
     "not ", "seen ", ". ", "\n", ": ", "Findings: ", "Impression: ", "left ", "2 x 3 cm ", "1. ",
     "XXXX ", "<b>", "&nbsp;", "\x00", "é", "肺", "\u202e", "mild ", "new ", "/", ";", "-", "  "]
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.lists(_PIECES, max_size=300).map("".join))
def test_any_text_gives_a_score_or_a_reason(text: str) -> None:
    started = time.process_time()
    for reference, candidate in ((REFERENCE, text), (text, REFERENCE), (text, text)):
        reason, score = explain_unscorable(reference, candidate), score_report(reference, candidate)
        assert (score is None) == (reason is not None)
        if score is None:
            assert reason in UNSCORABLE
            continue
        assert set(score.severities) == set(CATEGORIES)
        assert all(0 <= value <= 1 for value in score.severities.values())
        for item in score.evidence:
            for span, source in (
                (item.span, candidate),
                (item.conflict_span, candidate),
                (item.reference_span, reference),
            ):
                assert span is None or 0 <= span[0] <= span[1] <= len(source)
    assert time.process_time() - started < 2.0


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=400))
def test_any_unicode_is_read(text: str) -> None:
    facts = extract_facts(text)
    assert all(0 <= a <= b <= len(text) for a, b in (s.span for s in facts.statements))
    assert all(0 <= a <= b <= len(text) for a, b in (s.span for s in facts.slips))


@pytest.mark.parametrize(
    "piece", ["no effusion, ", "effusion and ", "1. ", "<div>", "XXXX ", "(", ": "]
)
def test_a_hundred_kilobytes_take_linear_time(piece: str) -> None:
    text = (piece * (100_000 // len(piece) + 1))[:100_000]
    started = time.process_time()
    score_report(REFERENCE, text)
    score_report(text, REFERENCE)
    assert time.process_time() - started < 8.0


@pytest.mark.parametrize(
    ("candidate", "reason", "integrity"),
    [
        ("", "empty_candidate", None),
        ("x", None, 1.0),
        ("?", "unreadable_candidate", None),
        ("Findings:", "unreadable_candidate", None),
        ("XXXX XXXX. XXXX.", None, 1.75),
        ("\x00\x07\x1b", None, 1.75),
        ("<p>Small left pleural effusion.</p> The heart is normal.", None, 0.0),
        ("<unk>Small left pleural effusion.</unk> The heart is normal.", None, 0.5),
        ("Pequeño derrame pleural izquierdo. Corazón normal.", "other_language", None),
    ],
)
def test_known_kinds_of_broken_text(
    candidate: str, reason: str | None, integrity: float | None
) -> None:
    assert explain_unscorable(REFERENCE, candidate) == reason
    score = score_report(REFERENCE, candidate)
    assert (score and score.error_weights and score.error_weights["report_integrity"]) == integrity


def test_a_slip_that_turns_a_denial_round_is_not_harmless() -> None:
    score = score_report("No pleural effusion.", "Now pleural effusion.")
    assert score is not None
    assert score.severities["false_positive"] == 0.5
    known = score_report("No pleural effusion.", "Know pleural effusion.")
    assert known is not None
    assert known.severities["false_positive"] == 0.5
    assert known.severities["report_integrity"] > 0


@pytest.mark.parametrize("mark", [".", "!?", ":", ".:", "\n."])
def test_a_run_of_marks_before_a_letter_takes_linear_time(mark: str) -> None:
    text = "Effusion" + mark * (100_000 // len(mark)) + "a"
    started = time.process_time()
    assert extract_facts(text).statements
    assert time.process_time() - started < 2.0


@pytest.mark.parametrize("heading", ["Fındıngs", "Impreſſion", "İMPRESSION"])
def test_letters_that_only_resemble_a_heading_make_none(heading: str) -> None:
    facts = extract_facts(f"{heading}: Small left pleural effusion. No pneumothorax.")
    assert [s.finding for s in facts.statements] == ["pleural_effusion", "pneumothorax"]
    assert {s.section for s in facts.statements} == {"findings"}
