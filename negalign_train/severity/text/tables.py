"""The tables of ``data/layout.yaml``, read once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from negalign_train.vocabulary.resources import data_path, read_table


@dataclass(frozen=True)
class LayoutTables:
    """``sections``: a heading in lower case to its kind (findings, impression, question, technique
    or closing). The others are the lists of the file.
    """

    sections: Mapping[str, str]
    observing: frozenset[str]
    asking: frozenset[str]
    html_lines: tuple[str, ...]
    html_words: tuple[str, ...]
    denying_answers: tuple[str, ...]
    affirming_answers: tuple[str, ...]
    openers: frozenset[str]


@cache
def layout_tables() -> LayoutTables:
    data = read_table(data_path("layout.yaml"))
    return LayoutTables(
        {name: kind for kind, names in data["sections"].items() for name in names},
        frozenset(data["observing"]),
        frozenset(data["asking"]),
        tuple(data["html_lines"]),
        tuple(data["html_words"]),
        tuple(data["denying_answers"]),
        tuple(data["affirming_answers"]),
        frozenset(data["openers"]),
    )
