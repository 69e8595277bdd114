"""The same report in other words, by hand-made rules that keep the meaning.

Every judge's control: a paraphrase must cost nothing. The rules of ``data/paraphrases.yaml`` were
written apart from the scorer's lexicon. Sentences of a section may also change places.
"""

from __future__ import annotations

import random
import re
from functools import cache

from negalign_train.simulate.injection.tables import like
from negalign_train.simulate.mesh_text import read_sentences
from negalign_train.vocabulary.resources import data_path, read_table

_LENGTH = re.compile(r"(?<![\w.])(\d+(?:\.\d+)?) ?(mm|cm)\b")
_ORDER_FREE = re.compile(r"\b(?:this|these|it|they|which|above|also)\b", re.IGNORECASE)
_SHARE = 0.6
"""Probability that a rule which fits a sentence is used; later rules see the result."""


@cache
def _rewrites() -> tuple[tuple[re.Pattern[str], str], ...]:
    data = read_table(data_path("paraphrases.yaml"))
    return tuple((re.compile(pattern, re.IGNORECASE), new) for pattern, new in data["rewrites"])


def _in_other_unit(match: re.Match[str]) -> str:
    value = float(match[1])
    return f"{value * 10:g} mm" if match[2] == "cm" else f"{value / 10:g} cm"


def paraphrase_sentence(text: str, rng: random.Random) -> str:
    """One sentence in other words; a rule is used at most once, and never undone by its inverse."""
    used = 0
    for pattern, new in _rewrites():
        match = pattern.search(text)
        if match is None or used > 2 or rng.random() > _SHARE:
            continue
        text = text[: match.start()] + like(match[0], match.expand(new)) + text[match.end() :]
        used += 1
    if rng.random() < _SHARE:
        text = _LENGTH.sub(_in_other_unit, text)
    return text[:1].upper() + text[1:]


def paraphrase(report: str, seed: int | str) -> str:
    """``Findings: ... Impression: ...`` in other words; the same report and seed, the same text.

    Sentences of a section change places only where none refers back to another one.
    """
    rng = random.Random(f"paraphrase:{seed}:{report}")
    parts: dict[str, list[str]] = {"findings": [], "impression": []}
    for sentence in read_sentences(report):
        parts[sentence.section].append(paraphrase_sentence(sentence.text, rng))
    sections = []
    for name, sentences in parts.items():
        if not any(_ORDER_FREE.search(sentence) for sentence in sentences):
            rng.shuffle(sentences)
        if sentences:
            sections.append(f"{name.capitalize()}: {' '.join(sentences)}")
    return " ".join(sections)
