"""What an unknown phrase is compared with: the lexicon's phrases, and phrases that are no finding.

Light: vectors come from outside.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

import numpy as np
import yaml
from numpy.typing import NDArray

from negalign_train.vocabulary.errors import DataError
from negalign_train.vocabulary.resources import data_path
from negalign_train.vocabulary.taxonomy import finding_types

ENCODER_FILE = "encoder.yaml"
LEXICON_FILE = "lexicon.yaml"
ENCODER_SCHEMA = "negalign.encoder/1"

Vectors = NDArray[np.float32]
"""Unit vectors, one a row."""


class TextEncoder(Protocol):
    """Short texts to unit vectors. ``digest`` changes with the vectors."""

    @property
    def digest(self) -> str: ...

    def vectors(self, texts: Sequence[str]) -> Vectors:
        """One unit vector a text, in order, (texts, width)."""
        ...


@dataclass(frozen=True)
class Catalogue:
    """``phrases`` with the finding that each names; ``others`` name none."""

    phrases: tuple[str, ...]
    findings: tuple[str, ...]
    others: tuple[str, ...]
    threshold: float

    @property
    def texts(self) -> tuple[str, ...]:
        """Everything that needs a vector: the phrases, then the others."""
        return (*self.phrases, *self.others)


@dataclass(frozen=True)
class Nearest:
    """The finding nearest to a phrase, how near it is, and how near the nearest other phrase is."""

    finding: str
    phrase: str
    similarity: float
    other_similarity: float

    def is_read(self, threshold: float) -> bool:
        """Whether the phrase counts as the finding."""
        return self.similarity >= threshold and self.similarity > self.other_similarity


def _read(name: str) -> Mapping[str, Any]:
    data: Mapping[str, Any] = yaml.safe_load(data_path(name).read_text(encoding="utf-8"))
    return data


@cache
def catalogue() -> Catalogue:
    """The lexicon's phrases of findings and ``data/encoder.yaml``.

    Raises:
        DataError: the file is of another kind, or its threshold is no cosine.
    """
    data = _read(ENCODER_FILE)
    if data.get("schema") != ENCODER_SCHEMA or data.keys() != {"schema", "threshold", "others"}:
        raise DataError(f"{data_path(ENCODER_FILE)}: needs {ENCODER_SCHEMA}, threshold and others")
    threshold = float(data["threshold"])
    if not 0 < threshold <= 1:
        raise DataError(f"{data_path(ENCODER_FILE)}: threshold {threshold} is not in (0, 1]")
    named = [
        (str(phrase), finding)
        for finding, phrases in _read(LEXICON_FILE)["findings"].items()
        if finding_types()[finding].kind != "artefact"
        for phrase in dict.fromkeys(phrases)
    ]
    return Catalogue(
        tuple(phrase for phrase, _ in named),
        tuple(finding for _, finding in named),
        tuple(map(str, data["others"])),
        threshold,
    )


def nearest_findings(
    vectors: Vectors, known: Vectors, entries: Catalogue, without: Sequence[str] = ()
) -> list[Nearest]:
    """The nearest finding of each row of ``vectors``.

    Args:
        vectors: one row for each phrase asked about.
        known: one row for each of ``entries.texts``.
        without: for each row a word whose phrases are left out; none where it is empty. Calibration
            asks what would be read if the lexicon did not have that word.
    """
    count = len(entries.phrases)
    similar = vectors @ known.T
    if without:
        has_word = _phrases_with(entries, frozenset(without))
        for row, word in enumerate(without):
            similar[row, has_word[word]] = -1.0
    best = similar[:, :count].argmax(axis=1)
    others = similar[:, count:].max(axis=1)
    return [
        Nearest(
            entries.findings[place],
            entries.phrases[place],
            float(similar[row, place]),
            float(others[row]),
        )
        for row, place in enumerate(best)
    ]


def _phrases_with(entries: Catalogue, words: frozenset[str]) -> dict[str, list[int]]:
    return {
        word: [i for i, phrase in enumerate(entries.phrases) if word in phrase.split()]
        for word in words
    }
