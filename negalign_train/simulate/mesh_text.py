"""How the simulated OpenI reader reads a sentence: its own patterns, not the scorer's lexicon."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, Literal

from negalign_train.cases.compose import ReportSection
from negalign_train.vocabulary.resources import data_path, read_table

_SIDE = re.compile(r"\b(left|right|bilateral\w*|bibasilar|biapical|both)\b")
_DEGREES = {
    "mild": "mild", "mildly": "mild", "minimal": "mild", "minimally": "mild", "small": "mild",
    "tiny": "mild", "slight": "mild", "slightly": "mild", "borderline": "mild", "trace": "mild",
    "moderate": "moderate", "moderately": "moderate", "severe": "severe", "severely": "severe",
    "large": "severe", "marked": "severe", "markedly": "severe", "massive": "severe",
}  # fmt: skip
_DEGREE = re.compile(rf"\b(?:{'|'.join(_DEGREES)})\b")
_SEGMENT = re.compile(r"[,;]| with | and (?=(?:a |the )?(?:left|right|bilateral|mild|small|large))")
_HEADING = re.compile(r"\b(Findings|Impression):", re.IGNORECASE)
_STOP = re.compile(r"(?<=[.!?])\s+")


@dataclass(frozen=True)
class Patterns:
    """The reader's tables, ``data/mesh_reader.yaml``."""

    findings: Mapping[str, re.Pattern[str]]
    accepts: Mapping[str, frozenset[str]]
    over_calls: Mapping[str, tuple[str, ...]]
    ignored: frozenset[str]
    denials: tuple[tuple[re.Pattern[str], tuple[str, ...]], ...]
    cues: Mapping[str, re.Pattern[str]]


_CUES = ("negation", "negation_after", "negation_ends", "hedges", "partial_negation")


@cache
def patterns() -> Patterns:
    """The tables, read once."""
    data: dict[str, Any] = read_table(data_path("mesh_reader.yaml"))
    return Patterns(
        findings={
            name: re.compile("|".join(f"(?:{one})" for one in ones))
            for name, ones in data["patterns"].items()
        },
        accepts={name: frozenset(others) for name, others in data["accepts"].items()},
        over_calls={name: tuple(others) for name, others in data["over_calls"].items()},
        ignored=frozenset(data["ignored"]),
        denials=tuple(
            (re.compile(entry["pattern"]), tuple(entry["denies"])) for entry in data["denials"]
        ),
        cues={name: re.compile(data[name]) for name in _CUES},
    )


@dataclass(frozen=True)
class SentenceMention:
    """A finding named in a sentence. ``status``: asserted, denied, or open (possible, denied in
    part). ``side``, ``degree``: [start, end) of the word that says it, where there is just one.
    """

    finding: str
    status: Literal["asserted", "denied", "open"]
    side: tuple[int, int] | None
    degree: tuple[int, int] | None


@dataclass(frozen=True)
class ReadSentence:
    """One sentence at [start, end) of a report."""

    section: ReportSection
    text: str
    start: int
    end: int
    mentions: tuple[SentenceMention, ...]

    def says(self, finding: str, status: str) -> bool:
        return any(m.finding == finding and m.status == status for m in self.mentions)


def side_of(text: str, span: tuple[int, int]) -> str:
    """left, right or bilateral."""
    word = text[span[0] : span[1]].lower()
    return word if word in ("left", "right") else "bilateral"


def degree_of(text: str, span: tuple[int, int]) -> str:
    """mild, moderate or severe."""
    return _DEGREES[text[span[0] : span[1]].lower()]


def _status(lower: str, start: int, end: int) -> Literal["asserted", "denied", "open"]:
    cues = patterns().cues
    if cues["negation"].search(lower, start, end):
        return "denied"  # "the heart is not enlarged"
    from_end = [m.end() for m in cues["negation_ends"].finditer(lower, 0, start)]
    begin = from_end[-1] if from_end else 0
    negations = list(cues["negation"].finditer(lower, begin, start))
    if cues["negation_after"].search(lower, end) and not negations:
        return "denied"
    if negations:
        between = lower[negations[-1].end() : start]
        return "open" if cues["partial_negation"].search(between) else "denied"
    return "open" if cues["hedges"].search(lower) else "asserted"


def _only(pattern: re.Pattern[str], text: str, start: int, end: int) -> tuple[int, int] | None:
    """The place of the one match in text[start:end]; None for none or several."""
    spans = [match.span() for match in pattern.finditer(text, start, end)]
    return spans[0] if len(spans) == 1 else None


def _segment(lower: str, at: int) -> tuple[int, int]:
    cuts = [match.end() for match in _SEGMENT.finditer(lower)]
    start = max((cut for cut in cuts if cut <= at), default=0)
    return start, min((cut for cut in cuts if cut > at), default=len(lower))


def _is_of_finding(lower: str, name: str) -> bool:
    """False for words that name this finding only as part of another one."""
    return not (name == "calcification" and "granulom" in lower)


@lru_cache(maxsize=1 << 15)
def read_mentions(text: str) -> tuple[SentenceMention, ...]:
    """All findings a sentence names, with what it says of each."""
    lower = text.lower()
    tables = patterns()
    mentions = []
    for name, pattern in tables.findings.items():
        match = pattern.search(lower)
        if match is None or name in tables.ignored or not _is_of_finding(lower, name):
            continue
        start, end = _segment(lower, match.start())
        mentions.append(
            SentenceMention(
                name,
                _status(lower, match.start(), match.end()),
                _only(_SIDE, lower, start, end),
                _only(_DEGREE, lower, start, end),
            )
        )
    for pattern, denied in tables.denials:
        if pattern.search(lower) and not tables.cues["hedges"].search(lower):
            named = {mention.finding for mention in mentions}
            mentions += [
                SentenceMention(name, "denied", None, None) for name in denied if name not in named
            ]
    return tuple(mentions)


def read_sentences(text: str) -> list[ReadSentence]:
    """The sentences of ``Findings: ... Impression: ...``; text before a heading is findings."""
    headings = list(_HEADING.finditer(text))
    starts = [0, *[match.end() for match in headings]]
    ends = [*[match.start() for match in headings], len(text)]
    names = ["findings", *[match[1].lower() for match in headings]]
    sentences = []
    for name, start, end in zip(names, starts, ends, strict=True):
        section: ReportSection = "impression" if name == "impression" else "findings"
        at = start
        for stop in [*[m.end() for m in _STOP.finditer(text, start, end)], end]:
            piece = text[at:stop]
            stripped = piece.strip()
            if stripped:
                begin = at + len(piece) - len(piece.lstrip())
                sentences.append(
                    ReadSentence(
                        section, stripped, begin, begin + len(stripped), read_mentions(stripped)
                    )
                )
            at = stop
    return sentences
