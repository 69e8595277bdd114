"""What is known of the patient beside the report, and what an indication names.

``pricing.prices`` says what that changes in the price of an error.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from negalign_train.severity.reading.drafts import scan, split_clauses
from negalign_train.severity.reading.organs import draft_statements
from negalign_train.severity.text.sentences import sentences
from negalign_train.severity.text.tokens import words_and_marks
from negalign_train.severity.words.lexicon import lexicon
from negalign_train.severity.words.phrases import ARTICLES
from negalign_train.severity.words.spelling import read_word
from negalign_train.vocabulary.records import Prompt

MAX_AGE_YEARS = 130.0
MAX_INDICATION = 2000
"""Characters; a longer indication is not one."""


@dataclass(frozen=True)
class CaseContext:
    """What is known of the patient: age in years, and why the study was made."""

    age: float | None = None
    indication: str | None = None


NO_CONTEXT = CaseContext()


_INDICATION = re.compile(
    r"(?:clinical (?:history|information|indication|details|data)|indications?|history|"
    r"reason for (?:exam(?:ination)?|study))[ \t]*:[ \t]*"
    # To the next heading, or to the end of the paragraph.
    r"(.*?)(?=\n[ \t]*\n|\n?[A-Z][A-Za-z]{2,20}(?: [A-Za-z]{2,20})?:|\Z)",
    re.IGNORECASE | re.DOTALL,
)
_AGE = re.compile(
    r"\b(\d{1,3})[ -]{0,2}(years?|yrs?|y|months?|mo|weeks?|wk|days?)[ /.-]{0,2}(?:old|o)\b"
    r"|\b(?:aged?|age)[ :]{1,3}(\d{1,3})\b"
    r"|\b(newborn|neonate|neonatal)\b",
    re.IGNORECASE,
)
_YEARS_PER_UNIT = {"y": 1.0, "m": 1 / 12, "w": 1 / 52, "d": 1 / 365}


@lru_cache(maxsize=4096)
def context_of_text(text: str) -> CaseContext:
    """Age and indication as a prompt words them ("Indication: 65-year-old with fever. ...")."""
    text = text[:MAX_INDICATION]
    match = _INDICATION.search(text)
    indication = match[1].strip(" .\n") if match else ""
    stated = age_of(text)
    return CaseContext(None if stated is None else stated[0], indication or None)


def age_of(text: str) -> tuple[float, tuple[int, int]] | None:
    """The first age that a text states, in years, and where; None where there is none."""
    match = _AGE.search(text)
    if match is None:
        return None
    if match[4]:
        return 0.0, match.span()
    years = float(match[3]) if match[3] else float(match[1]) * _YEARS_PER_UNIT[match[2][0].lower()]
    return (years, match.span()) if years <= MAX_AGE_YEARS else None


def context_of(prompt: Prompt) -> CaseContext:
    """What a prompt tells of its patient; of a chat the first message of the user."""
    if isinstance(prompt, str):
        return context_of_text(prompt)
    said = (message["content"] for message in prompt if message["role"] == "user")
    return context_of_text(next(said, ""))


@lru_cache(maxsize=4096)
def named_findings(indication: str) -> frozenset[str]:
    """The findings that an indication names ("rule out pneumothorax", "known nodule").

    Asked for, feared or excluded is the same here; what only follows from "normal" is not named.
    """
    return frozenset(
        finding for sentence in sentences(indication) for finding in _named_in(sentence.text)
    )


def _named_in(sentence: str) -> list[str]:
    """The findings named, negated or not: "rule out X" names X here, though not in a report."""
    tables = lexicon()
    tokens = [token for token in words_and_marks(sentence) if token.text not in ARTICLES]
    items = scan([read_word(token.text) for token in tokens], tables.trie)
    split_clauses(items)
    return [draft.finding for draft in draft_statements(tables, items) if not draft.implied]
