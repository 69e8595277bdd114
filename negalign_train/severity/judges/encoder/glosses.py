"""Sentences that the rules cannot read, and the same with the words of a known finding instead.

Light. A gloss keeps sides, places, degrees, changes and negations where they stand, so that the
rules read it as they read every sentence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from negalign_train.severity.reading.drafts import Item, scan
from negalign_train.severity.reading.statements import read_sentence
from negalign_train.severity.text.sentences import sentences
from negalign_train.severity.text.tokens import Token, words_and_marks
from negalign_train.severity.words.lexicon import lexicon
from negalign_train.severity.words.phrases import ARTICLES
from negalign_train.severity.words.spelling import read_word

MAX_WORDS = 25
"""A longer sentence without a statement is not one phrase."""
_CACHED_SENTENCES = 1 << 14
_SETTLED = frozenset(
    ["finding", "denial", "normal", "partial", "summary", "hypothetical", "unassessed",
     "normal_examination", "study"]
)  # fmt: skip
"""Readings of a sentence that the rules know and that holds no finding on purpose."""
_KEPT = frozenset(
    ["side", "degree", "change", "negation", "uncertainty", "verb", "seen", "preposition",
     "qualifier", "adverb", "change_noun", "comma", "and", "or", "chronic", "joined", "verbal",
     "adjacent", "anaphor", "relative", "resume", "position", "break"]
)  # fmt: skip
"""Readings that are attributes or grammar: they say nothing of what the finding is."""
_ORGANS = frozenset(["subject", "location"])
_GRAMMAR = frozenset(
    ["the", "a", "an", "is", "are", "was", "were", "there", "of", "in", "at", "on", "to", "with",
     "and", "or", "be", "been", "has", "have", "this", "that", "these", "those", "which", "it",
     "its", "also", "noted", "within", "both", "through", "as", "may", "by"]
)  # fmt: skip


@dataclass(frozen=True)
class UnreadSentence:
    """One sentence without a statement, as read, with its [start, end) in the report.

    ``phrase``: its words that may name a finding; ``runs``: their characters within ``text``.
    """

    start: int
    end: int
    text: str
    phrase: str
    runs: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class GlossedReport:
    """A report with glosses in it. ``moves``: (end of a gloss here, the sentence [start, end) in
    the original, change of length up to there), in order.
    """

    text: str
    moves: tuple[tuple[int, int, tuple[int, int], int], ...]

    def original(self, span: tuple[int, int] | None) -> tuple[int, int] | None:
        """Where a span of this text stands in the original: a gloss is its whole sentence."""
        if span is None:
            return None
        shift = 0
        for start, end, sentence, moved in self.moves:
            if span[0] >= end:
                shift = moved
            elif span[1] > start:
                return sentence
        return span[0] - shift, span[1] - shift

    def is_gloss(self, span: tuple[int, int] | None) -> bool:
        """Whether a span of this text stands in a gloss."""
        return span is not None and any(
            start < span[1] and span[0] < end for start, end, _, _ in self.moves
        )


def _tokens(text: str) -> list[Token]:
    """Words and marks without articles, as the phrases of the lexicon are."""
    tokens = words_and_marks(text, lexicon().content)
    return [token for token in tokens if token.text not in ARTICLES]


@lru_cache(maxsize=_CACHED_SENTENCES)
def _unread(text: str) -> UnreadSentence | None:
    """The sentence, at 0, where the rules read nothing and nothing says that this is right."""
    facts = read_sentence(text)
    tokens = _tokens(text)
    if facts.statements or facts.change_of_previous is not None or len(tokens) > MAX_WORDS:
        return None
    items = scan([read_word(token.text) for token in tokens], lexicon().trie)
    if any(item.has(_SETTLED) for item in items):
        return None
    content = _content(tokens, items)
    organs = {at for item in items if item.has(_ORGANS) for at in range(item.start, item.end)}
    if not set(content) - organs:
        return None  # only where, not what
    return UnreadSentence(0, 0, text, _joined(tokens, content), _runs(tokens, content))


def phrase_of(sentence: str) -> str:
    """The words of a sentence that may name a finding, attributes and grammar left out."""
    tokens = _tokens(sentence)
    items = scan([read_word(token.text) for token in tokens], lexicon().trie)
    return _joined(tokens, _content(tokens, items))


def _joined(tokens: Sequence[Token], content: Sequence[int]) -> str:
    return " ".join(tokens[at].text for at in content)


def _content(tokens: Sequence[Token], items: Sequence[Item]) -> list[int]:
    """The words that are neither an attribute nor grammar; organs belong to what a finding is."""
    grammar = {
        at
        for item in items
        if item.has(_KEPT) and not item.has(_ORGANS)
        for at in range(item.start, item.end)
    }
    return [
        at
        for at, token in enumerate(tokens)
        if at not in grammar and token.text.isalpha() and token.text not in _GRAMMAR
    ]


def _runs(tokens: Sequence[Token], content: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Neighbouring words as one [start, end) each."""
    runs: list[tuple[int, int]] = []
    before = -2
    for at in content:
        if at == before + 1:
            runs[-1] = runs[-1][0], tokens[at].end
        else:
            runs.append((tokens[at].start, tokens[at].end))
        before = at
    return tuple(runs)


def unread_sentences(report: str) -> list[UnreadSentence]:
    """The sentences of a report that give no statement and might name a finding, in order."""
    unread = []
    for sentence in sentences(report):
        found = None if sentence.section == "aside" else _unread(sentence.text)
        if found is not None:
            unread.append(replace(found, start=sentence.start, end=sentence.end))
    return unread


def gloss(sentence: UnreadSentence, finding: str) -> str:
    """The sentence with the finding's own words in place of the unknown ones.

    The first run gives way to the finding, the others to nothing, unless they are places.
    """
    pieces, at = [], 0
    for place, (start, end) in enumerate(sentence.runs):
        pieces.append(sentence.text[at:start])
        words = _places(sentence.text[start:end])
        pieces.append(f"{finding.replace('_', ' ')} {words}".rstrip() if place == 0 else words)
        at = end
    return "".join([*pieces, sentence.text[at:]])


def _places(run: str) -> str:
    """The places that a run names: "air outlines the apex" keeps its apex."""
    tokens = _tokens(run)
    items = scan([read_word(token.text) for token in tokens], lexicon().trie)
    named = [item for item in items if item.has(frozenset(["location"]))]
    return " ".join(run[tokens[i.start].start : tokens[i.end - 1].end] for i in named)


def glossed_report(report: str, findings: Mapping[int, str]) -> GlossedReport:
    """The report with a gloss for each unread sentence whose start is in ``findings``."""
    pieces, moves, at, shift = [], [], 0, 0
    for sentence in unread_sentences(report):
        if sentence.start not in findings:
            continue
        new = gloss(sentence, findings[sentence.start])
        pieces += [report[at : sentence.start], new]
        start = sentence.start + shift
        shift += len(new) - (sentence.end - sentence.start)
        moves.append((start, start + len(new), (sentence.start, sentence.end), shift))
        at = sentence.end
    return GlossedReport("".join([*pieces, report[at:]]), tuple(moves))
