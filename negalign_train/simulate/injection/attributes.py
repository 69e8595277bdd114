"""Errors about a finding that is there: its degree, side, place, size, change over time."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator

from negalign_train.simulate.injection.findings import catalogue_weight
from negalign_train.simulate.injection.tables import (
    Alteration,
    Replace,
    Report,
    like,
    one_sided,
    sentence_at,
    tables,
)
from negalign_train.simulate.mesh_text import ReadSentence, SentenceMention
from negalign_train.vocabulary.taxonomy import finding_types

_SIZE = re.compile(r"(?<![\dx.] )\b(\d{1,3}(?:\.\d)?)[ -]?(mm|cm)\b(?! (?:above|from|below))")
_LOBE = re.compile(r"\b(upper|lower) (lobe|lung|zone)\b", re.IGNORECASE)
_OTHER_ZONE = {"upper": "lower", "lower": "upper"}
_OTHER_SIDE = {"left": "right", "right": "left"}
_SIZED = frozenset(["mass", "nodule", "cavity", "opacity", "pneumothorax", "granuloma", "bulla"])


def _true_mentions(report: Report) -> Iterator[tuple[ReadSentence, SentenceMention]]:
    """Every mention that asserts a finding with a weight."""
    names = set(report.asserted())
    for sentence in report.sentences:
        for mention in sentence.mentions:
            asserted = mention.status == "asserted" and mention.finding in names
            if asserted and catalogue_weight(mention.finding):
                yield sentence, mention


def _at(sentence: ReadSentence, span: tuple[int, int]) -> tuple[int, int]:
    return sentence.start + span[0], sentence.start + span[1]


def change_degree(report: Report, rng: random.Random) -> Iterator[Alteration]:
    """ReXErr 3: another degree (R6)."""
    for sentence, mention in _true_mentions(report):
        if mention.degree is None or mention.finding not in tables().graded:
            continue
        start, end = _at(sentence, mention.degree)
        new = tables().degrees.get(report.text[start:end].lower())
        if new is not None:
            edit = Replace(start, end, like(report.text[start:end], new))
            yield Alteration((edit,), mention.finding, 0.5 * catalogue_weight(mention.finding))


def change_location(report: Report, rng: random.Random) -> Iterator[Alteration]:
    """ReXErr 4: another side or lobe (R5)."""
    for sentence, mention in _true_mentions(report):
        if mention.finding not in tables().lateral:
            continue
        severity = 0.5 * catalogue_weight(mention.finding)
        if mention.side is not None and not one_sided(sentence):
            start, end = _at(sentence, mention.side)
            new = _OTHER_SIDE.get(report.text[start:end].lower())
            if new is not None:
                edit = Replace(start, end, like(report.text[start:end], new))
                yield Alteration((edit,), mention.finding, severity)
        zones = list(_LOBE.finditer(report.text, sentence.start, sentence.end))
        if len(zones) == 1 and len(sentence.mentions) == 1:
            zone = zones[0]
            new = _OTHER_ZONE[zone[1].lower()]
            edit = Replace(zone.start(1), zone.end(1), like(zone[1], new))
            yield Alteration((edit,), mention.finding, severity)


def change_measurement(report: Report, rng: random.Random) -> Iterator[Alteration]:
    """ReXErr 6: another value or another unit, never both (R6)."""
    for sentence, mention in _true_mentions(report):
        if mention.finding not in _SIZED or len(sentence.mentions) != 1:
            continue
        for match in _SIZE.finditer(report.text, sentence.start, sentence.end):
            value, unit = match[1], match[2]
            other_unit = "cm" if unit == "mm" else "mm"
            larger = f"{float(value) * rng.choice((2, 3)):g}"
            start, end, new = rng.choice([(*match.span(1), larger), (*match.span(2), other_unit)])
            severity = 0.5 * catalogue_weight(mention.finding)
            yield Alteration((Replace(start, end, new),), mention.finding, severity)


def _changes_of(report: Report) -> Iterator[Alteration]:
    for sentence in report.sentences:
        named = [m for m in sentence.mentions if m.status == "asserted"]
        matches = list(report.matches(tables().changes, sentence))
        if len(matches) != 1 or len(named) != 1 or not catalogue_weight(named[0].finding):
            continue
        if finding_types()[named[0].finding].kind != "finding":
            continue
        match, new = matches[0]
        edit = Replace(match.start(), match.end(), like(match[0], new))
        yield Alteration((edit,), named[0].finding, 0.5 * catalogue_weight(named[0].finding))


def temporal_error(report: Report, rng: random.Random) -> Iterator[Alteration]:
    """A change over time reversed, or a comparison that the report does not make (R8)."""
    yield from _changes_of(report)
    if any(True for s in report.sentences for _ in report.matches(tables().changes, s)):
        return
    for sentence, mention in _true_mentions(report):
        device = finding_types()[mention.finding].kind != "finding"
        if len(sentence.mentions) == 1 and sentence.text.endswith(".") and not device:
            at = sentence.end - 1
            edit = Replace(at, at, rng.choice(tables().invented_changes))
            yield Alteration((edit,), mention.finding, 0.25 * catalogue_weight(mention.finding))
    if report.insertion_points():
        text = rng.choice(tables().invented_comparisons)
        yield Alteration((sentence_at(report.insertion_points()[-1], text),), None, 0.25)
