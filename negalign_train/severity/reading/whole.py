"""Sentences that speak of the whole examination: "normal", "no acute abnormality is seen"."""

from __future__ import annotations

from collections.abc import Sequence

from negalign_train.severity.reading.drafts import Item, StatementDraft
from negalign_train.severity.words.lexicon import Lexicon
from negalign_train.severity.words.phrases import Readings
from negalign_train.severity.words.spelling import Word

_WHOLE = "cardiopulmonary"
"""The summary that a normal examination denies."""
_WHOLE_WORDS = 16
"""A longer sentence speaks of something."""
_NO_READINGS = Readings((), {})


def denied_summary(tables: Lexicon, item: Item, partial: bool) -> list[StatementDraft]:
    """What is denied where the whole examination is called normal."""
    named = [
        *((name, False) for name in tables.summaries[_WHOLE]),
        *((name, True) for name in tables.marked_summaries[_WHOLE]),
    ]
    return [
        StatementDraft(
            name, (item,), present=False, implied=True, partial=partial, only_marked=marked
        )
        for name, marked in named
    ]


def whole_examination(
    tables: Lexicon, items: Sequence[Item], words: Sequence[Word]
) -> list[StatementDraft]:
    """The drafts of a sentence that names no organ and no finding, and calls something normal or
    denies all abnormality ("no acute abnormality is seen"): of the whole examination, then.
    """
    if not words or len(words) > _WHOLE_WORDS or any(item.value("change") for item in items):
        return []
    whole = tables.whole
    open_words = set(range(len(words)))
    normal = partial = False
    for item in items:
        if item.value("normal") or item.value("partial"):
            normal = normal or item.value("normal") is not None
            partial = partial or item.value("partial") is not None
            open_words -= set(range(item.start, item.end))
    around = {words[at].form for at in open_words if words[at].form.isalpha()}
    if not around <= whole.words:
        return []
    denied = not whole.denying.isdisjoint(around)
    if denied != (not whole.heads.isdisjoint(around)) and "nad" not in around:
        return []  # "no study", "finding"
    if not (denied or normal or "nad" in around):
        return []
    sentence = Item(_NO_READINGS, 0, 0, len(words))
    return denied_summary(tables, sentence, partial or "other" in around)
