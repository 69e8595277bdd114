"""From a report to its facts: statements about findings, and slips of the text itself."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import itemgetter

from negalign_train.severity.reading.readable import is_other_examination, is_other_language
from negalign_train.severity.reading.statements import (
    STUDY,
    SentenceFacts,
    Statement,
    placed,
    read_sentence,
)
from negalign_train.severity.text.layout import lay_out
from negalign_train.severity.text.sections import SectionAt, TextSection, text_sections
from negalign_train.severity.text.sentences import SentenceAt, split
from negalign_train.vocabulary.special_tokens import WELL_KNOWN
from negalign_train.vocabulary.taxonomy import finding_types

GENERAL_DEVICE = "other_device"
_CACHED_REPORTS = 1 << 11
_LONGEST_CACHED = 4000
_MARKUP = re.compile(
    r"<[a-z/!|][^<>\n]{0,80}>|_{3,}|\[[A-Z_ ]{3,40}\]|[\x00-\x08\x0e-\x1f�]|" + WELL_KNOWN.pattern
)
_MARKUP_STARTS = re.compile(r"[<_\[\x00-\x08\x0e-\x1f\ufffd]")
# Words that no report ends with: after them something is missing.
_NEVER_LAST = frozenset(
    ["a", "an", "the", "and", "or", "of", "in", "on", "at", "to", "with", "without", "for", "from",
     "by", "as", "but", "no", "is", "are", "was", "were", "has", "have", "than", "which", "that",
     "there", "this", "left", "right", "mild", "moderate", "severe", "small", "large", "new"]
)  # fmt: skip


Read = Sequence[tuple[SentenceAt, SentenceFacts]]
"""The sentences of a report, each with what it says."""


@dataclass(frozen=True, slots=True)
class Slip:
    """A fault of the text itself, with the characters [start, end) where it stands.

    ``kind``: repeated_sentence, truncated, empty_section, placeholder, misspelt, doubled_word.
    """

    kind: str
    span: tuple[int, int]


@dataclass(frozen=True, slots=True)
class ReportFacts:
    """All that was read from a report. Aside sections (indication, technique) give nothing.

    ``unreadable`` is the reason why the lexicon of English chest reports is not made for it:
    ``other_language`` or ``other_examination``, else None.
    """

    statements: tuple[Statement, ...]
    slips: tuple[Slip, ...]
    num_words: int
    num_known: int
    unreadable: str | None


def _repeated(read: Read) -> list[Slip]:
    """Sentences said before in the same section; impressions may repeat findings."""
    seen: set[tuple[TextSection, str]] = set()
    slips = []
    for sentence, facts in read:
        key = (sentence.section, facts.key)
        if sentence.section == "aside":
            continue  # signatures and dates
        if key in seen and " " in facts.key:
            slips.append(Slip("repeated_sentence", (sentence.start, sentence.end)))
        seen.add(key)
    return slips


_BEFORE_NOUN = frozenset(
    ["acute", "active", "focal", "cardiopulmonary", "pulmonary", "pleural", "cardiac", "osseous",
     "bony", "mediastinal", "hilar", "vascular", "interstitial", "thoracic", "intrathoracic",
     "degenerative", "airspace", "air", "pneumonic", "nodular", "aortic", "basilar", "lung",
     "heart", "other", "stable", "chronic", "calcified"]
)  # fmt: skip
"""These words stand before a noun: a phrase that ends with one is not whole."""
_LAST_WORD = re.compile(r"([A-Za-z]+)[^A-Za-z]*$")
_STOPS = (".", "!", "?")
_ITEM_MARK = re.compile(r"[^A-Za-z]*|\W*(?i:[a-h]|[ivx]{1,4})\W*")
_SIDE_LAST = re.compile(r"(?i:\bthe |:[^.\n]{0,40} )(?i:left|right)$")
"""A sentence may end with a side: "on the left", "Effusion: small left"."""
_ENDED_BEFORE = re.compile(r"[a-z)]\.\s")


def _is_whole(sentence: SentenceAt, facts: SentenceFacts) -> bool:
    """Whether the last words of a sentence state something."""
    last = _LAST_WORD.search(sentence.text)
    if last is None or last[1].lower() in _BEFORE_NOUN:
        return False
    end = last.end(1)
    return any(statement.span[1] == end for statement in facts.statements)


def _stands_alone(text: str, read: Read) -> bool:
    """Whether the last sentence is an item, or all that its section says."""
    if len(read) < 2:
        return True
    before, last = read[-2][0], read[-1][0]
    is_number = _ITEM_MARK.fullmatch(before.text) is not None
    gap = text[before.end : last.start]
    own_line = gap.count("\n") > 1 or ("\n" in gap and not before.text.endswith(_STOPS))
    return is_number or before.section != last.section or own_line


def _is_cut(text: str, read: Read) -> bool:
    """Whether the last sentence stops in the middle.

    A report of one phrase without a stop is a style, and so is a section or an item of one. A last
    sentence is cut if the sentences before it have stops, or if its last word needs another one.
    """
    stripped = text.rstrip()
    if stripped.endswith((",", "-", "/", "(", ";", ":")):
        return True
    if stripped.endswith((*_STOPS, ")", '"', "'")):
        return False
    last = _LAST_WORD.search(stripped[-60:])
    if last is not None and last[1].lower() in _NEVER_LAST and not _SIDE_LAST.search(stripped):
        return True
    if _ENDED_BEFORE.search(stripped) is None or not read or read[-1][0].section == "aside":
        return False
    return not (_stands_alone(text, read) and _is_whole(*read[-1]))


def _structure_slips(text: str, parts: Sequence[SectionAt], read: Read) -> list[Slip]:
    slips = []
    length = len(text.rstrip())
    filled = {sentence.section for sentence, _ in read}
    empty = [
        (start, end)
        for section, start, end in parts
        if start and section != "aside" and not text[start:end].strip() and section not in filled
    ]
    slips += [Slip("empty_section", (max(0, start - 1), start)) for start, _ in empty]
    if not empty and _is_cut(text, read):
        last = read[-1][0].start if read else 0
        slips.append(Slip("truncated", (last, length)))
    if _MARKUP_STARTS.search(text):  # most reports have none, and a class is quickly looked for
        slips += [Slip("placeholder", match.span()) for match in _MARKUP.finditer(text)]
    return slips


def _slips_of(facts: SentenceFacts, offset: int) -> list[Slip]:
    """The slips within one sentence, at their places in the report."""
    spans_by_kind = (
        ("misspelt", facts.misspelt),
        ("doubled_word", facts.doubled),
        ("placeholder", facts.placeholders),
    )
    return [Slip(kind, (a + offset, b + offset)) for kind, spans in spans_by_kind for a, b in spans]


def _outermost(slips: Sequence[Slip]) -> list[Slip]:
    """The slips without the placeholders that lie within another one ("unk" in "<unk>")."""
    kept, reached = [], 0
    for slip in sorted(slips, key=lambda slip: (slip.span[0], -slip.span[1])):
        if slip.kind == "placeholder":
            if slip.span[1] <= reached:
                continue
            reached = slip.span[1]
        kept.append(slip)
    return kept


def _why_unreadable(text: str, read: Read, num_words: int, num_known: int) -> str | None:
    if is_other_language(text, num_words, num_known):
        return "other_language"
    if is_other_examination(text, (f.key for s, f in read if s.section != "aside")):
        return "other_examination"
    return None


def _without_general_devices(statements: list[Statement]) -> list[Statement]:
    """Without "lines and tubes", "the catheter" in a report that names a device: it is meant."""
    if GENERAL_DEVICE not in map(itemgetter(0), statements):  # most reports, and without a loop
        return statements
    kinds = finding_types()
    named = any(
        s.present and s.finding not in (GENERAL_DEVICE, STUDY) and kinds[s.finding].kind == "device"
        for s in statements
    )
    return [s for s in statements if not (named and s.finding == GENERAL_DEVICE)]


def _extract(report: str) -> ReportFacts:
    laid_out = lay_out(report)
    text = laid_out.text
    parts = text_sections(text)
    read = [(sentence, read_sentence(sentence.text)) for sentence in split(text, parts)]
    statements: list[Statement] = []
    slips = [*_repeated(read), *_structure_slips(text, parts, read)]
    num_words = num_known = 0
    for sentence, facts in read:
        num_words += facts.num_words
        num_known += facts.num_known
        if facts.misspelt or facts.doubled or facts.placeholders:
            slips += _slips_of(facts, sentence.start)
        if sentence.section == "aside":
            continue
        if facts.change_of_previous is not None and statements and statements[-1].change is None:
            statements[-1] = statements[-1]._replace(change=facts.change_of_previous)
        statements += placed(facts.statements, sentence.start, sentence.section)
    unreadable = _why_unreadable(text, read, num_words, num_known)
    if len(slips) > 1:
        slips = _outermost(slips)
    if laid_out.places is not None:
        statements = [s._replace(span=laid_out.span(*s.span)) for s in statements]
        slips = [Slip(slip.kind, laid_out.span(*slip.span)) for slip in slips]
    statements = _without_general_devices(statements)
    return ReportFacts(tuple(statements), tuple(slips), num_words, num_known, unreadable)


_extract_cached = lru_cache(maxsize=_CACHED_REPORTS)(_extract)


def extract_facts(text: str) -> ReportFacts:
    """Statements and slips of a report, in order of the text; time is linear in its length.

    Cached by text; very long texts are not, so that memory stays flat.
    """
    return _extract_cached(text) if len(text) <= _LONGEST_CACHED else _extract(text)
