"""A report judged alone: flags, and the severities that need no right report to be known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from negalign_train.severity.alone.flags import Flag, flags_of_text
from negalign_train.severity.alone.plausible import flags_of_plausibility
from negalign_train.severity.alone.prompt import flags_of_prompt
from negalign_train.severity.alone.wording import flags_of_wording
from negalign_train.severity.pricing.score import explain_unscorable
from negalign_train.severity.reading.context import NO_CONTEXT, CaseContext
from negalign_train.severity.reading.facts import extract_facts
from negalign_train.severity.version import scorer_version
from negalign_train.vocabulary.records import CATEGORIES, Prompt
from negalign_train.vocabulary.taxonomy import cap_severities

KNOWN_ALONE = ("contradictory_diagnosis", "report_integrity")
"""R3 and R9: what a report shows by itself. The other seven need the right report."""
_SOME_REPORT = "No pneumothorax."
"""Stands in for the reference where only the candidate's own readability is asked."""


@dataclass(frozen=True)
class AloneScore:
    """A report without a reference.

    ``severities``: R3 and R9 as numbers, the other seven None: unknown, which is not 0.
    """

    severities: Mapping[str, float | None]
    flags: tuple[Flag, ...]


@cache
def alone_version() -> str:
    """Twelve hex digits: a changed table is another scorer."""
    return scorer_version(__name__)


def explain_unscorable_alone(candidate: str) -> str | None:
    """Why a report cannot be read (a key of ``pricing.score.UNSCORABLE``); None if it can."""
    return explain_unscorable(_SOME_REPORT, candidate)


def asked_text(prompt: Prompt | None) -> str:
    """A prompt as text: of chat messages those of the user."""
    if prompt is None or isinstance(prompt, str):
        return prompt or ""
    return "\n".join(message["content"] for message in prompt if message["role"] == "user")


def score_alone(
    candidate: str, prompt: Prompt | None = None, context: CaseContext = NO_CONTEXT
) -> AloneScore | None:
    """Flags and severities of a report by itself and beside its prompt.

    None where it cannot be read; ``explain_unscorable_alone`` says why. Time is linear in the
    length of both texts.
    """
    if explain_unscorable_alone(candidate) is not None:
        return None
    facts = extract_facts(candidate)
    flags = [
        *flags_of_text(facts),
        *flags_of_wording(candidate),
        *flags_of_plausibility(candidate, facts),
        *flags_of_prompt(candidate, facts, asked_text(prompt), context),
    ]
    sums: dict[str, float] = {}
    for flag in flags:
        if flag.severity is not None:
            sums[flag.category] = sums.get(flag.category, 0.0) + flag.severity
    capped = cap_severities(sums)
    severities = {name: capped[name] if name in KNOWN_ALONE else None for name in CATEGORIES}
    return AloneScore(severities, tuple(flags))
