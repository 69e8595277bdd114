"""The rules with an encoder at their side, with vectors made by hand; no torch here."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import pytest

from negalign_train.severity.judges.base import ReportPair
from negalign_train.severity.judges.encoder.catalogue import (
    Catalogue,
    Nearest,
    Vectors,
    catalogue,
    nearest_findings,
)
from negalign_train.severity.judges.encoder.judge import EncoderJudge
from negalign_train.severity.judges.rules import RulesJudge
from negalign_train.vocabulary.taxonomy import finding_types

SYNONYMS = {"zorbulation": "mass", "blenk": "clinical correlation is recommended"}


class WordEncoder:
    """A text is the mean of its words' random vectors; a synonym has that of what it means."""

    digest = "words"

    def __init__(self) -> None:
        self.asked: list[str] = []

    def vectors(self, texts: Sequence[str]) -> Vectors:
        self.asked += texts
        rows = np.stack([self._vector(text) for text in texts])
        unit: Vectors = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
        return unit

    def _vector(self, text: str):
        words = [SYNONYMS.get(word, word) for word in text.split()]
        return np.sum([self._word(word) for word in " ".join(words).split()], axis=0)

    def _word(self, word: str):
        seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:4], "big")
        return np.random.default_rng(seed).normal(size=64)


@pytest.fixture(scope="module")
def judge() -> EncoderJudge:
    return EncoderJudge(WordEncoder())


def severities(judge, reference: str, candidate: str) -> dict[str, float]:
    (judgement,) = judge.judge([ReportPair(reference, candidate)])
    assert judgement.score is not None
    return {name: value for name, value in judgement.score.severities.items() if value > 0}


CLEAR = "The heart is normal in size. No pleural effusion."


def test_an_unknown_phrase_costs_what_its_finding_costs(judge):
    weight = finding_types()["mass"].weight
    reference = f"Left zorbulation. {CLEAR}"
    assert severities(judge, reference, CLEAR) == {"false_negative": weight}
    assert severities(judge, CLEAR, reference) == {"false_positive": weight}
    assert severities(RulesJudge(), reference, CLEAR) == {}


def test_its_side_is_compared_and_other_words_for_it_are_the_same(judge):
    reference = f"Left zorbulation. {CLEAR}"
    assert set(severities(judge, reference, f"Right zorbulation. {CLEAR}")) & {
        "wrong_location",
        "false_positive",
    }
    assert severities(judge, reference, f"Left mass. {CLEAR}") == {}
    assert severities(judge, reference, reference) == {}


def test_a_denied_phrase_is_no_finding(judge):
    assert severities(judge, CLEAR, f"No zorbulation. {CLEAR}") == {}
    assert severities(judge, f"Left mass. {CLEAR}", f"No zorbulation. {CLEAR}") == {
        "false_negative": finding_types()["mass"].weight
    }


def test_evidence_says_that_it_is_a_guess_and_where_the_words_stand(judge):
    reference, candidate = CLEAR, f"{CLEAR} Left zorbulation."
    (judgement,) = judge.judge([ReportPair(reference, candidate)])
    assert judgement.score is not None
    (item,) = judgement.score.evidence
    assert item.finding == "mass"
    assert item.detail.endswith("unknown words, probably this finding")
    assert item.span is not None
    assert candidate[item.span[0] : item.span[1]] == "Left zorbulation."


def test_what_is_near_to_no_finding_or_to_no_phrase_stays_unread(judge):
    for words in ("Blenk.", "Quendle of the left base."):
        pair = ReportPair(f"{words} {CLEAR}", CLEAR)
        assert judge.judge([pair])[0].score == RulesJudge().judge([pair])[0].score


def test_a_report_of_unknown_words_alone_becomes_scorable(judge):
    pair = ReportPair("Left zorbulation.", CLEAR)
    assert RulesJudge().judge([pair])[0].reason == "no_statement_in_reference"
    assert severities(judge, pair.reference, pair.candidate)["false_negative"] > 0
    (blank,) = judge.judge([ReportPair("", CLEAR)])
    assert (blank.score, blank.reason) == (None, "empty_reference")


def test_a_guess_contradicts_nothing(judge):
    """R3 looks at the candidate's words alone, beside "the lungs are clear" too."""
    text = "The lungs are clear. Left zorbulation."
    assert severities(judge, text, text) == {}


def test_the_encoder_is_asked_only_about_what_is_unread():
    encoder = WordEncoder()
    judge = EncoderJudge(encoder)
    judge.judge([ReportPair(CLEAR, "Left mass.")])
    assert encoder.asked == []
    judge.judge([ReportPair(CLEAR, "Left zorbulation.")])
    assert encoder.asked == ["zorbulation", *catalogue().texts]


def test_version_follows_the_encoder_and_is_not_the_rules():
    first, second = WordEncoder(), WordEncoder()
    second.digest = "others"
    assert EncoderJudge(first).version == EncoderJudge(WordEncoder()).version
    assert len({EncoderJudge(first).version, EncoderJudge(second).version,
                RulesJudge().version}) == 3  # fmt: skip


def test_every_phrase_of_the_catalogue_names_a_finding_and_no_artefact():
    entries = catalogue()
    assert len(entries.phrases) == len(entries.findings) > 1000
    assert {finding_types()[name].kind for name in entries.findings} == {"finding", "device"}
    assert 0 < entries.threshold < 1
    assert len(set(entries.others)) == len(entries.others) > 50


def test_a_phrase_is_read_above_the_threshold_and_nearer_than_every_other():
    assert Nearest("mass", "mass", 0.8, 0.7).is_read(0.75)
    assert not Nearest("mass", "mass", 0.7, 0.1).is_read(0.75)
    assert not Nearest("mass", "mass", 0.8, 0.9).is_read(0.75)


def test_a_word_can_be_taken_out_of_the_lexicon():
    entries = Catalogue(("left mass", "tumor"), ("mass", "nodule"), ("none",), 0.5)
    known = np.eye(3, dtype=np.float32)
    asked = np.array([[0.9, 0.4, 0.1]], dtype=np.float32)
    assert nearest_findings(asked, known, entries)[0].finding == "mass"
    assert nearest_findings(asked, known, entries, ["mass"])[0].finding == "nodule"
