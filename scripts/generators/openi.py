"""What the OpenI generator is trained on: the training groups' reports, and reports put together.

A thousand reports do not teach a model from scratch to look at its prompt: it writes the normal
template. So reports are also composed: the body of a report without observations, with sentences
that other training reports use for single observations, under a prompt that lists those
observations. Body sentences that deny an added finding are left out. Nothing is taken from
feedback or evaluation cases.

Composed reports are written carelessly, as the embedded generator's are (``simulate/habits.py``):
most over-call what often goes with a finding. Without a habit there is little that the hundred-odd
pairs of one cycle could teach a model of this size.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from negalign_train.cases.catalogue import finding_of
from negalign_train.simulate.mesh_text import ReadSentence, read_sentences
from negalign_train.vocabulary.records import Case

_OBSERVATIONS = "Observations: "
_MOST = 8
_CARELESS = 0.75
"""How often the habit shows where it can: above one half, or greedy decoding would hide it."""
_OVER_CALLS = {
    "hypoinflation": "atelectasis",
    "cardiomegaly": "vascular_congestion",
    "atelectasis": "pleural_effusion",
    "emphysema": "flattened_diaphragm",
    "opacity": "pneumonia",
    "granuloma": "nodule",
    "tortuous_aorta": "wide_mediastinum",
    "scarring": "volume_loss",
}
"""Finding that is there, and the one that the careless writer sees beside it."""
_OTHER_SIDE = {"left": "right", "right": "left", "Left": "Right", "Right": "Left"}
_SIDE = re.compile(r"\b(?:left|right)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Phrase:
    """Observations as prompts give them, the findings they code, and one sentence on them all."""

    observations: tuple[str, ...]
    findings: frozenset[str]
    sentence: str


def observations(case: Case) -> list[str]:
    """The coded observations of a prompt; empty where it says none."""
    listed = str(case.prompt).split(_OBSERVATIONS)[1].rstrip(".")
    return [] if listed == "none" else listed.split("; ")


def coded_findings(case: Case) -> dict[str, str]:
    """Observation to finding, where it is certain: read back from the words, or the only one left.

    The words of a prompt do not always give the code back ("interstitial lung diseases").
    """
    names = {finding.name for finding in case.findings}
    coded = {}
    unknown = []
    for observation in observations(case):
        finding = finding_of(observation.replace(", ", "/"))
        if finding is not None and finding.name in names:
            coded[observation] = finding.name
        else:
            unknown.append(observation)
    left = names - set(coded.values())
    if len(unknown) == 1 and len(left) == 1:
        coded[unknown[0]] = left.pop()
    return coded


def _sides(text: str) -> set[str]:
    return {side.lower() for side in _SIDE.findall(text)}


def _other_side(text: str) -> str:
    return _SIDE.sub(lambda match: _OTHER_SIDE.get(match[0], match[0]), text)


def _said(sentence: ReadSentence) -> frozenset[str]:
    """The findings a sentence asserts or holds possible."""
    return frozenset(m.finding for m in sentence.mentions if m.status != "denied")


def _phrases_of(case: Case) -> Iterator[Phrase]:
    coded = coded_findings(case)
    names = list(coded.values())
    by_name = {name: key for key, name in coded.items() if names.count(name) == 1}
    for sentence in read_sentences(case.reference):
        said = _said(sentence)
        if not said or not said <= set(by_name):
            continue
        coded_as = tuple(key for key, name in coded.items() if name in said)
        if _sides(sentence.text) == _sides(" ".join(coded_as)):
            yield Phrase(coded_as, said, sentence.text)
            if _sides(sentence.text):
                mirrored = tuple(_other_side(key) for key in coded_as)
                yield Phrase(mirrored, said, _other_side(sentence.text))


def phrases(cases: Sequence[Case]) -> dict[str, list[Phrase]]:
    """By finding: the sentences of reports that say an observation, or several, and nothing else.

    Where sides are named, the mirror image too: sides have to be copied, not remembered.
    """
    bank: dict[str, list[Phrase]] = {}
    for case in cases:
        for phrase in _phrases_of(case):
            for name in sorted(phrase.findings):
                bank.setdefault(name, []).append(phrase)
    return bank


def _chosen(
    bank: dict[str, list[Phrase]], wanted: int, frequency: list[float], rng: random.Random
) -> list[Phrase]:
    """Phrases of ``wanted`` observations or a few more, no finding twice."""
    chosen: list[Phrase] = []
    covered: set[str] = set()
    while len(covered) < wanted:
        name = rng.choices(list(bank), frequency)[0]
        phrase = rng.choice(bank[name])
        if not phrase.findings & covered:
            chosen.append(phrase)
            covered |= phrase.findings
    return chosen


def _careless(
    chosen: Sequence[Phrase], bank: dict[str, list[Phrase]], rng: random.Random
) -> list[Phrase]:
    """What the careless writer says where the chosen phrases should stand."""
    written = list(chosen)
    covered = frozenset[str]().union(*(phrase.findings for phrase in chosen))
    for name, over_called in _OVER_CALLS.items():
        alone = [p for p in bank.get(over_called, ()) if p.findings == {over_called}]
        if name in covered and over_called not in covered and alone and rng.random() < _CARELESS:
            written.append(rng.choice(alone))
    return written


def _without_denials(body: Case, names: set[str], section: str) -> list[str]:
    return [
        sentence.text
        for sentence in read_sentences(body.reference)
        if sentence.section == section
        and not any(m.finding in names and m.status == "denied" for m in sentence.mentions)
    ]


def composed_cases(cases: Sequence[Case], count: int, seed: int) -> list[Case]:
    """``count`` composed cases with as many observations as real ones have; the same arguments
    give the same cases."""
    rng = random.Random(seed)
    bank = phrases(cases)
    # The square root of a finding's frequency: rare ones have to be learned too.
    frequency = [len(bank[name]) ** 0.5 for name in bank]
    numbers = [min(_MOST, len(observations(case))) for case in cases if observations(case)]
    normal = [case for case in cases if not observations(case)]
    composed = []
    for index in range(count):
        body = rng.choice(normal)
        chosen = _chosen(bank, rng.choice(numbers), frequency, rng)
        written = _careless(chosen, bank, rng)
        names = set().union(*(phrase.findings for phrase in written))
        said = [phrase.sentence for phrase in written]
        findings = [*said, *_without_denials(body, names, "findings")]
        impression = _without_denials(body, names, "impression") or said[:2]
        listed = "; ".join(code for phrase in chosen for code in phrase.observations)
        composed.append(
            replace(
                body,
                case_id=f"composed-{index}",
                prompt=f"{str(body.prompt).split(_OBSERVATIONS)[0]}{_OBSERVATIONS}{listed}.",
                reference=f"Findings: {' '.join(findings)} Impression: {' '.join(impression)}",
            )
        )
    return composed
