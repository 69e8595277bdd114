"""The grammar read backwards: from a sentence to what it states, and where.

Only sentences that the grammar can write are understood; every other one is None. So a simulated
reader does not depend on the severity scorer, which reads free text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache

from negalign_train.cases.compose import ReportSection
from negalign_train.cases.grammar import grammar
from negalign_train.vocabulary.records import Finding

ALL_ACUTE = "*"
"""What "no acute abnormality" rules out."""


@dataclass(frozen=True)
class GrammarStatement:
    """What one sentence says: a finding asserted, or findings ruled out.

    ``parts`` holds the [start, end) of each attribute's words within the sentence, under the keys
    degree, side, location, change.
    """

    finding: Finding | None
    ruled_out: tuple[str, ...]
    parts: Mapping[str, tuple[int, int]]


@dataclass(frozen=True)
class ParsedSentence:
    """One sentence of a report with its [start, end) there; ``statement`` None: not understood."""

    section: ReportSection
    start: int
    end: int
    text: str
    statement: GrammarStatement | None


def _choice(group: str, phrases: list[str]) -> str:
    longest_first = sorted(set(phrases), key=len, reverse=True)
    return f"(?P<{group}>{'|'.join(re.escape(phrase) for phrase in longest_first)})"


@cache
def _nouns() -> dict[str, str]:
    return {
        noun.lower(): name
        for name, phrases in grammar().findings.items()
        for noun in phrases.noun_phrases
    }


@cache
def _device_nouns() -> dict[str, str]:
    return {
        noun.lower(): name
        for name, phrases in grammar().devices.items()
        for noun in phrases.noun_phrases
    }


@cache
def _place_phrases() -> dict[str, tuple[str, str | None]]:
    tables = grammar()
    table: dict[str, tuple[str, str | None]] = {
        after: (side, None) for side, after in tables.side_after.items()
    }
    for place in tables.places.values():
        for side in ("left", "right", *(["bilateral"] if place.plural else [])):
            table[place.phrase(side)] = (side, place.name)
    return table


@cache
def _words_of(kind: str) -> dict[str, str]:
    tables = grammar()
    source = {
        "before": tables.change_before,
        "after": tables.change_after,
    }.get(kind)
    if source is None:
        scales = tables.degree_words.values()
        return {word: d for scale in scales for d, words in scale.items() for word in words}
    return {word: change for change, words in source.items() for word in words}


@cache
def _positive() -> re.Pattern[str]:
    return re.compile(
        r"^(?:there (?:is|are) )?(?:an? )?"
        + f"(?:{_choice('before', list(_words_of('before')))} )?"
        + f"(?:{_choice('degree', list(_words_of('degree')))} )?"
        + "(?:(?P<side>left|right|bilateral) )?"
        + _choice("noun", list(_nouns()))
        + f"(?: {_choice('place', list(_place_phrases()))})?"
        + f"(?:, {_choice('after', list(_words_of('after')))})?"
        + r"(?: (?:is|are) (?:seen|noted|present))?\.$",
        re.IGNORECASE,
    )


@cache
def _device() -> re.Pattern[str]:
    tables = grammar()
    positions = [
        text for d in tables.devices.values() for texts in d.positions.values() for text in texts
    ]
    verbs = "|".join(tables.device_verbs)
    return re.compile(
        rf"^(?:an? )?{_choice('noun', list(_device_nouns()))} "
        rf"(?:(?:{verbs}) {_choice('position', positions)}|(?:is|are) (?:in place|seen))\.$",
        re.IGNORECASE,
    )


@cache
def _negative() -> re.Pattern[str]:
    noun = "|".join(re.escape(noun) for noun in sorted(_nouns(), key=len, reverse=True))
    return re.compile(
        rf"^(?:there is )?no (?P<nouns>(?:{noun})(?:(?:, | or )(?:{noun}))*)\.$", re.IGNORECASE
    )


@cache
def _fixed() -> dict[str, GrammarStatement]:
    """Whole sentences: normals, and artefacts with each side."""
    tables = grammar()
    table = {text: GrammarStatement(None, (ALL_ACUTE,), {}) for text in tables.impression_normals}
    for normals in tables.normals.values():
        table |= {normal.text: GrammarStatement(None, normal.rules_out, {}) for normal in normals}
    for artefact in tables.artefacts.values():
        for sentence in artefact.sentences:
            for side in ("left", "right") if artefact.sided else (None,):
                text = sentence.format(side=side) if side else sentence
                parts = {"side": (text.index(side), text.index(side) + len(side))} if side else {}
                table[text] = GrammarStatement(Finding(artefact.name, side=side), (), parts)
    return table


def _positive_statement(match: re.Match[str]) -> GrammarStatement:
    words = {key: value for key, value in match.groupdict().items() if value is not None}
    place_side, place = (None, None)
    parts: dict[str, tuple[int, int]] = {}
    if "place" in words:
        place_side, place = _place_phrases()[words["place"].lower()]
        parts["location" if place else "side"] = match.span("place")
    if "side" in words:
        parts["side"] = match.span("side")
    if "degree" in words:
        parts["degree"] = match.span("degree")
    change = None
    for kind in ("before", "after"):
        if kind in words:
            change = _words_of(kind)[words[kind].lower()]
            parts["change"] = match.span(kind)
    finding = Finding(
        _nouns()[words["noun"].lower()],
        side=words["side"].lower() if "side" in words else place_side,
        location=place,
        degree=_words_of("degree")[words["degree"].lower()] if "degree" in words else None,
        change=change,
    )
    return GrammarStatement(finding, (), parts)


def _device_statement(match: re.Match[str]) -> GrammarStatement:
    name = _device_nouns()[match["noun"].lower()]
    if match["position"] is None:
        return GrammarStatement(Finding(name), (), {})
    for position, texts in grammar().devices[name].positions.items():
        if match["position"].lower() in (text.lower() for text in texts):
            span = {"location": match.span("position")}
            return GrammarStatement(Finding(name, location=position), (), span)
    # A place this device never has: kept as said, so that it compares unequal to the truth.
    return GrammarStatement(
        Finding(name, location=match["position"].lower()), (), {"location": match.span("position")}
    )


@lru_cache(maxsize=65536)
def parse_sentence(text: str) -> GrammarStatement | None:
    """What a sentence (with its period) states; None: the grammar could not have written it."""
    if text in _fixed():
        return _fixed()[text]
    if match := _positive().match(text):
        return _positive_statement(match)
    if match := _device().match(text):
        return _device_statement(match)
    if match := _negative().match(text):
        nouns = re.split(r", | or ", match["nouns"].lower())
        return GrammarStatement(None, tuple(_nouns()[noun] for noun in nouns), {})
    return None


_SENTENCE = re.compile(r"[^.]*\.|[^.]+$")
_HEADING = re.compile(r"\s*(Findings|Impression):\s*")


def parse_report(text: str) -> list[ParsedSentence]:
    """The sentences of a report in order. Text before any heading counts as findings.

    A last sentence without a period is kept; it is not understood.
    """
    sentences: list[ParsedSentence] = []
    section: ReportSection = "findings"
    pieces = [(match.start(), match.end(), match[1]) for match in _HEADING.finditer(text)]
    starts = [(0, "Findings"), *[(end, name) for _, end, name in pieces]]
    ends = [*[start for start, _, _ in pieces], len(text)]
    for (start, heading), end in zip(starts, ends, strict=True):
        section = "findings" if heading == "Findings" else "impression"
        for match in _SENTENCE.finditer(text, start, end):
            stripped = match[0].strip()
            if stripped:
                at = match.start() + len(match[0]) - len(match[0].lstrip())
                sentences.append(
                    ParsedSentence(
                        section, at, at + len(stripped), stripped, parse_sentence(stripped)
                    )
                )
    return sentences
