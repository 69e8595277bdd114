"""Report text as reporting systems send it, as plain text: markup, hard-wrapped lines, signatures,
and what stood before the report and belongs to the question. Pure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from html.parser import HTMLParser

_BLOCKS = frozenset(
    [
        "p",
        "div",
        "br",
        "tr",
        "li",
        "ul",
        "ol",
        "table",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "pre",
        "hr",
        "section",
    ]
)
_CELLS = frozenset({"td", "th"})
_HIDDEN = frozenset({"script", "style", "head"})
_MIN_WRAPPED = 40
"""A shorter line was ended by its writer, not by the margin."""
_ITEM = re.compile(r"\s*(?:[-*•]|\(?\d{1,2}[.)])\s+")
_HEADING = re.compile(r"\s*[A-Za-z][A-Za-z /&()-]{1,40}:(?=\s|$)")
_QUESTION = re.compile(
    r"\s*(exam|examination|exam type|study|indications?|clinical (?:history|information|"
    r"indication|data|details)|history|reason for (?:exam|study)|technique|comparison|procedure)"
    r"\s*:\s*",
    re.IGNORECASE,
)
_ANSWER = re.compile(
    r"\s*(report|findings?|impressions?|conclusions?|opinion|interpretation|assessment|comment|"
    r"result|body)\s*:\s*",
    re.IGNORECASE,
)
_ADMINISTRATION = re.compile(
    r"\W*(?:dictated (?:by|on)|requested by|electronically signed|e-?signed|signed by|verified by|"
    r"transcribed by|interpreted by|approved by|report status|date (?:reported|verified|signed)|"
    r"verifier e-sig|(?:attending|resident|primary interpreting) (?:radiologist|staff)?\s*:|"
    r"this (?:document|report) has been (?:electronically )?(?:signed|verified)|"
    r"(?:wet read|prelim(?:inary)?|final|addend(?:um|ed)) report\W*$)",
    re.IGNORECASE,
)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._hidden = 0
        self._verbatim = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._hidden += tag in _HIDDEN
        self._verbatim += tag == "pre"
        if tag in _BLOCKS:
            self.parts.append("\n")

    def handle_endtag(self, tag: str) -> None:
        self._hidden -= tag in _HIDDEN
        self._verbatim -= tag == "pre"
        if tag in _BLOCKS - {"br", "hr"}:
            self.parts.append("\n")
        elif tag in _CELLS:
            self.parts.append("  ")

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.parts.append(data if self._verbatim else re.sub(r"\s+", " ", data))


def html_text(markup: str) -> str:
    """The text of HTML or XHTML: a line for each block, cells of a row beside each other."""
    reader = _Reader()
    reader.feed(markup)
    reader.close()
    lines = [line.strip() for line in "".join(reader.parts).split("\n")]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def unwrapped(text: str) -> str:
    """Lines that the margin of a terminal broke joined again; headings, items, blank lines and
    short lines stay.
    """
    lines: list[str] = []
    previous = ""
    for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n"):
        joins = (
            len(previous.rstrip()) >= _MIN_WRAPPED
            and line.strip()
            and not _ITEM.match(line)
            and not _HEADING.match(line)
        )
        if joins:
            lines[-1] = f"{lines[-1].rstrip()} {line.strip()}"
        else:
            lines.append(line.strip())
        previous = line.strip()
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


@dataclass(frozen=True)
class ReportParts:
    """A report as it was sent, in two parts: what was asked (examination, indication, comparison)
    and the report itself.
    """

    question: str
    report: str


def split_report(text: str) -> ReportParts:
    """The parts of a report. Lines about who signed it when are left out, and so is a letterhead
    before the first heading.
    """
    question: list[str] = []
    report: list[str] = []
    preamble: list[str] = []
    part = preamble
    for line in unwrapped(text).split("\n"):
        if _ADMINISTRATION.match(line):
            continue
        if _QUESTION.match(line):
            part = question
        elif _ANSWER.match(line):
            part = report
        part.append(line)
    if not report:  # no heading begins the report: everything but the question is the report
        report = preamble
    return ReportParts(_block(question), _block(report))


def _block(lines: list[str]) -> str:
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()
