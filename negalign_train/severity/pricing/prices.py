"""What an error on a finding weighs, for this patient: the catalogue, age and indication."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import Any

from negalign_train.severity.reading.context import CaseContext, named_findings
from negalign_train.vocabulary.errors import DataError
from negalign_train.vocabulary.resources import data_path, read_table
from negalign_train.vocabulary.taxonomy import finding_types

CONTEXT_FILE = "context.yaml"
_MILD = frozenset(["trace", "mild"])
_RULE_KEYS = frozenset(
    ["min_years", "max_years", "with", "without", "why", "weights", "mild_weights", "least",
     "equal"]
)  # fmt: skip
_DENIED = r"(?<!\bno )(?<!\bwithout )(?<!\bdenies )(?<!\bdenied )(?<!\bnot )"


@dataclass(frozen=True)
class Prices:
    """The weights that a context changes; without one, those of the catalogue hold.

    ``fixed``: the weight of a finding, ``mild`` where it is mild at most; ``named``: findings the
    indication asks about, which cost ``named_weight`` at least where they are missed; ``equal``:
    findings that mean the same; ``why``: the reason by finding.
    """

    fixed: Mapping[str, float] = field(default_factory=dict)
    mild: Mapping[str, float] = field(default_factory=dict)
    named: frozenset[str] = frozenset()
    named_weight: float = 0.0
    named_why: str = ""
    equal: frozenset[frozenset[str]] = frozenset()
    why: Mapping[str, str] = field(default_factory=dict)

    def weight(self, finding: str, degrees: Collection[str] = ()) -> float:
        """The weight of a finding of these degrees."""
        if finding in self.mild and degrees and _MILD.issuperset(degrees):
            return self.mild[finding]
        if finding in self.fixed:
            return self.fixed[finding]
        return finding_types()[finding].price(degrees)

    def reason(self, finding: str) -> str:
        """What an error's detail says of the context: nothing, or ``; why``."""
        return f"; {self.why[finding]}" if finding in self.why else ""


PLAIN = Prices()


@dataclass(frozen=True)
class _Rule:
    min_years: float | None
    max_years: float | None
    words: re.Pattern[str] | None
    without: re.Pattern[str] | None
    why: str
    weights: Mapping[str, float]
    mild_weights: Mapping[str, float]
    least: Mapping[str, float]
    equal: frozenset[frozenset[str]]

    def holds(self, age: float | None, indication: str) -> bool:
        if self.min_years is not None and (age is None or age < self.min_years):
            return False
        if self.max_years is not None and (age is None or age >= self.max_years):
            return False
        if self.without is not None and self.without.search(indication):
            return False
        return self.words is None or self.words.search(indication) is not None


@dataclass(frozen=True)
class _Context:
    rules: tuple[_Rule, ...]
    named_weight: float
    named_why: str


def _pattern(names: list[str], words: Mapping[str, list[str]]) -> re.Pattern[str] | None:
    forms = sorted((form for name in names for form in words[name]), key=len, reverse=True)
    if not forms:
        return None
    return re.compile(rf"{_DENIED}\b(?:{'|'.join(map(re.escape, forms))})\b")


def _rule(data: Mapping[str, Any], words: Mapping[str, list[str]]) -> _Rule:
    if unknown := data.keys() - _RULE_KEYS:
        raise KeyError(f"{sorted(unknown)} in a rule")
    named = {name for key in ("weights", "mild_weights", "least") for name in data.get(key, {})}
    named |= {name for pair in data.get("equal", ()) for name in pair}
    if unknown := named - finding_types().keys():
        raise KeyError(f"{sorted(unknown)}, which findings.yaml has not")
    return _Rule(
        data.get("min_years"),
        data.get("max_years"),
        _pattern(data.get("with", []), words),
        _pattern(data.get("without", []), words),
        str(data["why"]),
        data.get("weights", {}),
        data.get("mild_weights", {}),
        data.get("least", {}),
        frozenset(frozenset(pair) for pair in data.get("equal", ())),
    )


@cache
def _context() -> _Context:
    """The file, read once.

    Raises:
        DataError: it has another schema, a key or a name that nothing reads.
    """
    path = data_path(CONTEXT_FILE)
    data = read_table(path)
    try:
        if data["schema"] != "negalign.context/2":
            raise KeyError("schema")
        rules = tuple(_rule(entry, data["words"]) for entry in data["rules"])
        return _Context(rules, float(data["named_weight"]), str(data["named_why"]))
    except KeyError as error:
        raise DataError(f"{path}: {error}; correct the file") from error


@lru_cache(maxsize=4096)
def prices_for(context: CaseContext) -> Prices:
    """The prices of this patient."""
    if context.age is None and not context.indication:
        return PLAIN
    indication = re.sub(r"[^a-z0-9]+", " ", (context.indication or "").lower()).strip()
    fixed: dict[str, float] = {}
    mild: dict[str, float] = {}
    why: dict[str, str] = {}
    equal: set[frozenset[str]] = set()
    table = _context()
    for rule in table.rules:
        if not rule.holds(context.age, indication):
            continue
        fixed.update(rule.weights)
        mild.update(rule.mild_weights)
        for name, least in rule.least.items():
            fixed[name] = max(least, fixed.get(name, finding_types()[name].weight))
        why.update(dict.fromkeys((*rule.weights, *rule.mild_weights, *rule.least), rule.why))
        equal |= rule.equal
    named = named_findings(context.indication) if context.indication else frozenset()
    for name in named & fixed.keys():
        if not fixed[name]:  # what is asked about is never expected
            del fixed[name], why[name]
    return Prices(
        fixed,
        mild,
        named,
        table.named_weight,
        table.named_why,
        frozenset(equal),
        why,
    )
