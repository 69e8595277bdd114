"""Columns of a table by what people call them. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from negalign_train.feedback.importers.mapping.values import word

Synonyms = Mapping[str, Collection[str]]
"""A field to the column names that stand for it, in lower case with spaces."""


def named_columns(names: Iterable[str], synonyms: Synonyms) -> dict[str, str]:
    """Field to column, for the fields that a column stands for; the first name of a list wins."""
    by_word = {word(name.replace(".", " ")): name for name in names}
    return {
        field: by_word[found]
        for field, words in synonyms.items()
        if (found := next((each for each in words if each in by_word), None)) is not None
    }
