"""The synthetic grammar's tables, ``data/grammar.yaml``, as frozen records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from negalign_train.vocabulary.resources import data_path, read_table

_SIDES = {"l": "left", "r": "right", "b": "bilateral"}


@dataclass(frozen=True)
class FindingPhrases:
    """How one finding is said. ``places`` holds None where the side may stand alone."""

    name: str
    region: str
    noun_phrases: tuple[str, ...]
    countable: bool
    plural: bool
    degree_scale: str | None
    sides: tuple[str, ...]
    places: tuple[str | None, ...]
    odds: float
    acute: bool


@dataclass(frozen=True)
class DevicePhrases:
    """How one device is said; ``positions`` maps a canonical position to its phrases."""

    name: str
    noun_phrases: tuple[str, ...]
    plural: bool
    odds: float
    positions: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class ArtefactPhrases:
    """How one artefact is said, and the finding it is mistaken for."""

    name: str
    sided: bool
    mimics: str
    sentences: tuple[str, ...]


@dataclass(frozen=True)
class Place:
    """A place in the chest: "in the left base", "at both bases"."""

    name: str
    preposition: str
    plural: str | None
    only: str | None

    def phrase(self, side: str) -> str:
        """The place on one side, or on both."""
        if side == "bilateral":
            return f"{self.preposition.split()[0]} both {self.plural}"
        return f"{self.preposition} {side} {self.name}"


@dataclass(frozen=True)
class NormalSentence:
    """A sentence that rules findings out."""

    text: str
    rules_out: tuple[str, ...]


@dataclass(frozen=True)
class Grammar:
    """All tables. ``regions`` is the order of the report."""

    regions: tuple[str, ...]
    findings: Mapping[str, FindingPhrases]
    devices: Mapping[str, DevicePhrases]
    artefacts: Mapping[str, ArtefactPhrases]
    places: Mapping[str, Place]
    degree_words: Mapping[str, Mapping[str, tuple[str, ...]]]
    side_after: Mapping[str, str]
    change_before: Mapping[str, tuple[str, ...]]
    change_after: Mapping[str, tuple[str, ...]]
    normals: Mapping[str, tuple[NormalSentence, ...]]
    impression_normals: tuple[str, ...]
    device_verbs: tuple[str, ...]
    device_verbs_fixed: tuple[str, ...]
    indications: tuple[str, ...]

    def region_of(self, name: str) -> str:
        """The region in which a finding, device or artefact is reported."""
        if name in self.findings:
            return self.findings[name].region
        return "device" if name in self.devices else "artefact"

    def coded_name(self, name: str) -> str:
        """What the prompt calls it: the first noun phrase, or the id in words."""
        if name in self.findings:
            return self.findings[name].noun_phrases[0]
        if name in self.devices:
            return self.devices[name].noun_phrases[0]
        return name.replace("_", " ")


def _finding(name: str, entry: Mapping[str, Any]) -> FindingPhrases:
    return FindingPhrases(
        name=name,
        region=entry["region"],
        noun_phrases=tuple(entry["np"]),
        countable=entry.get("count", False),
        plural=entry.get("plural", False),
        degree_scale=entry.get("degree"),
        sides=tuple(_SIDES[letter] for letter in entry.get("sides", "")),
        places=tuple(entry.get("at", ())),
        odds=float(entry["odds"]),
        acute=entry["acute"],
    )


def _device(name: str, entry: Mapping[str, Any]) -> DevicePhrases:
    positions = {key: tuple(value) for key, value in entry.get("positions", {}).items()}
    return DevicePhrases(
        name, tuple(entry["np"]), entry.get("plural", False), float(entry["odds"]), positions
    )


@cache
def grammar() -> Grammar:
    """The tables, read once."""
    data = read_table(data_path("grammar.yaml"))
    return Grammar(
        regions=tuple(data["regions"]),
        findings={name: _finding(name, entry) for name, entry in data["findings"].items()},
        devices={name: _device(name, entry) for name, entry in data["devices"].items()},
        artefacts={
            name: ArtefactPhrases(name, e["sided"], e["mimics"], tuple(e["sentences"]))
            for name, e in data["artefacts"].items()
        },
        places={
            name: Place(name, e["preposition"], e["plural"], e.get("only"))
            for name, e in data["places"].items()
        },
        degree_words={
            scale: {degree: tuple(words) for degree, words in table.items()}
            for scale, table in data["degree_words"].items()
        },
        side_after={name: entry["after"] for name, entry in data["side_words"].items()},
        change_before={name: tuple(e["before"]) for name, e in data["change_words"].items()},
        change_after={name: tuple(e["after"]) for name, e in data["change_words"].items()},
        normals={
            region: tuple(NormalSentence(e["text"], tuple(e["rules_out"])) for e in entries)
            for region, entries in data["normals"].items()
        },
        impression_normals=tuple(data["impression_normals"]),
        device_verbs=tuple(data["device_verbs"]),
        device_verbs_fixed=tuple(data["device_verbs_fixed"]),
        indications=tuple(data["indications"]),
    )
