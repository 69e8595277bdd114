"""Errors about whole findings: invented, denied, left out, contradicted, over-read."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator

from negalign_train.simulate.injection.tables import (
    Alteration,
    Replace,
    Report,
    like,
    one_sided,
    sentence_at,
    some_place,
    tables,
)
from negalign_train.simulate.mesh_text import ReadSentence, patterns
from negalign_train.vocabulary.taxonomy import finding_types

_OLD = re.compile(r"\b(?:old|healed|remote|chronic|prior)\b", re.IGNORECASE)


def catalogue_weight(name: str) -> float:
    """The catalogue's weight. A finding of weight 0 gives no error."""
    return finding_types()[name].weight


def false_prediction(report: Report, rng: random.Random) -> Iterator[Alteration]:
    """ReXErr 5: a finding that the report does not assert is added (R1)."""
    place = some_place(report, rng)
    if place is None:
        return
    for name, sentences in tables().false_findings.items():
        if not report.says(name) and not (report.true_findings and name in report.true_findings):
            edit = sentence_at(place, rng.choice(sentences))
            yield Alteration((edit,), name, catalogue_weight(name))


def _only_mention(sentences: list[ReadSentence]) -> bool:
    return all(len(sentence.mentions) == 1 for sentence in sentences)


def _is_minor(name: str, sentences: list[ReadSentence]) -> bool:
    """Whether leaving the finding out would be no error: benign, or old."""
    return not catalogue_weight(name) or any(_OLD.search(sentence.text) for sentence in sentences)


def _without(sentences: list[ReadSentence]) -> list[Replace]:
    return [Replace(s.start, s.end, "") for s in sentences]


def _losable(report: Report) -> Iterator[tuple[str, list[ReadSentence]]]:
    """Findings that can be left out: named alone in their sentences, and nothing stands in."""
    for name in report.asserted():
        sentences = report.asserting(name)
        stand_ins = patterns().accepts.get(name, frozenset())
        elsewhere = any(s.says(name, "open") or s.says(name, "denied") for s in report.sentences)
        if finding_types()[name].kind != "finding" or elsewhere or _is_minor(name, sentences):
            continue
        if not _only_mention(sentences) or stand_ins & set(report.asserted()):
            continue
        if len(sentences) < len(report.sentences):
            yield name, sentences


def false_negation(report: Report, rng: random.Random) -> Iterator[Alteration]:
    """ReXErr 11: a finding is denied where it was asserted, and nowhere asserted (R2)."""
    for name, sentences in _losable(report):
        if name not in tables().names:
            continue
        first = sentences[0]
        text = rng.choice(tables().denials).format(name=tables().names[name])
        edits = (Replace(first.start, first.end, text), *_without(sentences[1:]))
        yield Alteration(edits, name, catalogue_weight(name))


def omission(report: Report, rng: random.Random) -> Iterator[Alteration]:
    """A finding is left out everywhere (R2)."""
    for name, sentences in _losable(report):
        yield Alteration(tuple(_without(sentences)), name, catalogue_weight(name))


def _denied_by_name(report: Report, name: str) -> bool:
    """Whether a sentence denies the finding in so many words, with nothing left open."""
    pattern = patterns().findings[name]
    return any(s.says(name, "denied") and pattern.search(s.text.lower()) for s in report.sentences)


def contradiction(report: Report, rng: random.Random) -> Iterator[Alteration]:
    """ReXErr 10: the end of the report denies what it asserted, or asserts what it denied (R3)."""
    places = report.insertion_points()
    if not places:
        return
    for name in report.asserted():
        if name in tables().names and catalogue_weight(name):
            text = rng.choice(tables().denials).format(name=tables().names[name])
            edit = sentence_at(places[-1], text)
            yield Alteration((edit,), name, 0.5 * catalogue_weight(name))
    for name, sentences in tables().false_findings.items():
        if _denied_by_name(report, name) and not report.asserting(name):
            edit = sentence_at(places[-1], rng.choice(sentences))
            yield Alteration((edit,), name, 0.5 * catalogue_weight(name))


def side_contradiction(report: Report, rng: random.Random) -> Iterator[Alteration]:
    """The impression names the other side than the findings section (R3)."""
    for name in report.asserted():
        if any(one_sided(sentence) for sentence in report.asserting(name)):
            continue
        sides: dict[str, list[Replace]] = {"findings": [], "impression": []}
        for sentence in report.asserting(name):
            for mention in sentence.mentions:
                if mention.finding == name and mention.side and name in tables().lateral:
                    start, end = (sentence.start + at for at in mention.side)
                    sides[sentence.section].append(Replace(start, end, report.text[start:end]))
        words = {replace.text.lower() for edits in sides.values() for replace in edits}
        if not (sides["findings"] and sides["impression"]) or len(words) != 1:
            continue
        other = {"left": "right", "right": "left"}.get(words.pop())
        if other is not None:
            edits = tuple(Replace(r.start, r.end, like(r.text, other)) for r in sides["impression"])
            yield Alteration(edits, name, 0.5 * catalogue_weight(name))


def _artefacts_read_as_disease(report: Report, rng: random.Random) -> Iterator[Alteration]:
    for artefact, disease in tables().mimics.items():
        sentences = report.asserting(artefact)
        if len(sentences) == 1 and _only_mention(sentences) and not report.asserting(disease):
            text = rng.choice(tables().false_findings[disease])
            edit = Replace(sentences[0].start, sentences[0].end, text)
            yield Alteration((edit,), disease, catalogue_weight(disease))


def overinterpretation(report: Report, rng: random.Random) -> Iterator[Alteration]:
    """An artefact read as what it mimics, a sign as a disease, or a hedge dropped (R4)."""
    yield from _artefacts_read_as_disease(report, rng)
    for name in report.asserted():
        if name not in tables().leaps or report.says(tables().leaps[name][2]):
            continue
        pattern, words, disease = tables().leaps[name]
        matches = [pattern.search(report.text, s.start, s.end) for s in report.asserting(name)]
        edits = [Replace(*m.span(), like(m[0], words)) for m in matches if m is not None]
        if len(edits) == len(matches):
            yield Alteration(tuple(edits), disease, 0.5 * catalogue_weight(disease))
    for sentence in report.sentences:
        open_ones = [m.finding for m in sentence.mentions if m.status == "open"]
        hedges = list(report.matches(tables().hedges, sentence))
        if len(hedges) != 1 or len(open_ones) != 1 or not catalogue_weight(open_ones[0]):
            continue
        match, new = hedges[0]
        if not report.asserting(open_ones[0]):
            end, text = match.end(), like(match[0], new)
            if not new and match[0][:1].isupper():  # a dropped first word hands its capital on
                end, text = end + 1, report.text[end : end + 1].upper()
            edit = Replace(match.start(), end, text)
            yield Alteration((edit,), open_ones[0], 0.5 * catalogue_weight(open_ones[0]))
