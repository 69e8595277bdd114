"""The injector's words, ``data/injection.yaml``, and the report as it sees it."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from negalign_train.simulate.mesh_text import ReadSentence, read_sentences
from negalign_train.vocabulary.resources import data_path, read_table

_ASIDES = (
    "indications?", "reason for (?:exam|examination|study|visit)", "(?:clinical )?history",
    "clinical (?:information|indication|data|details)", "technique", "comparisons?", "procedure",
    "exam(?:ination)?", "study", "views?", "recommendations?", "notification",
)  # fmt: skip
_ANY_HEADING = re.compile(
    rf"(?:^|(?<=[.;\n]))\s*(findings|impression|{'|'.join(_ASIDES)})[ \t]*:",
    re.IGNORECASE | re.MULTILINE,
)
_BLANK_LINE = re.compile(r"\n[ \t]*\n")
Rewrites = tuple[tuple[re.Pattern[str], str], ...]


@dataclass(frozen=True)
class Replace:
    """Characters [start, end) of a report, and what takes their place."""

    start: int
    end: int
    text: str


@dataclass(frozen=True)
class Alteration:
    """One error to make: its replacements (the error shows at the first), and its severity."""

    edits: tuple[Replace, ...]
    finding: str | None
    severity: float


@dataclass(frozen=True)
class Tables:
    """``data/injection.yaml``; regular expressions compiled, in the order of the file."""

    false_findings: Mapping[str, tuple[str, ...]]
    devices: Mapping[str, tuple[str, ...]]
    device_names: Rewrites
    device_positions: Rewrites
    lateral: frozenset[str]
    graded: frozenset[str]
    degrees: Mapping[str, str]
    homophones: Mapping[str, str]
    leaps: Mapping[str, tuple[re.Pattern[str], str, str]]
    mimics: Mapping[str, str]
    hedges: Rewrites
    changes: Rewrites
    invented_changes: tuple[str, ...]
    invented_comparisons: tuple[str, ...]
    names: Mapping[str, str]
    denials: tuple[str, ...]


def _rewrites(pairs: list[list[str]]) -> Rewrites:
    return tuple((re.compile(pattern, re.IGNORECASE), str(new)) for pattern, new in pairs)


@cache
def tables() -> Tables:
    """The tables, read once."""
    data: dict[str, Any] = read_table(data_path("injection.yaml"))
    return Tables(
        false_findings={name: tuple(texts) for name, texts in data["false_findings"].items()},
        devices={name: tuple(texts) for name, texts in data["devices"].items()},
        device_names=_rewrites(data["device_names"]),
        device_positions=_rewrites(data["device_positions"]),
        lateral=frozenset(data["lateral"]),
        graded=frozenset(data["graded"]),
        degrees=data["degrees"],
        homophones=data["homophones"],
        leaps={
            name: (re.compile(rf"\b(?:{pattern})\b", re.IGNORECASE), new, disease)
            for name, (pattern, new, disease) in data["leaps"].items()
        },
        mimics=data["mimics"],
        hedges=_rewrites(data["hedges"]),
        changes=_rewrites(data["changes"]),
        invented_changes=tuple(data["invented_changes"]),
        invented_comparisons=tuple(data["invented_comparisons"]),
        names=data["names"],
        denials=tuple(data["denials"]),
    )


@dataclass(frozen=True)
class Report:
    """A report, its sentences, and the findings that its study really shows (None: unknown)."""

    text: str
    sentences: tuple[ReadSentence, ...]
    true_findings: frozenset[str] | None

    def says(self, name: str) -> bool:
        """Whether any sentence names the finding at all."""
        return any(m.finding == name for s in self.sentences for m in s.mentions)

    def asserting(self, name: str) -> list[ReadSentence]:
        """The sentences that assert the finding."""
        return [s for s in self.sentences if s.says(name, "asserted")]

    def asserted(self) -> list[str]:
        """The findings asserted without doubt (and true, where that is known), in text order."""
        named = dict.fromkeys(
            m.finding for s in self.sentences for m in s.mentions if m.status == "asserted"
        )
        return [n for n in named if self.true_findings is None or n in self.true_findings]

    def matches(
        self, rewrites: Rewrites, sentence: ReadSentence
    ) -> Iterator[tuple[re.Match[str], str]]:
        """Every match within a sentence, with what is to replace it."""
        for pattern, new in rewrites:
            for match in pattern.finditer(self.text, sentence.start, sentence.end):
                yield match, new

    def insertion_points(self) -> list[int]:
        """Where a whole sentence can be added: behind each sentence that ends with a period; the
        number of a list's line is none.
        """
        ended = [s for s in self.sentences if s.text.endswith(".")]
        return [s.end for s in ended if any(character.isalpha() for character in s.text)]


def aside_spans(text: str) -> list[tuple[int, int]]:
    """Where sections stand that are no part of what the study shows: indication, technique and the
    like, each from its heading to the next heading or blank line.
    """
    heads = list(_ANY_HEADING.finditer(text))
    if not heads:
        return []
    ends = [*[head.start(1) for head in heads[1:]], len(text)]
    spans = []
    for head, end in zip(heads, ends, strict=True):
        if head[1].lower() not in ("findings", "impression"):
            blank = _BLANK_LINE.search(text, head.end(), end)
            spans.append((head.start(1), end if blank is None else blank.end()))
    return spans


def view(text: str, true_findings: frozenset[str] | None) -> Report:
    """A report as the injector sees it: without its asides."""
    asides = aside_spans(text)
    sentences = [
        sentence
        for sentence in read_sentences(text)
        if not any(start <= sentence.start < end for start, end in asides)
    ]
    return Report(text, tuple(sentences), true_findings)


def sentence_at(place: int, sentence: str) -> Replace:
    """The insertion of a whole sentence behind the one that ends at ``place``."""
    return Replace(place, place, f" {sentence}")


def one_sided(sentence: ReadSentence) -> bool:
    """Whether it names a lobe that only one lung has: the other side of it would be nonsense."""
    return bool(re.search(r"middle lobe|lingula", sentence.text, re.IGNORECASE))


def like(old: str, new: str) -> str:
    """``new`` with the capital of ``old``."""
    return new[:1].upper() + new[1:] if old[:1].isupper() and not old.isupper() else new


def some_place(report: Report, rng: random.Random) -> int | None:
    """One insertion point; None where the report has no whole sentence."""
    places = report.insertion_points()
    return rng.choice(places) if places else None
