"""What the OpenI generator is trained on: the training groups' reports, and reports put together.

A thousand reports do not teach a model from scratch to look at its prompt: it writes the normal
template. So reports are also composed: the body of a report without observations, with sentences
that other training reports use for one observation, under a prompt that lists those observations.
Nothing is taken from feedback or evaluation cases.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from negalign_train.records import Case
from negalign_train.simulate.mesh_text import read_report

_OBSERVATIONS = "Observations: "
_MAX_OBSERVATIONS = 3


def observations(case: Case) -> list[str]:
    """The coded observations of a prompt; empty where it says none."""
    listed = str(case.prompt).split(_OBSERVATIONS)[1].rstrip(".")
    return [] if listed == "none" else listed.split("; ")


def sentence_bank(cases: Sequence[Case]) -> list[tuple[str, str]]:
    """(observation, sentence) of reports with one observation that one sentence asserts."""
    bank = []
    for case in cases:
        listed, names = observations(case), {finding.name for finding in case.findings}
        if len(listed) != 1 or len(names) != 1:
            continue
        (name,) = names
        said = [
            sentence.text
            for sentence in read_report(case.reference)
            if sentence.section == "findings" and sentence.says(name, "asserted")
        ]
        if len(said) == 1:
            bank.append((listed[0], said[0]))
    return bank


def composed_cases(cases: Sequence[Case], count: int, seed: int) -> list[Case]:
    """``count`` composed cases; the same arguments give the same ones."""
    rng = random.Random(seed)
    bank = sentence_bank(cases)
    normal = [
        case for case in cases if not observations(case) and " Impression: " in case.reference
    ]
    composed = []
    for index in range(count):
        body = rng.choice(normal)
        chosen = rng.sample(bank, rng.randint(1, _MAX_OBSERVATIONS))
        head, impression = body.reference.split(" Impression: ", 1)
        sentences = " ".join(sentence for _, sentence in chosen)
        prompt = str(body.prompt).split(_OBSERVATIONS)[0] + _OBSERVATIONS
        composed.append(
            replace(
                body,
                case_id=f"composed-{index}",
                prompt=prompt + "; ".join(observation for observation, _ in chosen) + ".",
                reference=f"Findings: {sentences} {head.removeprefix('Findings: ')} "
                f"Impression: {impression}",
            )
        )
    return composed
