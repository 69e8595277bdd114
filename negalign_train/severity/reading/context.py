"""What is known of the patient beside the report, and what an indication names.

``pricing.prices`` says what that changes in the price of an error.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from negalign_train.severity.reading.drafts import draft_statements, scan, split_clauses
from negalign_train.severity.reading.lexicon import lexicon
from negalign_train.severity.reading.spelling import read_word
from negalign_train.severity.text.sentences import sentences
from negalign_train.severity.text.tokens import words_and_marks

MAX_AGE_YEARS = 130.0
MAX_INDICATION = 2000
"""Characters; a longer indication is not one."""


@dataclass(frozen=True)
class CaseContext:
    """What is known of the patient: age in years, and why the study was made."""

    age: float | None = None
    indication: str | None = None


NO_CONTEXT = CaseContext()


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
    items = scan([read_word(token.text) for token in words_and_marks(sentence)], tables.trie)
    split_clauses(items)
    return [draft.finding for draft in draft_statements(tables, items) if not draft.implied]
