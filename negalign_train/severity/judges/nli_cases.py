"""What an NLI judge asks of two reports, and what the answers cost. Pure: no model here.

The facts of one report say which hypotheses the other is tested against. The two reports' facts
are never compared: the model's answers alone decide.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations

from negalign_train.severity.reading.facts import extract_facts
from negalign_train.severity.reading.statements import STUDY, Statement
from negalign_train.severity.text.sentences import SentenceAt, sentences
from negalign_train.vocabulary.records import Evidence
from negalign_train.vocabulary.taxonomy import finding_types

Question = tuple[str, str]
"""(premise, hypothesis): what the first says, and what may follow from it."""
ATTRIBUTE = 0.5
"""Share of a finding's weight that a wrong attribute costs, and a contradiction within a report."""
UNKNOWN_WEIGHT = 0.25
"""What a contradicted sentence costs of which the lexicon knows nothing: minor."""
POSSIBLE = 0.5
"""Factor for a finding that is only called possible."""
MIN_DOUBT = 0.1
"""A probability of error below this counts as 0: a model never gives 0."""


@dataclass(frozen=True)
class Inference:
    """Probabilities of the three labels; they sum to 1."""

    entailment: float
    neutral: float
    contradiction: float


Answers = Mapping[Question, Inference]


@dataclass(frozen=True)
class ReadReport:
    """A report's sentences, each with its statements, and all of them as one premise."""

    premise: str
    sentences: tuple[tuple[SentenceAt, tuple[Statement, ...]], ...]


def read_report(text: str) -> ReadReport:
    """A report without its aside sections (indication, technique)."""
    statements = extract_facts(text).statements
    report_sentences = [sentence for sentence in sentences(text) if sentence.section != "aside"]
    rows = []
    for sentence in report_sentences:
        own = tuple(s for s in statements if sentence.start <= s.span[0] < sentence.end)
        rows.append((sentence, own))
    return ReadReport(" ".join(sentence.text for sentence in report_sentences), tuple(rows))


def presence(finding: str) -> str:
    return f"There is {finding.replace('_', ' ')}."


def possibility(finding: str) -> str:
    return f"There may be {finding.replace('_', ' ')}."


def attributes(statement: Statement) -> Iterator[tuple[str, str]]:
    """(category, hypothesis) of each attribute that a statement gives its finding."""
    name = statement.finding.replace("_", " ")
    is_device = finding_types()[statement.finding].kind == "device"
    place = "device_error" if is_device else "wrong_location"
    if statement.side:
        side = "both sides" if len(statement.side) > 1 else f"the {statement.side[0]}"
        yield place, f"The {name} is on {side}."
    for location in statement.location:
        yield place, f"The {name} is in the {location.replace('_', ' ')}."
    if statement.degree is not None and not is_device:
        yield "wrong_severity", f"The {name} is {statement.degree}."
    if statement.change is not None and not is_device:
        yield "temporal_error", f"The {name} is {statement.change}."


def _asserted(report: ReadReport) -> Iterator[tuple[SentenceAt, Statement]]:
    """Findings that a report asserts, the first statement of each."""
    seen: set[str] = set()
    for sentence, statements in report.sentences:
        for statement in statements:
            name = statement.finding
            if name == STUDY or not statement.present or name in seen:
                continue
            if finding_types()[name].kind != "artefact":
                seen.add(name)
                yield sentence, statement


def _rivals(report: ReadReport) -> Iterator[tuple[SentenceAt, SentenceAt, float]]:
    """Sentences of one report that speak of one finding, with its weight: they may exclude each
    other.
    """
    for (a, of_a), (b, of_b) in combinations(report.sentences, 2):
        shared = {s.finding for s in of_a} & {s.finding for s in of_b} - {STUDY}
        if shared and a.text != b.text:
            yield a, b, max(finding_types()[name].weight for name in shared)


def _unread(report: ReadReport) -> Iterator[SentenceAt]:
    """Sentences of which the lexicon knows nothing, and comparisons of the whole study."""
    for sentence, statements in report.sentences:
        if not statements or all(s.finding == STUDY for s in statements):
            yield sentence


