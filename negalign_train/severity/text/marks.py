"""The marks of exports (HTML, HL7 escapes, markdown, typography) read as the text they stand for.

Every character keeps its place: ``Places`` leads from the text as read back to the report.
"""

from __future__ import annotations

import html
import re
from bisect import bisect_right
from functools import cache
from typing import NamedTuple

from negalign_train.severity.text.tables import layout_tables

_UNUSUAL = re.compile(r"[^ !\"#$%'()+,./0-9:;=?@A-Z\[\]a-z{}-]| [-] ")
"""What a text needs to hold for any of the rules below to apply; most reports hold none."""
_ONE_FOR_ONE = str.maketrans(
    {
        **dict.fromkeys("\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008", " "),
        **dict.fromkeys("\u2009\u200a\u202f\u205f\u3000\f\v", " "),
        **dict.fromkeys("\u2028\u2029\u0085", "\n"),
        **dict.fromkeys("\u2010\u2011\u2012\u2013\u2212\ufe63\uff0d", "-"),
        **dict.fromkeys("\u2014\u2015", ","),
        **dict.fromkeys("\u2018\u2019\u201a\u201b\u02bc\u00b4", "'"),
        **dict.fromkeys("\u201c\u201d\u201e\u201f\u00ab\u00bb", '"'),
        **dict.fromkeys("\u2026\u3002", "."),
        **dict.fromkeys("\u00d7\u2715", "x"),
        **dict.fromkeys("\u2022\u2023\u25aa\u25ab\u25cf\u25cb\u25e6\u2043\u2219\uf0b7", "."),
        "*": " ",
        "`": " ",
    }
)
"""Spaces, dashes, quotation marks and dots of typesetting. A bullet ends what stands before it, and
the marks of emphasis are spaces."""
_STAR_BULLET = re.compile(r"^([ \t]{0,40})\*(?=[ \t])", re.MULTILINE)
_ARROWS = {"\u2191": " increased ", "\u21e7": " increased ", "\u25b2": " increased ",
           "\u2193": " decreased ", "\u21e9": " decreased ", "\u25bc": " decreased ",
           "\u2194": " unchanged ", "\u2192": " to "}  # fmt: skip
_SIGNS = {"&": " and ", "\u2264": "<", "\u2265": ">", "\ufb00": "ff", "\ufb01": "fi",
          "\ufb02": "fl", "\ufb03": "ffi", "\ufb04": "ffl"} | _ARROWS  # fmt: skip
_HL7 = {"H": "", "N": "", "F": " ", "S": " ", "T": " and ", "R": " ", "E": " "}
_DASH = re.compile(r"(?<=[^\s\d,;.]) -(?= \S)")
_SOFT_EMPHASIS = re.compile(r"(?<![A-Za-z0-9_])_{1,2}(?=[A-Za-z])|(?<=[A-Za-z.:])_{1,2}(?![\w])")
_TABLE_ROW = re.compile(r"^[ \t]*\|.*\|[ \t]*$", re.MULTILINE)
_RULE = re.compile(r"^[-=|:+ \t]{3,}+$", re.MULTILINE)
_INNER_TAB = re.compile(r"(?<=[^\s:])\t+(?=\S)")


class Segment(NamedTuple):
    """Characters [start, end) of the text as read, from [source, source_end) of the report."""

    start: int
    end: int
    source: int
    source_end: int


class Places:
    """From places in the text as read to places in the report."""

    __slots__ = ("_segments", "_starts")

    def __init__(self, segments: list[Segment]) -> None:
        self._segments = segments
        self._starts = [segment.start for segment in segments]

    def _at(self, place: int) -> Segment:
        return self._segments[max(0, bisect_right(self._starts, place) - 1)]

    def span(self, start: int, end: int) -> tuple[int, int]:
        """The characters of the report that [start, end) was read from."""
        first = self._at(start)
        last = self._at(max(start, end - 1))
        whole = first.end - first.start == first.source_end - first.source
        begin = first.source + (start - first.start if whole else 0)
        whole = last.end - last.start == last.source_end - last.source
        stop = last.source + (end - last.start) if whole else last.source_end
        return min(begin, first.source_end), max(begin, min(stop, last.source_end))


