"""The edit of the simulated OpenI reader: right sentences stay, in order; the rest is mended."""

from __future__ import annotations

from collections.abc import Sequence

from negalign_train.simulate.mesh_text import ReadSentence, patterns, read_sentences
from negalign_train.simulate.truth import Fault
from negalign_train.vocabulary.records import Case, Finding

_NO_ACUTE = "No acute cardiopulmonary abnormality."
_Line = tuple[str, str]
"""(section, sentence)."""


def _plain_sentence(truth: Finding) -> str:
    """For a coded finding that the reference nowhere says: "Mild left scarring." """
    words = [truth.degree, truth.side, truth.name.replace("_", " ")]
    text = " ".join(word for word in words if word)
    return text[0].upper() + text[1:] + "."


def _is_right(sentence: ReadSentence, coded: set[str]) -> bool:
    """Whether a sentence of the reference asserts only what is coded and denies nothing coded."""
    accepts = patterns().accepts
    for mention in sentence.mentions:
        covered = mention.finding in coded or bool(
            accepts.get(mention.finding, frozenset()) & coded
        )
        if mention.status == "asserted" and not covered:
            return False
        if mention.status == "denied" and mention.finding in coded:
            return False
    return True


def _own_words(
    truth: Finding, reference: Sequence[ReadSentence], coded: set[str]
) -> tuple[int, ReadSentence] | None:
    """The reference's sentence on a finding, findings section first, and its number there."""
    for status in ("asserted", "open"):
        for section in ("findings", "impression"):
            for index, sentence in enumerate(reference):
                says_it = sentence.section == section and sentence.says(truth.name, status)
                if says_it and _is_right(sentence, coded):
                    return index, sentence
    return None


def _rank(text: str, reference: Sequence[ReadSentence]) -> int | None:
    """Where a sentence stands in the reference: the same words, else the first on its finding."""
    mentions = {m.finding for s in read_sentences(text) for m in s.mentions}
    same = [i for i, s in enumerate(reference) if s.text.lower() == text.lower()]
    if same:
        return same[0]
    shared = [i for i, s in enumerate(reference) if mentions & {m.finding for m in s.mentions}]
    return shared[0] if shared else None


def _insert(
    lines: list[_Line], section: str, text: str, rank: int, reference: Sequence[ReadSentence]
) -> None:
    """Inserts a sentence behind the last one of its section that comes earlier in the reference."""
    at = 0
    first_of_section = True
    for index, (other_section, other) in enumerate(lines):
        if other_section != section:
            at = index + 1 if section == "impression" and first_of_section else at
            continue
        if first_of_section:
            at, first_of_section = index, False
        other_rank = _rank(other, reference)
        if other_rank is not None and other_rank < rank:
            at = index + 1
    lines.insert(at, (section, text))


def _kept(sentences: Sequence[ReadSentence], faults: Sequence[Fault]) -> list[_Line]:
    """The sentences after striking and respelling."""
    struck = {index for fault in faults for index in fault.drop}
    mended = {fault.mended[0]: fault.mended[1] for fault in faults if fault.mended is not None}
    return [
        (sentence.section, mended.get(index, sentence.text))
        for index, sentence in enumerate(sentences)
        if index not in struck
    ]


def mend_report(case: Case, completion: str, faults: Sequence[Fault]) -> str:
    """The completion with ``faults`` mended, as ``Findings: ... Impression: ...`` on one line.

    A missing finding gets the reference report's sentence, at its place in the reference. Where the
    reference has none, it gets a plain sentence at the end of the findings.
    """
    reference = read_sentences(case.reference)
    coded = {f.name: f for f in case.findings if f.present}
    lines = _kept(read_sentences(completion), faults)
    for fault in faults:
        if not fault.insert or fault.finding is None:
            continue
        own = _own_words(coded[fault.finding], reference, set(coded))
        if own is None:
            text, rank, section = _plain_sentence(coded[fault.finding]), len(reference), "findings"
        else:
            rank, sentence = own
            text, section = sentence.text, sentence.section
        if (section, text) not in lines:
            _insert(lines, section, text, rank, reference)
    _fill_empty(lines, reference, set(coded))
    parts = []
    for section in ("findings", "impression"):
        texts = [text for other, text in lines if other == section]
        parts.append(" ".join([f"{section.capitalize()}:", *texts]))
    return " ".join(parts)


def _fill_empty(lines: list[_Line], reference: Sequence[ReadSentence], coded: set[str]) -> None:
    """A section that lost all its sentences gets the reference's right ones, or a plain summary."""
    for section in ("findings", "impression"):
        if any(other == section for other, _ in lines):
            continue
        own = [s.text for s in reference if s.section == section and _is_right(s, coded)]
        texts = own or [_NO_ACUTE if section == "impression" else "The examination is limited."]
        at = 0 if section == "findings" else len(lines)
        lines[at:at] = [(section, text) for text in dict.fromkeys(texts)]
