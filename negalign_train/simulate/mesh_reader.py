"""What is wrong with a report on an OpenI case, by the MeSH codes of its study.

Independent of the severity scorer: sentences are read with ``data/mesh_reader.yaml``. Weights are
the catalogue's. Places and change over time (R8) are left out: the codes do not say them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from negalign_train.simulate.mesh_edit import mend_report
from negalign_train.simulate.mesh_text import (
    ReadSentence,
    degree_of,
    patterns,
    read_sentences,
    side_of,
)
from negalign_train.simulate.truth import Fault, reader_weight
from negalign_train.vocabulary.records import Case, Finding
from negalign_train.vocabulary.taxonomy import finding_types

_REPEATED, _UNUSABLE = 0.25, 0.5
_DEGREES = ("mild", "moderate", "severe")
_SIZE_WORDS = ("small", "tiny", "large", "massive", "trace")
_AS_SIZE = {"mild": "small", "moderate": "moderate", "severe": "large"}


def _integrity(sentences: Sequence[ReadSentence]) -> Iterator[Fault]:
    """R9: repetition, placeholders, a sentence that breaks off."""
    seen: set[tuple[str, str]] = set()
    for index, sentence in enumerate(sentences):
        span = (sentence.start, sentence.end)
        key = (sentence.section, sentence.text.lower().rstrip(".!? "))
        if "xxxx" in key[1] or not sentence.text.endswith((".", "!", "?")):
            yield Fault("report_integrity", None, _UNUSABLE, span, drop=(index,))
        elif key in seen:
            yield Fault("report_integrity", None, _REPEATED, span, drop=(index,))
        seen.add(key)


def _replaced(sentence: ReadSentence, span: tuple[int, int], word: str) -> str:
    old = sentence.text[span[0] : span[1]]
    if old.lower() in _SIZE_WORDS:
        word = _AS_SIZE[word]
    elif old.lower().endswith("ly") and word in _DEGREES:
        word += "ly"
    if old[:1].isupper():
        word = word.capitalize()
    return sentence.text[: span[0]] + word + sentence.text[span[1] :]


def _attributes(truth: Finding, index: int, sentence: ReadSentence) -> Iterator[Fault]:
    """R5 and R6 (R7 for a device) of one sentence that asserts a coded finding."""
    weight, where = reader_weight(truth.name), sentence.start
    is_device = finding_types()[truth.name].kind == "device"
    for mention in sentence.mentions:
        if mention.finding != truth.name or mention.status != "asserted":
            continue
        if mention.side and truth.side and truth.side != "bilateral":
            stated = side_of(sentence.text, mention.side)
            if stated != truth.side:
                yield Fault(
                    "device_error" if is_device else "wrong_location",
                    truth.name,
                    0.5 * weight,
                    (where + mention.side[0], where + mention.side[1]),
                    mended=(index, _replaced(sentence, mention.side, truth.side)),
                )
        if mention.degree and truth.degree:
            stated = degree_of(sentence.text, mention.degree)
            steps = abs(_DEGREES.index(stated) - _DEGREES.index(truth.degree))
            if steps:
                yield Fault(
                    "wrong_severity",
                    truth.name,
                    0.25 * steps * weight,
                    (where + mention.degree[0], where + mention.degree[1]),
                    mended=(index, _replaced(sentence, mention.degree, truth.degree)),
                )


def _places(sentences: Sequence[ReadSentence], name: str, status: str) -> list[int]:
    return [index for index, sentence in enumerate(sentences) if sentence.says(name, status)]


def _invented(
    name: str, coded: dict[str, Finding], sentences: Sequence[ReadSentence], indices: list[int]
) -> Fault:
    """R1, R4 where the sign is coded, R7 for a device: an asserted finding without its code."""
    first = sentences[indices[0]]
    span, drop = (first.start, first.end), tuple(indices)
    if any(sign in coded for sign in patterns().over_calls.get(name, ())):
        severity = 0.5 * reader_weight(name)
        return Fault("artifact_overinterpretation", name, severity, span, drop=drop)
    is_device = finding_types()[name].kind == "device"
    category = "device_error" if is_device else "false_positive"
    return Fault(category, name, reader_weight(name), span, drop=drop)


def _missing(
    truth: Finding, sentences: Sequence[ReadSentence], asserted: set[str]
) -> Iterator[Fault]:
    """R2 (R7 for a device): a coded finding that is denied or not mentioned at all."""
    name = truth.name
    stand_ins = {other for other, of in patterns().accepts.items() if name in of}
    if name in asserted or stand_ins & asserted or _places(sentences, name, "open"):
        return
    denials = _places(sentences, name, "denied")
    span = (sentences[denials[0]].start, sentences[denials[0]].end) if denials else None
    is_device = finding_types()[name].kind == "device"
    category = "device_error" if is_device else "false_negative"
    yield Fault(category, name, reader_weight(name), span, drop=tuple(denials), insert=True)


def code_faults(case: Case, completion: str) -> list[Fault]:
    """Every fault the codes show, in a fixed order: the text itself, invented, attributes,
    contradictions, missing."""
    sentences = read_sentences(completion)
    ignored = patterns().ignored
    coded = {f.name: f for f in case.findings if f.present and f.name not in ignored}
    asserted = {m.finding for s in sentences for m in s.mentions if m.status == "asserted"}
    faults = list(_integrity(sentences))
    for name in sorted(asserted):
        indices = _places(sentences, name, "asserted")
        accepted = patterns().accepts.get(name, frozenset())
        over_called = any(sign in coded for sign in patterns().over_calls.get(name, ()))
        if name in coded:
            for index in indices:
                faults += _attributes(coded[name], index, sentences[index])
            faults += _contradictions(name, sentences)
        elif over_called or not (accepted & set(coded) or finding_types()[name].weight == 0):
            faults.append(_invented(name, coded, sentences, indices))
    for truth in coded.values():
        faults += _missing(truth, sentences, asserted)
    return faults


def _contradictions(name: str, sentences: Sequence[ReadSentence]) -> Iterator[Fault]:
    """R3: sentences that deny a coded finding which the report asserts elsewhere."""
    for index in _places(sentences, name, "denied"):
        sentence = sentences[index]
        if not sentence.says(name, "asserted"):
            severity = max(0.25, 0.5 * reader_weight(name))
            span = (sentence.start, sentence.end)
            yield Fault("contradictory_diagnosis", name, severity, span, drop=(index,))


@dataclass(frozen=True)
class MeshTruth:
    """The ground truth of OpenI cases: their MeSH codes."""

    def faults(self, case: Case, completion: str) -> Sequence[Fault]:
        return code_faults(case, completion)

    def mend(self, case: Case, completion: str, faults: Sequence[Fault]) -> str:
        return mend_report(case, completion, faults) if faults else completion
