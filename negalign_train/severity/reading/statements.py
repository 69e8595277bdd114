"""One sentence read: its words to statements about findings, cached by sentence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from negalign_train.severity.reading.attributes import attach_attributes, says_nothing_else
from negalign_train.severity.reading.drafts import (
    Item,
    StatementDraft,
    scan,
    split_clauses,
)
from negalign_train.severity.reading.numbers import attach_numbers
from negalign_train.severity.reading.organs import draft_statements
from negalign_train.severity.reading.scope import apply_scopes, denied_with
from negalign_train.severity.reading.shared_attributes import share_attributes
from negalign_train.severity.reading.whole import whole_examination
from negalign_train.severity.text.sections import TextSection
from negalign_train.severity.text.tokens import Token, words_and_marks
from negalign_train.severity.words.lexicon import lexicon
from negalign_train.severity.words.phrases import ARTICLES
from negalign_train.severity.words.spelling import Word, read_word
from negalign_train.vocabulary.taxonomy import finding_types

STUDY = "study"
"""Pseudo-finding of a sentence that compares the study as a whole: "no interval change"."""
_DEGREE_ORDER = ("trace", "mild", "moderate", "severe")
_SAYS_SOMETHING = frozenset(
    ["finding", "subject", "predicate", "denial", "normal", "normal_examination", "summary",
     "change"]
)  # fmt: skip
"""A sentence without a phrase of these kinds states nothing."""
_CACHED_SENTENCES = 1 << 15
_LONGEST_CACHED = 400


class Statement(NamedTuple):
    """What a report says of one finding (an id of ``data/findings.yaml``, or ``STUDY``).

    ``certain`` is False for "possible". ``implied``: follows from a statement of normality.
    ``partial``: a denial that leaves something possible ("no large effusion"). ``only_marked``: a
    denial of what is marked or new alone ("no acute abnormality"). ``chronic``: called old.
    ``location`` and ``side`` hold every place named, sorted. ``probable``: not certain, but rather
    yes ("likely"). ``subtypes``: what the catalogue does not tell apart ("picc", "clavicle",
    "loculated"; of an unknown abnormality its own word). ``numbers``: ribs and vertebrae by number
    ("rib 3", "t7"). ``how_many`` are said to be there, ``MANY`` for several, None where that
    is not said. ``span``: characters [start, end) of the report.
    """

    finding: str
    present: bool
    certain: bool
    side: tuple[str, ...]
    location: tuple[str, ...]
    degree: str | None
    change: str | None
    size_mm: float | None
    chronic: bool
    implied: bool
    partial: bool
    only_marked: bool
    probable: bool
    subtypes: tuple[str, ...]
    numbers: tuple[str, ...]
    how_many: int | None
    span: tuple[int, int]
    section: TextSection = "findings"


@dataclass(frozen=True, slots=True)
class SentenceFacts:
    """One sentence: its bare words (``key``), its statements (spans within it), a change said of
    the sentence before, and where it slips: misspelt words, words doubled, placeholders.
    """

    key: str
    statements: tuple[Statement, ...]
    change_of_previous: str | None
    misspelt: tuple[tuple[int, int], ...]
    doubled: tuple[tuple[int, int], ...]
    placeholders: tuple[tuple[int, int], ...]
    num_words: int
    num_known: int


def _sides(values: Sequence[str]) -> tuple[str, ...]:
    named = set(values)
    if "bilateral" in named or {"left", "right"} <= named:
        return ("left", "right")
    return tuple(sorted(named))


def _strongest(degrees: Sequence[str]) -> str | None:
    return max(degrees, key=_DEGREE_ORDER.index) if degrees else None


def _telling(changes: Sequence[str]) -> str | None:
    """ "Again seen, increased" is an increase: "stable" yields to any other change."""
    moving = [change for change in changes if change != "stable"]
    return next(iter(moving or changes), None)


def _leaves_open(draft: StatementDraft) -> bool:
    """Whether a denial is one of a side, a lobe or a device's place, and leaves the others open."""
    is_device = finding_types()[draft.finding].kind == "device"
    in_a_place = (is_device or draft.implied) and bool(draft.locations)
    return in_a_place or len(_sides(draft.sides)) == 1


def _statement(draft: StatementDraft, tokens: Sequence[Token]) -> Statement:
    return Statement(
        finding=draft.finding,
        present=draft.present,
        certain=draft.certain,
        side=_sides(draft.sides),
        location=tuple(sorted(set(draft.locations))),
        degree=_strongest(draft.degrees),
        change=_telling(draft.changes),
        size_mm=draft.size_mm,
        chronic=draft.chronic,
        implied=draft.implied,
        partial=draft.partial or (not draft.present and _leaves_open(draft)),
        only_marked=draft.only_marked,
        probable=draft.probable,
        subtypes=tuple(sorted(set(draft.subtypes))),
        numbers=tuple(sorted(set(draft.numbers))),
        how_many=draft.how_many,
        span=(tokens[draft.start].start, tokens[draft.end - 1].end),
    )


