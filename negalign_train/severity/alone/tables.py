"""``data/plausibility.yaml``, read once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from negalign_train.vocabulary.errors import DataError
from negalign_train.vocabulary.resources import data_path, read_table
from negalign_train.vocabulary.taxonomy import finding_types

PLAUSIBILITY_FILE = "plausibility.yaml"


@dataclass(frozen=True)
class Plausibility:
    """The tables; patterns are compiled, and read lower-case text."""

    sizes_mm: Mapping[str, tuple[float, float]]
    impossible_tips: Mapping[str, frozenset[str]]
    phrases: tuple[tuple[re.Pattern[str], str], ...]
    exclusive: tuple[tuple[str, str], ...]
    chatter: re.Pattern[str]
    sex: Mapping[str, re.Pattern[str]]
    of_one_sex: Mapping[str, re.Pattern[str]]
    not_before: Mapping[str, float]
    not_after: tuple[tuple[float, re.Pattern[str]], ...]


_WHITE = re.compile(r"\s")


def flat(text: str) -> str:
    """Lower case, with a space for every white character: as long as the text, and its places the
    same, so that patterns read a wrapped line like any other.
    """
    lower = text.lower()
    return _WHITE.sub(" ", lower if len(lower) == len(text) else text)


@cache
def plausibility() -> Plausibility:
    """The tables.

    Raises:
        DataError: one names a finding that the catalogue does not have.
    """
    path = data_path(PLAUSIBILITY_FILE)
    data: dict[str, Any] = read_table(path)
    not_before = {
        finding: float(rule["years"]) for rule in data["not_before"] for finding in rule["findings"]
    }
    named = {
        *data["sizes_mm"],
        *data["impossible_tips"],
        *not_before,
        *(f for pair in data["exclusive"] for f in pair),
    }
    if unknown := named - {"any"} - finding_types().keys():
        raise DataError(f"{path}: {sorted(unknown)} are not in findings.yaml; correct the names")
    return Plausibility(
        {name: (float(low), float(high)) for name, (low, high) in data["sizes_mm"].items()},
        {name: frozenset(places) for name, places in data["impossible_tips"].items()},
        tuple((re.compile(pattern), str(why)) for pattern, why in data["phrases"]),
        tuple((str(a), str(b)) for a, b in data["exclusive"]),
        re.compile("|".join(data["chatter"])),
        {sex: re.compile(pattern) for sex, pattern in data["sex"].items()},
        {sex: re.compile(pattern) for sex, pattern in data["of_one_sex"].items()},
        not_before,
        tuple((float(r["years"]), re.compile(r["phrase"])) for r in data["not_after"]),
    )
