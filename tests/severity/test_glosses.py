"""Sentences that the rules cannot read, and their glosses."""

from __future__ import annotations

import pytest

from negalign_train.severity.judges.encoder.glosses import (
    glossed_report,
    phrase_of,
    unread_sentences,
)

UNKNOWN = "Zorbulation of the left base."
REPORT = f"Findings: The heart is normal. {UNKNOWN} No effusion."


def test_a_sentence_without_a_statement_is_unread():
    (sentence,) = unread_sentences(REPORT)
    assert sentence.text == UNKNOWN
    assert REPORT[sentence.start :].startswith(UNKNOWN)
    assert sentence.phrase == "zorbulation left base"


@pytest.mark.parametrize(
    "text",
    [
        "Small left effusion.",  # read
        "The heart is normal in size.",  # read
        "Unchanged since the prior study.",  # a change of the sentence before
        "PA and lateral views of the chest.",  # of the study
        "Findings: Left. Right base.",  # a place, and not what is there
        "Indication: zorbulation of the left base.",  # why the study was made
        " ".join(["zorbulation"] * 26),  # no phrase
    ],
)
def test_what_is_read_or_says_nothing_on_purpose_is_left_alone(text):
    assert unread_sentences(text) == []


def test_a_gloss_keeps_what_the_rules_can_read():
    (sentence,) = unread_sentences("No zorbulation seen in the left upper lobe.")
    glossed = glossed_report("No zorbulation seen in the left upper lobe.", {0: "mass"})
    assert sentence.phrase == "zorbulation left upper lobe"
    assert glossed.text == "No mass seen in the left upper lobe."


def test_spans_of_a_glossed_report_stand_in_the_original():
    (sentence,) = unread_sentences(REPORT)
    glossed = glossed_report(REPORT, {sentence.start: "pleural_effusion"})
    assert (
        glossed.text
        == "Findings: The heart is normal. pleural effusion of the left base. No effusion."
    )
    at = glossed.text.index("pleural effusion")
    where = glossed.original((at, at + 16))
    assert where is not None
    assert REPORT[where[0] : where[1]] == UNKNOWN
    assert glossed.is_gloss((at, at + 16))
    for words in ("heart", "No effusion"):
        at = glossed.text.index(words)
        assert glossed.original((at, at + len(words))) == (
            REPORT.index(words),
            REPORT.index(words) + len(words),
        )
        assert not glossed.is_gloss((at, at + len(words)))
    assert glossed.original(None) is None


def test_only_the_sentences_asked_for_are_glossed():
    assert glossed_report(REPORT, {}).text == REPORT


def test_the_phrase_of_a_sentence_leaves_attributes_and_grammar_out():
    assert phrase_of("There is a new small left zorbulation.") == "zorbulation"
