"""Which line breaks of a report divide sentences, and which are only where a line was full.

Exports of hospitals are hard-wrapped, reports of people are lists of lines. A break that is only a
wrap becomes a space; every other one stays, and ends a sentence. No character moves.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

from negalign_train.severity.text.tables import layout_tables

_ENDED = (".", "!", "?")
_LIST_MARK = re.compile(r"(?:\.|\(?\d{1,2}[.)]|[a-h]\)|\(?[ivx]{1,4}[.)])(?=\s|$)")
_DASH_MARK = re.compile(r"[-+>](?=\s)")
_LABEL = re.compile(r"[A-Z][A-Za-z /&,()'-]{1,40}:")
_COLUMNS = re.compile(r"[^\s.:;!?]\s{3,}\S")
_WORD = re.compile(r"[A-Za-z0-9][\w'-]*")
_LETTER = re.compile(r"[A-Za-z]")
_GOES_ON = frozenset(
    ["a", "an", "the", "and", "or", "nor", "of", "in", "on", "at", "to", "with", "without", "for",
     "from", "by", "as", "but", "no", "is", "are", "was", "were", "has", "have", "than", "which",
     "that", "there", "this", "left", "right", "mild", "moderate", "severe", "small", "large",
     "new", "over", "into", "within", "near", "above", "below", "upper", "lower", "bilateral",
     "vs", "versus", "not", "be", "may", "dr", "mid", "any", "its", "these", "consistent",
     "compatible", "given"]
)  # fmt: skip
"""After these words a sentence goes on, whatever the next line begins with."""
_BEGINS = frozenset(["the", "there", "no", "this", "lungs", "heart", "impression", "findings"])
"""With a capital, these words begin a sentence whatever the lines around look like."""
_WIDE = 40
"""Characters: a line this long was hardly ended for its own sake."""
_NARROW = 28
"""Of shorter lines the first words tell more than the lengths."""
_MANY = 3
"""So many breaks that all look like a wrap are one."""


class _Line(NamedTuple):
    """``start``: its place in the text; ``text``: without the white space around it."""

    start: int
    raw: str
    text: str


@cache
def _heading_names() -> frozenset[str]:
    return frozenset(layout_tables().sections)


def is_heading_line(line: str) -> bool:
    """Whether a line is nothing but the name of a section."""
    name = line.strip().rstrip(":").rstrip().lstrip("#").strip()
    return name[:1].isupper() and name.lower() in _heading_names()


def _is_heading(line: str) -> bool:
    """Whether a line begins with a label, or is the name of a section."""
    return _LABEL.match(line) is not None or line.startswith("#") or is_heading_line(line)


def _first_word(line: str) -> str:
    match = _WORD.search(line)
    return match[0] if match else ""


def _last_word(line: str) -> str:
    return line.rsplit(None, 1)[-1].strip("().,;:").lower()


class _Break(NamedTuple):
    """A break behind line ``at``. ``fits``: the first word of the next line would have found room,
    so that nobody who fills lines would have broken here. ``lower``: that word begins small.
    ``open``: no sentence ends here.
    """

    at: int
    fits: bool
    lower: bool
    open: bool


def _is_listed(lines: Sequence[_Line], at: int, dashed: bool) -> bool:
    """Whether line ``at`` begins an item of a list."""
    text = lines[at].text
    if dashed and _DASH_MARK.match(text):
        return True
    mark = _LIST_MARK.match(text)
    if mark is None:
        return False
    number = int("".join(c for c in mark[0] if c.isdigit()) or 1)
    if number == 1:
        return True
    before = (f"{number - 1}.", f"{number - 1})", f"({number - 1})")
    return any(line.text.startswith(before) for line in lines[max(0, at - 30) : at])


def _has_dashed_list(lines: Sequence[_Line]) -> bool:
    """Whether a dash begins a line where the line before had come to its end."""
    for at, line in enumerate(lines):
        if _DASH_MARK.match(line.text):
            before = lines[at - 1].text if at else ""
            if not before or before.endswith((*_ENDED, ":")) or is_heading_line(before):
                return True
    return False


def _is_row(line: str) -> bool:
    return _COLUMNS.search(line) is not None


def _blocks(lines: Sequence[_Line]) -> list[list[int]]:
    """Numbers of lines, in runs without an empty one."""
    blocks: list[list[int]] = [[]]
    for number, line in enumerate(lines):
        if line.text:
            blocks[-1].append(number)
        elif blocks[-1]:
            blocks.append([])
    return [block for block in blocks if len(block) > 1]


def _breaks(lines: Sequence[_Line], block: Sequence[int], dashed: bool) -> list[_Break]:
    """The breaks of a block that may be a wrap: no item, heading or row of a table begins there,
    and no heading or row ends there.
    """
    width = max(len(lines[at].raw) for at in block)
    breaks = []
    for at in block[:-1]:
        line, after = lines[at], lines[at + 1].text
        if is_heading_line(line.text) or _is_row(line.text):
            continue
        if _is_listed(lines, at + 1, dashed) or _is_heading(after) or _is_row(after):
            continue
        fits = len(line.raw) + 1 + len(after.split(None, 1)[0]) <= width
        is_open = not line.text.endswith(_ENDED)
        breaks.append(_Break(at, fits, not _first_word(after)[:1].isupper(), is_open))
    return breaks


def _has_case(text: str) -> bool:
    """Whether capitals begin sentences here: the text has both cases, most letters being small."""
    small = sum(map(str.islower, text))
    return small > 0.5 * sum(map(str.isalpha, text))


def _is_name(word: str) -> bool:
    """Whether a capital within a sentence begins this word: "SVC", "T12", "Kerley"."""
    return (len(word) > 1 and word.isupper()) or word.lower() not in layout_tables().openers


def _goes_on(line: str) -> bool:
    return line[-1] in ",;-/:(" or _last_word(line) in _GOES_ON


def _wraps(lines: Sequence[_Line], block: Sequence[int], dashed: bool) -> list[int]:
    """The lines of a block behind which the break is only a wrap."""
    every = _breaks(lines, block, dashed)
    breaks = [b for b in every if b.open]
    if not breaks:
        return []
    opening = _LABEL.sub("", lines[block[0]].text) or lines[block[1]].text
    cased = _has_case(" ".join(lines[at].text for at in block))
    letter = _LETTER.search(opening)
    width = max(len(lines[b.at].raw) for b in breaks)
    if not cased or letter is None or not letter[0].isupper():
        # Capitals say nothing: only the lengths do.
        wide = width >= _WIDE
        filled = (wide or len(every) >= _MANY) and not any(b.fits for b in every)
        return [b.at for b in breaks if filled or _goes_on(lines[b.at].text)]
    wrapped = any(b.lower and not b.fits for b in breaks)
    wide = width >= _NARROW
    joined = []
    for b in breaks:
        joins = b.lower or _goes_on(lines[b.at].text)
        if not joins and not b.fits:
            word = _first_word(lines[b.at + 1].text)
            joins = _is_name(word) or (wrapped and wide and word.lower() not in _BEGINS)
        if joins:
            joined.append(b.at)
    return joined


def join_lines(text: str) -> str:
    """The text with a space for every break that is only a wrap; its length is the same."""
    lines: list[_Line] = []
    start = 0
    for raw in text.split("\n"):
        lines.append(_Line(start, raw.rstrip(), raw.strip()))
        start += len(raw) + 1
    dashed = _has_dashed_list(lines)
    characters: list[str] | None = None
    for block in _blocks(lines):
        for at in _wraps(lines, block, dashed):
            if characters is None:
                characters = list(text)
            characters[lines[at + 1].start - 1] = " "
    return text if characters is None else "".join(characters)