@cache
def _replaced() -> re.Pattern[str]:
    """Everything that is read as a text of another length."""
    tables = layout_tables()
    lines = "|".join(sorted(tables.html_lines, key=len, reverse=True))
    words = "|".join(sorted(tables.html_words, key=len, reverse=True))
    names = "|".join(re.escape(n) for n in sorted(tables.sections, key=len, reverse=True))
    left, right = "(?:<|&lt;)", "(?:>|&gt;)"
    inside = r"(?:\s[^<>]{0,300})?\s?/?"
    return re.compile(
        rf"(?P<bold>(?:\*\*|__|<(?:b|strong|u)>)\s?(?P<name>{names})\s?:?\s?"
        r"(?:\*\*|__|</(?:b|strong|u)>)\s?:?)"
        rf"|(?P<cell></t[dh]>\s{{0,80}}<t[dh]{inside}>)"
        rf"|(?P<line>{left}/?(?:{lines}){inside}{right}[ \t]{{0,40}}\r?\n?)"
        rf"|(?P<word>{left}/?(?:{words}){inside}{right})"
        r"|(?P<entity>&(?:#\d{1,7}|#x[0-9a-f]{1,6}|[a-z][a-z0-9]{1,30});)"
        r"|\\(?:(?P<layout>\.[a-z]{2}[+-]?\d{0,3})|(?P<hl7>[HNFSTRE])|X(?P<hex>[0-9A-F]{2,40})"
        r"|[ZCM][0-9A-F]{1,8})\\"
        r"|(?P<escaped>\\r?\\n|\\[nr](?![a-z]))"
        r"|(?P<tilde>~+)"
        r"|(?P<nothing>[\u00ad\u200b-\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff])"
        r"|(?P<sign>[&\u2190-\u21ff\u25b2\u25bc\u2264\u2265\ufb00-\ufb04])",
        re.IGNORECASE,
    )


@cache
def _heading_dash() -> re.Pattern[str]:
    """A heading with a dash in place of its colon: "Impression - ..."."""
    ordered = sorted(layout_tables().sections, key=len, reverse=True)
    names = "|".join(map(re.escape, ordered))
    return re.compile(rf"((?:^|(?<=[.;]\s))(?ai:{names}) )-(?= )", re.MULTILINE)


def _hex(digits: str) -> str:
    try:
        read = bytes.fromhex(digits).decode("utf-8")
    except ValueError:
        return " "
    return read.replace("\r\n", "\n").replace("\r", "\n")


def _reading(match: re.Match[str]) -> str | None:
    """What a mark is read as; None where it stays as it is."""
    kind, text = match.lastgroup, match[0]
    if match["bold"]:
        return f"\n{match['name']}: "
    if kind in ("line", "escaped"):
        return "\n"
    if kind == "cell":
        return ": "
    if kind == "word" or kind == "nothing":
        return ""
    if kind == "entity":
        return html.unescape(text).translate(_ONE_FOR_ONE) if html.unescape(text) != text else None
    if kind == "layout":
        return " " if text[2:4].lower() in ("in", "ti") else "\n"
    if kind == "hl7":
        return _HL7[text[1].upper()]
    if kind == "hex":
        return _hex(match["hex"])
    if kind == "tilde":
        # "~5 mm" is about five; else it parts the lines of an HL7 field.
        behind = match.string[match.end() : match.end() + 2].strip()
        before = match.string[max(0, match.start() - 1) : match.start()]
        return " " if behind[:1].isdigit() and before in ("", " ", "(", "\n") else "\n"
    if kind == "sign":
        return _SIGNS.get(text)
    return " "


def _substituted(text: str) -> tuple[str, Places | None]:
    pieces: list[str] = []
    segments: list[Segment] = []
    at = length = 0
    for match in _replaced().finditer(text):
        reading = _reading(match)
        if reading is None:
            continue
        for piece, source, end in (
            (text[at : match.start()], at, match.start()),
            (reading, match.start(), match.end()),
        ):
            if piece or end > source:
                pieces.append(piece)
                segments.append(Segment(length, length + len(piece), source, end))
                length += len(piece)
        at = match.end()
    if not segments:
        return text, None
    pieces.append(text[at:])
    segments.append(Segment(length, length + len(text) - at, at, len(text)))
    kept = [segment for segment in segments if segment.end > segment.start]
    return "".join(pieces), Places(kept or segments[-1:])


def _row(match: re.Match[str]) -> str:
    """ "| Heart | normal |" as " Heart : normal ", of the same length."""
    row = match[0]
    first, last = row.index("|"), row.rindex("|")
    inner = row[first + 1 : last]
    if inner.strip(" \t|:-") == "":
        return " " * len(row)
    return f"{row[:first]} {inner.replace('|', ':', 1).replace('|', ',')} {row[last + 1 :]}"


def read_marks(text: str) -> tuple[str, Places | None]:
    """The text as a person reads it, and the way back; None where every place is its own."""
    if _UNUSUAL.search(text) is None:
        return text, None
    read, places = _substituted(text)
    if "\r" in read:
        read = read.replace("\r\n", " \n").replace("\r", "\n")
    if "*" in read:
        read = _STAR_BULLET.sub(r"\1.", read)
    read = read.translate(_ONE_FOR_ONE)
    if "|" in read:
        read = _TABLE_ROW.sub(_row, read)
    if "\t" in read:
        read = _INNER_TAB.sub(lambda m: ":" + " " * (len(m[0]) - 1), read)
    if "_" in read:
        read = _SOFT_EMPHASIS.sub(lambda m: " " * len(m[0]), read)
    if "\n" in read:
        read = _RULE.sub(lambda m: " " * len(m[0]), read)
    if " - " in read:
        read = _DASH.sub(" ,", _heading_dash().sub(r"\1:", read))
    return read, places
