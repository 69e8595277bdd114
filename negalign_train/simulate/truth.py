"""What is wrong with a synthetic report, by the findings of its case.

Independent of the severity scorer: sentences are read by inverting the grammar, so that no scorer
is tested against itself. Weights are the catalogue's; an attribute error costs half of its
finding (CRIMSON's rule), a one-step degree error a quarter.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

from negalign_train.cases.grammar import grammar
from negalign_train.cases.parse import ALL_ACUTE, ParsedSentence, parse_report, parse_sentence
from negalign_train.vocabulary.records import Case, ErrorMark, Finding
from negalign_train.vocabulary.taxonomy import finding_types

MIN_WEIGHT = 0.1
"""Readers mark errors on benign findings too, at this weight."""
_DEGREES = ("mild", "moderate", "severe")
_OVER_CALLS = {
    "pneumonia": ("opacity", "consolidation", "atelectasis"),
    "consolidation": ("opacity", "atelectasis"),
    "mass": ("nodule", "opacity"),
}


@dataclass(frozen=True)
class Fault:
    """One error, and what mends it.

    ``drop``: indices of the sentences to strike. ``restate``: those to say with ``attribute``
    corrected. ``insert``: the finding is missing and must be said. ``mended``: the index of a
    misspelt sentence, and its right spelling.
    """

    category: str
    finding: str | None
    severity: float
    span: tuple[int, int] | None
    drop: tuple[int, ...] = ()
    restate: tuple[int, ...] = ()
    attribute: str | None = None
    insert: bool = False
    mended: tuple[int, str] | None = None

    def mark(self) -> ErrorMark:
        return ErrorMark(self.category, self.severity, self.span)


def reader_weight(name: str) -> float:
    return max(MIN_WEIGHT, finding_types()[name].weight)


@cache
def _vocabulary() -> list[str]:
    tables = grammar()
    texts = [n for p in tables.findings.values() for n in p.noun_phrases]
    texts += [
        n
        for p in tables.devices.values()
        for n in (*p.noun_phrases, *sum(p.positions.values(), ()))
    ]
    texts += [s for a in tables.artefacts.values() for s in a.sentences]
    texts += [n.text for normals in tables.normals.values() for n in normals]
    texts += [*tables.impression_normals, *tables.device_verbs]
    texts += [
        w
        for table in (tables.change_before, tables.change_after)
        for ws in table.values()
        for w in ws
    ]
    texts += [w for scale in tables.degree_words.values() for ws in scale.values() for w in ws]
    texts += [p.phrase("left") for p in tables.places.values()]
    return sorted({word.strip(".,").lower() for text in texts for word in text.split()})


def respelt(sentence: str) -> str | None:
    """The sentence with its one unknown word spelt right, if the grammar then understands it."""
    words = sentence.rstrip(".").split(" ")
    known = set(_vocabulary())
    for at, word in enumerate(words):
        bare = word.strip(",")
        if bare.lower() in known:
            continue
        for guess in difflib.get_close_matches(bare.lower(), _vocabulary(), n=2, cutoff=0.75):
            guess = guess.capitalize() if bare[:1].isupper() else guess
            mended = " ".join([*words[:at], word.replace(bare, guess), *words[at + 1 :]]) + "."
            if parse_sentence(mended) is not None:
                return mended
    return None


def _integrity(sentences: Sequence[ParsedSentence]) -> list[Fault]:
    """R9: sentences nobody could have meant, broken-off ends, one finding said twice."""
    faults = []
    said: set[tuple[str, str]] = set()
    for index, sentence in enumerate(sentences):
        span = (sentence.start, sentence.end)
        mended = respelt(sentence.text) if sentence.statement is None else None
        statement = parse_sentence(mended) if mended else sentence.statement
        key = (sentence.section, sentence.text)
        if statement is not None and statement.finding is not None:
            key = (sentence.section, statement.finding.name)
        if statement is None:
            faults.append(Fault("report_integrity", None, 0.5, span, drop=(index,)))
        elif key in said:
            faults.append(Fault("report_integrity", None, 0.25, span, drop=(index,)))
        elif mended is not None:
            faults.append(Fault("report_integrity", None, 0.25, span, mended=(index, mended)))
        said.add(key)
    return faults


def understood(sentences: Sequence[ParsedSentence]) -> list[ParsedSentence]:
    """The sentences with misspelt ones read as they were meant."""
    result = []
    for sentence in sentences:
        if sentence.statement is None and (mended := respelt(sentence.text)):
            statement = parse_sentence(mended)
            assert statement is not None  # respelt() returns only what parses
            # Offsets of parts belong to the mended text; the whole sentence is marked instead.
            sentence = replace(sentence, statement=replace(statement, parts={}))
        result.append(sentence)
    return result


def _attribute_faults(
    truth: Finding, indices: list[int], sentences: Sequence[ParsedSentence], has_prior: bool
) -> list[Fault]:
    """R5 to R8 on one finding that is rightly asserted, over all its sentences."""
    weight = reader_weight(truth.name)
    is_device = truth.name in grammar().devices
    faults: list[Fault] = []
    for attribute in ("side", "location", "degree", "change"):
        wanted = getattr(truth, attribute)
        wrong = []
        for index in indices:
            statement = sentences[index].statement
            assert statement is not None
            assert statement.finding is not None
            stated = getattr(statement.finding, attribute)
            needed = sentences[index].section == "findings" and stated is None
            if stated != wanted and (stated is not None or needed):
                wrong.append((index, stated))
        if not wrong:
            continue
        index, stated = wrong[0]
        span = _part_span(sentences[index], attribute)
        severity = 0.25 * weight
        if attribute == "degree" and stated and wanted:
            severity *= abs(_DEGREES.index(stated) - _DEGREES.index(wanted))
        elif stated is not None:
            severity = 0.5 * weight
        category = {"degree": "wrong_severity", "change": "temporal_error"}.get(
            attribute, "device_error" if is_device else "wrong_location"
        )
        restate = tuple(index for index, _ in wrong)
        faults.append(
            Fault(category, truth.name, severity, span, restate=restate, attribute=attribute)
        )
    return faults


def _part_span(sentence: ParsedSentence, attribute: str) -> tuple[int, int]:
    assert sentence.statement is not None
    parts = sentence.statement.parts
    part = parts.get(attribute) or (parts.get("location") if attribute == "side" else None)
    if part is None:
        return (sentence.start, sentence.end)
    return (sentence.start + part[0], sentence.start + part[1])


def _invented(name: str, truth: dict[str, Finding]) -> tuple[str, float, str | None]:
    """Category and severity of a finding that is not there, and the finding it over-reads."""
    tables = grammar()
    for artefact in tables.artefacts.values():
        if artefact.mimics == name and artefact.name in truth:
            return "artifact_overinterpretation", reader_weight(name), None
    for meant in _OVER_CALLS.get(name, ()):
        if meant in truth:
            return "artifact_overinterpretation", 0.5 * reader_weight(name), meant
    if name in tables.devices:
        return "device_error", max(0.5, reader_weight(name)), None
    return "false_positive", reader_weight(name), None


def grammar_faults(case: Case, completion: str) -> list[Fault]:
    """Every fault of a report against the case's findings, in a fixed order."""
    tables = grammar()
    sentences = parse_report(completion)
    faults = _integrity(sentences)
    sentences = understood(sentences)
    truth = {finding.name: finding for finding in case.findings if finding.present}
    asserted: dict[str, list[int]] = {}
    for index, sentence in enumerate(sentences):
        if sentence.statement and sentence.statement.finding:
            asserted.setdefault(sentence.statement.finding.name, []).append(index)
    covered = set(asserted)
    for name, indices in asserted.items():
        first = sentences[indices[0]]
        if name in truth:
            faults += _attribute_faults(truth[name], indices, sentences, case.has_prior)
            continue
        category, severity, meant = _invented(name, truth)
        insert = meant is not None and meant not in asserted
        faults.append(
            Fault(
                category,
                meant if insert else name,
                severity,
                (first.start, first.end),
                drop=tuple(indices),
                insert=insert,
            )
        )
        if meant is not None:
            covered.add(meant)
    acute = {n for n in truth if n in tables.findings and tables.findings[n].acute}
    denials: dict[str, list[int]] = {}
    for index, sentence in enumerate(sentences):
        ruled_out = sentence.statement.ruled_out if sentence.statement else ()
        for name in acute if ALL_ACUTE in ruled_out else set(ruled_out) & set(truth):
            denials.setdefault(name, []).append(index)
    faults += _contradictions(sentences, denials, set(asserted) & set(truth))
    for name in truth:
        if name in covered or name in tables.artefacts:
            continue
        category = "device_error" if name in tables.devices else "false_negative"
        severity = max(0.5, reader_weight(name)) if name in tables.devices else reader_weight(name)
        drop = tuple(denials.get(name, ()))
        span = (sentences[drop[0]].start, sentences[drop[0]].end) if drop else None
        faults.append(Fault(category, name, severity, span, drop=drop, insert=True))
    return faults


def _contradictions(
    sentences: Sequence[ParsedSentence], denials: dict[str, list[int]], asserted: set[str]
) -> list[Fault]:
    """R3: sentences that deny what the same report asserts; one fault per denying sentence."""
    worst: dict[int, str] = {}
    for name, indices in sorted(denials.items()):
        if name not in asserted:
            continue
        for index in indices:
            if index not in worst or reader_weight(name) > reader_weight(worst[index]):
                worst[index] = name
    return [
        Fault(
            "contradictory_diagnosis",
            name,
            max(0.25, 0.5 * reader_weight(name)),
            (sentences[index].start, sentences[index].end),
            drop=(index,),
        )
        for index, name in sorted(worst.items())
    ]