def questions(reference: ReadReport, candidate: ReadReport) -> list[Question]:
    """All (premise, hypothesis) pairs that one judgement needs."""
    asked: list[Question] = []
    for _, statement in _asserted(candidate):
        asked.append((reference.premise, presence(statement.finding)))
        asked.append((reference.premise, possibility(statement.finding)))
        asked += [(reference.premise, text) for _, text in attributes(statement)]
    asked += [(candidate.premise, presence(s.finding)) for _, s in _asserted(reference)]
    asked += [(candidate.premise, possibility(s.finding)) for _, s in _asserted(reference)]
    asked += [(reference.premise, sentence.text) for sentence in _unread(candidate)]
    asked += [(candidate.premise, sentence.text) for sentence in _unread(reference)]
    asked += [(a.text, b.text) for a, b, _ in _rivals(candidate)]
    return list(dict.fromkeys(asked))


def _shown(probability: float) -> float:
    """A probability of error, 0 below ``MIN_DOUBT``."""
    return probability if probability >= MIN_DOUBT else 0.0


def _span(sentence: SentenceAt) -> tuple[int, int]:
    return sentence.start, sentence.end


def _said(
    sentence: SentenceAt, statement: Statement, premise: str, answers: Answers
) -> Iterator[Evidence]:
    """What one finding of the candidate costs: invented, over-called, or with a wrong attribute."""
    name, span = statement.finding, _span(sentence)
    entry = finding_types()[name]
    sure = answers[premise, presence(name)].entailment
    open_ = max(sure, answers[premise, possibility(name)].entailment)
    invented = "device_error" if entry.kind == "device" else "false_positive"
    doubt = 1.0 if statement.certain else POSSIBLE
    detail = f"entailed by the reference with probability {open_:.2f}"
    yield Evidence(invented, doubt * entry.weight * _shown(1 - open_), name, detail, span)
    if statement.certain:
        cost = ATTRIBUTE * entry.weight * _shown(open_ - sure)
        detail = f"certain with probability {sure:.2f}, possible with {open_:.2f}"
        yield Evidence("artifact_overinterpretation", cost, name, detail, span)
    for category, hypothesis in attributes(statement):
        entailed = answers[premise, hypothesis].entailment
        cost = ATTRIBUTE * entry.weight * _shown(open_ * (1 - entailed))
        detail = f"the attribute is entailed with probability {entailed:.2f}"
        yield Evidence(category, cost, name, detail, span)


def _missed(sentence: SentenceAt, statement: Statement, premise: str, answers: Answers) -> Evidence:
    """What one finding of the reference costs if the candidate does not entail it."""
    name = statement.finding
    entry = finding_types()[name]
    entailed = answers[premise, presence(name)].entailment
    if not statement.certain:
        entailed = max(entailed, answers[premise, possibility(name)].entailment)
    category = "device_error" if entry.kind == "device" else "false_negative"
    doubt = 1.0 if statement.certain else POSSIBLE
    detail = f"entailed by the candidate with probability {entailed:.2f}"
    cost = doubt * entry.weight * _shown(1 - entailed)
    return Evidence(category, cost, name, detail, None, _span(sentence))


def _contradicted(sentence: SentenceAt, premise: str, answers: Answers) -> tuple[float, str]:
    """Cost and detail of a sentence that is only known to be contradicted or not."""
    answer = answers[premise, sentence.text]
    cost = UNKNOWN_WEIGHT * _shown(answer.contradiction)
    return cost, f"contradicted with probability {answer.contradiction:.2f}"


def evidence_of(
    reference: ReadReport, candidate: ReadReport, answers: Answers
) -> tuple[Evidence, ...]:
    """Everything that costs, as the answers say; R9 is not asked for."""
    evidence: list[Evidence] = []
    for sentence, statement in _asserted(candidate):
        evidence += _said(sentence, statement, reference.premise, answers)
    for sentence, statement in _asserted(reference):
        evidence.append(_missed(sentence, statement, candidate.premise, answers))
    for sentence in _unread(candidate):
        cost, detail = _contradicted(sentence, reference.premise, answers)
        evidence.append(Evidence("false_positive", cost, None, detail, _span(sentence)))
    for sentence in _unread(reference):
        cost, detail = _contradicted(sentence, candidate.premise, answers)
        evidence.append(Evidence("false_negative", cost, None, detail, None, _span(sentence)))
    for a, b, weight in _rivals(candidate):
        against = answers[a.text, b.text].contradiction
        detail = f"contradicts another sentence with probability {against:.2f}"
        cost = ATTRIBUTE * weight * _shown(against)
        rival = Evidence("contradictory_diagnosis", cost, None, detail, _span(a), None, _span(b))
        evidence.append(rival)
    return tuple(item for item in evidence if item.severity > 0)
