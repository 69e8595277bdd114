"""The sections of a report, by their headings, and where its sentences stop."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Literal, NamedTuple

from negalign_train.severity.text.tables import layout_tables

TextSection = Literal["findings", "impression", "aside"]
"""``aside``: indication, technique, comparison; what stands there is not read as a finding."""

SectionAt = tuple[TextSection, int, int]
"""A section and its [start, end) in the text, without its heading."""

_BEFORE_FINDINGS = frozenset(["question", "technique"])
"""Kinds of asides that the findings follow."""
_MAJOR = ("FINDINGS", "IMPRESSION", "INDICATION", "TECHNIQUE", "COMPARISON", "CONCLUSION")
# A stop ends a sentence before white space, a capital or the end; never inside a number.
# One class of characters first: re then skips what cannot match. A run of marks is tried at its
# first mark alone, so that time stays linear.
_STOP = re.compile(r"[.!?\n](?:(?<=\n)\n*|(?<=[.!?])(?<![.!?][.!?])[.!?]*+(?=\s|$|[A-Z]))")
_BLANK_LINE = re.compile(r"(?<=\S)[ \t]{0,80}\n[ \t]{0,80}\n")
_CAPITALS = re.compile(r"[A-Z]{8}")
_NOT_SPACE = re.compile(r"\S")
_LABEL = re.compile(r"\s{0,8}[A-Z][A-Za-z /&,()'-]{1,40}:")
_LABELLED = re.compile(r"\n[ \t]{0,40}(?=[A-Z][A-Za-z /&,()'-]{1,40}:)")
_LETTERS = re.compile(r"[a-z/]+")
_ANSWER = re.compile(
    r"\s{1,4}(?:no|none|nil|yes|absent|present|negative)\s{0,4}(?=[.,;\n]|$)", re.I
)
_TRIED_SENTENCES = 12
"""The end of an aside without a heading behind it is looked for in so many sentences."""


class _Heading(NamedTuple):
    """A heading at [start, end) of the text, its colon included, and the kind of its section."""

    start: int
    end: int
    kind: str


class _Patterns(NamedTuple):
    """Headings with a colon, alone on a line, and in capitals before a sentence."""

    with_colon: re.Pattern[str]
    longest: int
    alone: re.Pattern[str]
    in_capitals: re.Pattern[str]


@cache
def _patterns() -> _Patterns:
    ordered = sorted(layout_tables().sections, key=len, reverse=True)
    names = "|".join(map(re.escape, ordered))
    major = "|".join(_MAJOR)
    return _Patterns(
        # It starts the text, follows a mark, or is capitalised in the middle of a line.
        re.compile(
            rf"(?:(?:^|[.;:\n)])\s{{0,8}}|\b(?=[A-Z]))((?ai:{names}))[ \t]{{0,8}}:", re.MULTILINE
        ),
        1 + 8 + max(map(len, ordered)) + 8 + 1,
        re.compile(rf"^[#. \t]{{0,12}}((?=[A-Z])(?ai:{names}))[. \t]{{0,12}}$", re.MULTILINE),
        re.compile(rf"(?:^|(?<=[.\n]))\s{{0,8}}({major})(?=[ \t]{{1,8}}[A-Z0-9][a-z. ])"),
    )


def _with_colon(text: str) -> Iterator[re.Match[str]]:
    """Searched from their colons: most of a report is no heading."""
    patterns = _patterns()
    at, colon = 0, text.find(":")
    while colon >= 0:
        if text[max(0, colon - 8) : colon].rstrip()[-1:].isalpha():
            match = patterns.with_colon.search(text, max(at, colon - patterns.longest), colon + 1)
            if match is not None:
                yield match
                at = match.end()
        colon = text.find(":", colon + 1)


def _headings(text: str) -> list[_Heading]:
    patterns = _patterns()
    matches = list(_with_colon(text))
    if "\n" in text:
        matches += patterns.alone.finditer(text)
    if _CAPITALS.search(text) is not None:
        matches += patterns.in_capitals.finditer(text)
    kinds = layout_tables().sections
    headings = [_Heading(m.start(1), m.end(), kinds[m[1].lower()]) for m in matches]
    return sorted(headings)


def text_sections(text: str) -> list[SectionAt]:
    """The sections of a laid-out text, in order; what stands before the first heading counts as
    findings.
    """
    headings = _headings(text)
    if not headings:
        return [("findings", 0, len(text))]
    sections: list[SectionAt] = []
    if headings[0].start > 0:
        sections.append(("findings", 0, headings[0].start))
    for number, (_, start, kind) in enumerate(headings):
        following = headings[number + 1] if number + 1 < len(headings) else None
        end = len(text) if following is None else following.start
        if kind in ("findings", "impression"):
            sections.append(("impression" if kind == "impression" else "findings", start, end))
            continue
        cut = _end_of_aside(text, start, end, kind, following)
        sections.append(("aside", start, cut))
        if cut < end:
            sections.append(("findings", cut, end))
    return sections


def _end_of_aside(text: str, start: int, end: int, kind: str, following: _Heading | None) -> int:
    """Where an aside in [start, end) ends: many reports have no heading over their findings.

    It ends at a blank line, or at a label that is no section ("Lungs:"). Where neither findings
    nor another aside follow, it also ends before its first sentence that observes something.
    """
    first = _NOT_SPACE.search(text, start, end)
    if first is None:
        return end
    blank = _BLANK_LINE.search(text, first.start(), end)
    if blank is not None:
        return blank.end()
    if kind not in _BEFORE_FINDINGS:
        return end
    label = _LABELLED.search(text, first.start(), end)
    end_of_text = end if label is None else label.end()
    if following is not None and following.kind != "impression":
        return end_of_text
    return _observation(text, first.start(), end_of_text, kind, following is None)


def _observation(text: str, start: int, end: int, kind: str, is_last: bool) -> int:
    """The begin of the first sentence, but for the very first, that does not belong to an aside."""
    tables = layout_tables()
    at = start
    for number, stop in enumerate(stops(text, start, end)):
        if number > _TRIED_SENTENCES:
            break
        words = set(_LETTERS.findall(text[at:stop].lower()))
        apart = (
            kind == "technique"
            or (len(words) > 1 and _first_word(text, at, stop) in tables.openers)
            or _is_own_line(text, at)
            or _LABEL.match(text, at, stop)
        )
        observes = (is_last and apart) or not words.isdisjoint(tables.observing)
        if number and words and observes and words.isdisjoint(tables.asking):
            return at
        at = stop
    return end


def _first_word(text: str, start: int, end: int) -> str:
    match = _LETTERS.search(text[start : min(end, start + 40)].lower())
    return "" if match is None else match[0]


def _is_own_line(text: str, at: int) -> bool:
    """Whether a line begins at ``at``, and the one before ended without a stop: not by a wrap."""
    return text[at - 1] == "\n" and text[max(0, at - 40) : at].rstrip()[-1:] not in (".", "!", "?")


def _asks_on(text: str, at: int, end: int) -> bool:
    """Whether the sentence goes on behind the question mark that stands before ``at``."""
    if _ANSWER.match(text, at, end):
        return True
    before = text[at - 2] if at > 1 else " "
    return at < end and text[at].isalpha() and before in " ,(/\n"


def stops(text: str, start: int, end: int) -> Sequence[int]:
    """The places in [start, end) where a sentence ends, and ``end`` itself.

    A question that its next word answers ("Fracture? No.") is one sentence with it, and the mark
    before a word ("?TB") ends none.
    """
    found = [match.end() for match in _STOP.finditer(text, start, end)]
    if "?" in text:
        found = [at for at in found if text[at - 1] != "?" or not _asks_on(text, at, end)]
    if not found or found[-1] < end:
        found.append(end)
    return found
