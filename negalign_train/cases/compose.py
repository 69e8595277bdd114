"""From findings to report sentences, in one of many phrasings."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from negalign_train.cases.grammar import DevicePhrases, FindingPhrases, grammar
from negalign_train.vocabulary.records import Finding

ReportSection = Literal["findings", "impression"]
_TAILS = ("", " is seen", " is noted", " is present")


@dataclass(frozen=True)
class Sentence:
    """One sentence of a report: its section, region and text (with its period)."""

    section: ReportSection
    region: str
    text: str


def capitalised(text: str) -> str:
    return text[:1].upper() + text[1:]


def with_article(phrase: str) -> str:
    return f"{'an' if phrase[0].lower() in 'aeiou' else 'a'} {phrase}"


def noun_phrase(finding: Finding, phrases: FindingPhrases, rng: random.Random) -> str:
    """The finding with its attributes: "new small left pleural effusion", "... at the base"."""
    tables = grammar()
    words = [rng.choice(phrases.noun_phrases)]
    after = ""
    if finding.side and finding.location:
        after = f" {tables.places[finding.location].phrase(finding.side)}"
    elif finding.side and rng.random() < 0.25:
        after = f" {tables.side_after[finding.side]}"
    elif finding.side:
        words.insert(0, finding.side)
    if finding.degree:
        assert phrases.degree_scale is not None
        words.insert(0, rng.choice(tables.degree_words[phrases.degree_scale][finding.degree]))
    if finding.change and rng.random() < 0.5:
        words.insert(0, rng.choice(tables.change_before[finding.change]))
    elif finding.change:
        after += f", {rng.choice(tables.change_after[finding.change])}"
    return " ".join(words) + after


def finding_sentence(finding: Finding, rng: random.Random, *, full: bool = True) -> str:
    """A sentence that asserts the finding; ``full=False`` gives the impression's short form."""
    phrases = grammar().findings[finding.name]
    phrase = noun_phrase(finding, phrases, rng)
    if not full:
        return capitalised(phrase) + "."
    countable = phrases.countable and finding.side != "bilateral"
    if rng.random() < 0.35:
        lead = "There are" if phrases.plural else "There is"
        return f"{lead} {with_article(phrase) if countable else phrase}."
    tail = rng.choice(_TAILS)
    if phrases.plural:
        tail = tail.replace(" is ", " are ")
    # After ", unchanged from the prior study" a verb would be wrong.
    return capitalised(phrase) + ("" if ", " in phrase else tail) + "."


def device_sentence(finding: Finding, rng: random.Random) -> str:
    """A sentence that reports a device, with its position where it has one."""
    tables = grammar()
    phrases: DevicePhrases = tables.devices[finding.name]
    noun = rng.choice(phrases.noun_phrases)
    subject = noun if phrases.plural else with_article(noun)
    if finding.location:
        position = rng.choice(phrases.positions[finding.location])
        return capitalised(f"{subject} {rng.choice(tables.device_verbs)} {position}.")
    verb = rng.choice(tables.device_verbs_fixed)
    return capitalised(f"{subject} {verb.replace('is', 'are', 1) if phrases.plural else verb}.")


def artefact_sentence(finding: Finding, rng: random.Random) -> str:
    text = rng.choice(grammar().artefacts[finding.name].sentences)
    return text.format(side=finding.side) if finding.side else text


def _sentence_of(finding: Finding, rng: random.Random) -> str:
    tables = grammar()
    if finding.name in tables.findings:
        return finding_sentence(finding, rng)
    if finding.name in tables.devices:
        return device_sentence(finding, rng)
    return artefact_sentence(finding, rng)


def compose(findings: Sequence[Finding], rng: random.Random) -> list[Sentence]:
    """All sentences of a right report on these present findings, in report order."""
    tables = grammar()
    sentences: list[Sentence] = []
    for region in tables.regions:
        here = [finding for finding in findings if tables.region_of(finding.name) == region]
        sentences += [Sentence("findings", region, _sentence_of(f, rng)) for f in here]
        names = {finding.name for finding in here}
        if region in tables.normals and (not here or region == "pleura"):
            fitting = [n for n in tables.normals[region] if not names & set(n.rules_out)]
            if fitting:
                sentences.append(Sentence("findings", region, rng.choice(fitting).text))
    acute = [f for f in findings if f.name in tables.findings and tables.findings[f.name].acute]
    for finding in acute:
        text = finding_sentence(finding, rng, full=False)
        sentences.append(Sentence("impression", tables.region_of(finding.name), text))
    if not acute:
        text = rng.choice(tables.impression_normals)
        sentences.append(Sentence("impression", "summary", text))
    return sentences


def join_report(sentences: Sequence[Sentence]) -> str:
    """``Findings: ... Impression: ...`` on one line."""
    parts = []
    for section in ("findings", "impression"):
        texts = [sentence.text for sentence in sentences if sentence.section == section]
        parts.append(" ".join([f"{capitalised(section)}:", *texts]))
    return " ".join(parts)
