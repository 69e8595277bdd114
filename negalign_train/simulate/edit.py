"""The edit a radiologist would make: every right sentence kept, in the report's order."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import replace

from negalign_train.cases.compose import (
    ReportSection,
    Sentence,
    artefact_sentence,
    capitalised,
    device_sentence,
    finding_sentence,
    join_report,
)
from negalign_train.cases.grammar import grammar
from negalign_train.cases.parse import (
    GrammarStatement,
    ParsedSentence,
    parse_report,
    parse_sentence,
)
from negalign_train.simulate.truth import Fault, understood
from negalign_train.vocabulary.records import Case, Finding

_ARTICLE = re.compile(r"\b([Aa])n? (?=(\w))")


def _region_of(statement: GrammarStatement | None, previous: str) -> str:
    tables = grammar()
    if statement is None:
        return previous
    if statement.finding is not None:
        return tables.region_of(statement.finding.name)
    known = [tables.region_of(n) for n in statement.ruled_out if n in tables.findings]
    return known[0] if known else "summary"


def _fix_article(text: str) -> str:
    """ "a unchanged" -> "an unchanged"."""
    return _ARTICLE.sub(lambda m: f"{m[1]}{'n' if m[2].lower() in 'aeiou' else ''} ", text)


def _say(finding: Finding, section: ReportSection, rng: random.Random) -> str:
    tables = grammar()
    if finding.name in tables.findings:
        return finding_sentence(finding, rng, full=section == "findings")
    if finding.name in tables.devices:
        return device_sentence(finding, rng)
    return artefact_sentence(finding, rng)


def _words_for(finding: Finding, attribute: str, old: str) -> str | None:
    """The words that correct ``attribute`` in place of ``old``; None where no word does."""
    tables = grammar()
    if attribute == "degree" and finding.degree:
        scale = tables.findings[finding.name].degree_scale
        return tables.degree_words[scale][finding.degree][0] if scale else None
    if attribute == "change" and finding.change:
        before = any(old.lower() in words for words in tables.change_before.values())
        table = tables.change_before if before else tables.change_after
        return table[finding.change][0]
    if attribute in ("side", "location") and finding.name in tables.devices:
        return (
            tables.devices[finding.name].positions[finding.location][0]
            if finding.location
            else None
        )
    if attribute in ("side", "location") and finding.side:
        if finding.location:
            return tables.places[finding.location].phrase(finding.side)
        return finding.side if " " not in old else tables.side_after[finding.side]
    return None


def _restated(
    sentence: ParsedSentence, attributes: set[str], truth: Finding, rng: random.Random
) -> str:
    """The sentence with attributes corrected, in its own words where that can be done.

    Side and place are corrected together: one alone can name a place that does not exist.
    """
    statement = sentence.statement
    assert statement is not None  # only sentences that were understood are restated
    assert statement.finding is not None
    if attributes & {"side", "location"}:
        attributes = attributes | {"side", "location"}
    wanted = {name: getattr(truth, name) for name in attributes}
    target = replace(statement.finding, **wanted)
    text = sentence.text
    parts = [(span, name) for name, span in statement.parts.items() if name in attributes]
    for (start, end), name in sorted(parts, reverse=True):
        new = _words_for(target, name, text[start:end])
        if new is not None:
            text = text[:start] + new + text[end:]
    text = _fix_article(capitalised(text))
    parsed = parse_sentence(text)
    if parsed is not None and parsed.finding == target:
        return text
    return _say(target, sentence.section, rng)


def _apply(
    case: Case, sentences: list[ParsedSentence], faults: Sequence[Fault], rng: random.Random
) -> list[ParsedSentence | None]:
    """The sentences after striking and restating; None where one was struck."""
    truth = {finding.name: finding for finding in case.findings}
    left: list[ParsedSentence | None] = list(sentences)
    for fault in faults:
        if fault.mended is not None:
            index, text = fault.mended
            left[index] = replace(sentences[index], text=text, statement=parse_sentence(text))
    wrong: dict[tuple[int, str], set[str]] = {}
    for fault in faults:
        for index in fault.restate:
            assert fault.finding is not None
            assert fault.attribute is not None
            wrong.setdefault((index, fault.finding), set()).add(fault.attribute)
    for (index, name), attributes in wrong.items():
        current = left[index]
        assert current is not None  # striking comes last
        understood_now = understood([current])[0]
        text = _restated(understood_now, attributes, truth[name], rng)
        left[index] = replace(current, text=text, statement=parse_sentence(text))
    for fault in faults:
        for index in fault.drop:
            left[index] = None
    return left


def _insert(sentences: list[Sentence], sentence: Sentence) -> None:
    """Inserts a sentence behind the last one of its section whose region is not later."""
    order = [*grammar().regions, "summary"]
    rank = order.index(sentence.region)
    at = 0
    for index, other in enumerate(sentences):
        if other.section == sentence.section:
            if order.index(other.region) <= rank:
                at = index + 1
        elif other.section == "findings":
            at = index + 1
    sentences.insert(at, sentence)


def _fill_regions(
    case: Case, before: Sequence[Sentence], sentences: list[Sentence], rng: random.Random
) -> None:
    """A region whose only sentences were struck gets a normal sentence that fits the truth."""
    tables = grammar()
    present = {finding.name for finding in case.findings}
    for region in tables.normals:
        had = any(s.section == "findings" and s.region == region for s in before)
        has = any(s.section == "findings" and s.region == region for s in sentences)
        fitting = [n for n in tables.normals[region] if not present & set(n.rules_out)]
        if had and not has and fitting:
            _insert(sentences, Sentence("findings", region, rng.choice(fitting).text))


def mend(case: Case, completion: str, faults: Sequence[Fault]) -> str:
    """The completion with ``faults`` mended and everything else as it was.

    Deterministic: the same case, completion and faults give the same text.
    """
    if not faults:
        return completion
    tables = grammar()
    rng = random.Random(f"mend:{case.case_id}:{completion}")
    parsed = parse_report(completion)
    regions: list[str] = []
    for sentence in understood(parsed):
        regions.append(_region_of(sentence.statement, regions[-1] if regions else "lung"))
    before = [Sentence(s.section, r, s.text) for s, r in zip(parsed, regions, strict=True)]
    applied = _apply(case, parsed, faults, rng)
    sentences = [
        Sentence(s.section, region, s.text)
        for s, region in zip(applied, regions, strict=True)
        if s is not None
    ]
    truth = {finding.name: finding for finding in case.findings}
    for fault in faults:
        if fault.insert and fault.finding is not None:
            region = tables.region_of(fault.finding)
            _insert(
                sentences, Sentence("findings", region, _say(truth[fault.finding], "findings", rng))
            )
    _fill_regions(case, before, sentences, rng)
    _mend_impression(case, sentences, rng)
    return join_report(sentences)


def _mend_impression(case: Case, sentences: list[Sentence], rng: random.Random) -> None:
    """The impression names the acute findings the report asserts, or says that there are none."""
    tables = grammar()
    stated: dict[str, list[str]] = {"findings": [], "impression": []}
    for sentence in sentences:
        statement = parse_sentence(sentence.text)
        if statement is not None and statement.finding is not None:
            stated[sentence.section].append(statement.finding.name)
    truth = {finding.name: finding for finding in case.findings}
    for name in stated["findings"]:
        is_acute = name in tables.findings and tables.findings[name].acute
        if is_acute and name in truth and name not in stated["impression"]:
            text = _say(truth[name], "impression", rng)
            _insert(sentences, Sentence("impression", tables.region_of(name), text))
            stated["impression"].append(name)
    if not any(sentence.section == "impression" for sentence in sentences):
        text = rng.choice(tables.impression_normals)
        sentences.append(Sentence("impression", "summary", text))