def _is_right_here(words: Sequence[Word], at: int) -> bool:
    """Whether a word that is mostly a slip is none beside its neighbours: "last week"."""
    tables = lexicon()
    if words[at].form not in tables.wrong_words:
        return False
    before = words[at - 1].form if at else ""
    behind = words[at + 1].form if at + 1 < len(words) else ""
    pairs = {(before, words[at].form), (words[at].form, behind)}
    return before.isdigit() or not pairs.isdisjoint(tables.wrong_words_right)


def _slips(
    tokens: Sequence[Token], words: Sequence[Word], placeholders: frozenset[str]
) -> tuple[list[tuple[int, int]], list[tuple[int, int]], list[tuple[int, int]]]:
    """Spans of misspelt words, of words doubled, and of placeholders."""
    misspelt, doubled, placeholder = [], [], []
    before: str | None = None
    for at, (token, word) in enumerate(zip(tokens, words, strict=True)):
        if word.misspelt and not _is_right_here(words, at):
            misspelt.append((token.start, token.end))
        text = token.text
        if text in placeholders or (text[:2] == "xx" and set(text) == {"x"}):
            placeholder.append((token.start, token.end))
        elif text == before and text.isalpha():
            doubled.append((token.start, token.end))
        before = text
    return misspelt, doubled, placeholder


def without_articles(
    tokens: Sequence[Token], words: Sequence[Word]
) -> tuple[Sequence[Token], Sequence[Word]]:
    """Both without "a", "the" and the like, as the phrases of the lexicon are."""
    kept = [at for at, token in enumerate(tokens) if token.text not in ARTICLES]
    if len(kept) == len(tokens):
        return tokens, words
    return [tokens[at] for at in kept], [words[at] for at in kept]


def _of_study(change: str, span: tuple[int, int]) -> Statement:
    """A change of the whole examination."""
    return Statement(
        STUDY, True, True, (), (), None, change, None, False, False, False, False, False, (), (),
        None, span,
    )  # fmt: skip


def _stated(
    tokens: Sequence[Token], words: Sequence[Word], items: Sequence[Item]
) -> tuple[list[Statement], str | None]:
    """The statements of a sentence, and a change that it says of the sentence before."""
    tables = lexicon()
    if not any(item.has(_SAYS_SOMETHING) for item in items):
        return [_statement(d, tokens) for d in whole_examination(tables, items, words)], None
    split_clauses(items)
    drafts = draft_statements(tables, items)
    if not drafts and (whole := whole_examination(tables, items, words)):
        return [_statement(draft, tokens) for draft in whole], None
    apply_scopes(drafts, items, len(words))
    drafts += denied_with(drafts)
    loose = attach_attributes(drafts, items)
    share_attributes(drafts, items, tables.readings)
    attach_numbers(drafts, items, tokens, words)
    statements = [_statement(draft, tokens) for draft in drafts if not draft.dropped]
    change = min(loose, default=None) if all(map(says_nothing_else, drafts)) else None
    anaphoric = any(item.value("anaphor") and not item.value("study") for item in items[:2])
    if change is not None and not anaphoric:
        statements.append(_of_study(change, (tokens[0].start, tokens[-1].end)))
        change = None
    return statements, change


def _read(sentence: str) -> SentenceFacts:
    tables = lexicon()
    all_tokens = words_and_marks(sentence, tables.content)
    all_words = [read_word(token.text) for token in all_tokens]
    tokens, words = without_articles(all_tokens, all_words)
    items = scan(words, tables.trie)
    statements, change = _stated(tokens, words, items)
    known = [w.known for t, w in zip(all_tokens, all_words, strict=True) if t.text.isalpha()]
    misspelt, doubled, placeholders = _slips(all_tokens, all_words, tables.placeholders)
    return SentenceFacts(
        " ".join(token.text for token in all_tokens if token.text.isalnum()),
        tuple(statements),
        change,
        tuple(misspelt),
        tuple(doubled),
        tuple(placeholders),
        len(known),
        sum(known),
    )


_read_cached = lru_cache(maxsize=_CACHED_SENTENCES)(_read)


def read_sentence(sentence: str) -> SentenceFacts:
    """The facts of one sentence. Long ones are not cached, so that memory stays flat."""
    return _read_cached(sentence) if len(sentence) <= _LONGEST_CACHED else _read(sentence)


_SPAN_FIELD = Statement._fields.index("span")


def placed(statements: Sequence[Statement], offset: int, section: TextSection) -> list[Statement]:
    """The statements of a sentence moved to where the sentence stands in its report."""
    # Not _replace: this is the inner loop, and only the last two fields differ.
    # Joined, not unpacked: a third less time, and this runs for every statement of every report.
    new, at = tuple.__new__, _SPAN_FIELD
    return [
        new(Statement, s[:at] + ((s.span[0] + offset, s.span[1] + offset), section))  # noqa: RUF005
        for s in statements
    ]
