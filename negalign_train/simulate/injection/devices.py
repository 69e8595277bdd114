"""Errors about lines and tubes (R7): added, misnamed, misplaced."""

from __future__ import annotations

import random
from collections.abc import Iterator

from negalign_train.simulate.injection.findings import catalogue_weight
from negalign_train.simulate.injection.tables import (
    Alteration,
    Replace,
    Report,
    Rewrites,
    like,
    sentence_at,
    some_place,
    tables,
)
from negalign_train.vocabulary.taxonomy import finding_types


def add_device(report: Report, rng: random.Random) -> Iterator[Alteration]:
    """ReXErr 0: a device that is not there."""
    place = some_place(report, rng)
    if place is None:
        return
    for name, sentences in tables().devices.items():
        if not report.says(name) and not (report.true_findings and name in report.true_findings):
            edit = sentence_at(place, rng.choice(sentences))
            yield Alteration((edit,), name, catalogue_weight(name))


def _rewritten(report: Report, rewrites: Rewrites, share: float) -> Iterator[Alteration]:
    """One rewrite in every sentence that asserts a device of weight."""
    for sentence in report.sentences:
        devices = [
            m.finding
            for m in sentence.mentions
            if m.status == "asserted" and finding_types()[m.finding].kind == "device"
        ]
        matches = list(report.matches(rewrites, sentence))
        if not devices or not matches or not catalogue_weight(devices[0]):
            continue
        match, new = matches[0]
        edit = Replace(match.start(), match.end(), like(match[0], new))
        yield Alteration((edit,), devices[0], share * catalogue_weight(devices[0]))


def change_device_name(report: Report, rng: random.Random) -> Iterator[Alteration]:
    """ReXErr 1: another device's name."""
    yield from _rewritten(report, tables().device_names, 1.0)


def change_device_position(report: Report, rng: random.Random) -> Iterator[Alteration]:
    """ReXErr 2: another position of its tip."""
    yield from _rewritten(report, tables().device_positions, 0.5)
