"""Flags of a report against its own prompt: observations, side, device, prior study, age, sex."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from negalign_train.severity.alone.flags import Flag, Span
from negalign_train.severity.alone.tables import flat, plausibility
from negalign_train.severity.pricing.score import score_report
from negalign_train.severity.reading.context import CaseContext, age_of
from negalign_train.severity.reading.facts import ReportFacts, extract_facts
from negalign_train.severity.reading.mentions import Mention, mentions_of
from negalign_train.vocabulary.taxonomy import finding_types

_OBSERVED = ("observations", "findings")
_ASKED = (
    "indication", "history", "clinical history", "clinical information", "reason for exam",
    "reason for study", "reason for examination",
)  # fmt: skip
_OTHERS = ("comparison", "technique", "age", "sex", "gender", "task", "examination")
_HEADING = re.compile(rf"\b({'|'.join((*_OBSERVED, *_ASKED, *_OTHERS))})[ \t]*:", re.IGNORECASE)
_GENERAL = ("other_device", "other_abnormality")
"""What no phrase names closer ("medical device"): any device or finding answers it."""
_NO_PRIOR = re.compile(
    r"\s*(?:none\b|no (?:prior|previous|comparison|earlier)|not available|unavailable|n/a|nil)",
    re.IGNORECASE,
)
_STUDIES = "(?: (?:study|studies|exams?|examinations?|films?|radiographs?|images?|imaging))?"
_SAYS_NO_PRIOR = re.compile(
    rf"\bno (?:prior|previous|earlier|comparison){_STUDIES}(?: (?:is|are|was|were))?"
    r" (?:available|for comparison)"
    r"|\bcomparison[ \t]*:[ \t]*(?:none|not available|no prior)",
    re.IGNORECASE,
)
_MOVED = "increased|decreased|improved|worsened|progressed|resolved"
_COMPARES = re.compile(
    r"\b(?:since|compared (?:to|with)|comparison (?:to|with)|from|than on) (?:the |a |that of )?"
    r"(?:prior|previous|last|most recent|earlier|old|outside)\b"
    rf"|\b(?:has|have) (?:{_MOVED}) (?:since|from|in the interval)\b",
    re.IGNORECASE,
)
_AGE_TOLERANCE_YEARS = 1.0


@dataclass(frozen=True)
class PromptParts:
    """A prompt by its parts. ``observed`` and ``asked`` are as long as the prompt, with all else
    blank, so that places in them are places in the prompt.
    """

    observed: str
    asked: str
    no_prior: Span | None


def prompt_parts(prompt: str) -> PromptParts:
    """The parts of a prompt; without any heading all of it is the reason for the study."""
    heads = list(_HEADING.finditer(prompt))
    if not heads:
        return PromptParts("", prompt, None)
    observed, asked = [" "] * len(prompt), [" "] * len(prompt)
    no_prior = None
    ends = [*[head.start() for head in heads[1:]], len(prompt)]
    for head, end in zip(heads, ends, strict=True):
        name, start = head[1].lower(), head.end()
        if name in _OBSERVED:
            # A list of codes, "opacity, lung, left; cardiomegaly": a sentence each.
            observed[start:end] = prompt[start:end].replace(";", ".")
        elif name in _ASKED:
            asked[start:end] = prompt[start:end]
        elif name == "comparison" and _NO_PRIOR.match(prompt, start, end):
            no_prior = (head.start(), end)
    return PromptParts("".join(observed), "".join(asked), no_prior)


def flags_of_prompt(
    report: str, facts: ReportFacts, prompt: str, context: CaseContext
) -> Iterator[Flag]:
    """What in the report cannot be, if its prompt is right."""
    parts = prompt_parts(prompt)
    if parts.observed.strip():
        yield from _observations(report, facts, parts.observed)
    asked = parts.asked if parts.asked.strip() else (context.indication or "")
    place_known = bool(parts.asked.strip())
    yield from _indication(facts, asked, place_known)
    yield from _invented_comparison(report, parts.no_prior)
    yield from _patient(report, facts, prompt, context)


def _observations(report: str, facts: ReportFacts, observed: str) -> Iterator[Flag]:
    """What the report leaves out, denies or moves of what the prompt lists."""
    score = score_report(observed, report)
    if score is None:
        return
    listed, said = mentions_of(extract_facts(observed)), mentions_of(facts)
    # The scorer knows which other names may stand for a finding; what it misses is missed.
    missed = {
        item.finding: item
        for item in score.evidence
        if item.category in ("false_negative", "device_error") and item.severity > 0
    }
    # "No acute abnormality" denies none of them: what is old or mild is no acute one.
    spoken_of = {s.finding for s in facts.statements if not s.only_marked}
    for name in listed.asserted:
        at = listed[name].span
        if name in _GENERAL and any(_kind(other) == _kind(name) for other in said.asserted):
            continue
        if name in missed and name not in spoken_of:
            detail = "listed in the prompt, not in the report"
            category = missed[name].category
            yield Flag("prompt_unanswered", category, None, name, detail, None, None, at)
        elif name in spoken_of:
            against = _against(listed[name], said[name], denials=name in missed)
            if against is not None:
                category, detail = against[0], f"{against[1]} (against the prompt)"
                span = said[name].span
                yield Flag("prompt_contradicted", category, None, name, detail, span, None, at)


def _kind(name: str) -> str | None:
    return finding_types()[name].kind if name in finding_types() else None


def _indication(facts: ReportFacts, asked: str, place_known: bool) -> Iterator[Flag]:
    """Sides and devices that the indication states; what it only asks about states nothing."""
    if not asked.strip():
        return
    stated, said = mentions_of(extract_facts(asked)), mentions_of(facts)
    for name in stated.asserted:
        if name not in said or name not in finding_types() or not stated[name].certain:
            continue
        is_device = finding_types()[name].kind == "device"
        against = _against(stated[name], said[name], denials=is_device)
        if against is not None:
            span = stated[name].span if place_known else None
            category, detail = against[0], f"{against[1]} (against the indication)"
            yield Flag(
                "prompt_contradicted", category, None, name, detail, said[name].span, None, span
            )


def _against(stated: Mention, said: Mention, denials: bool) -> tuple[str, str] | None:
    """Category and words of what a report says against a stated finding; ``denials``: whether a
    denial counts.
    """
    if said.present and stated.side and said.side and not stated.side & said.side:
        return "wrong_location", "another side"
    if denials and not said.present:
        is_device = finding_types()[stated.finding].kind == "device"
        return ("device_error" if is_device else "false_negative"), "denied"
    return None


def _invented_comparison(report: str, no_prior: Span | None) -> Iterator[Flag]:
    """A comparison where prompt or report say that there is nothing to compare with."""
    text = flat(report)
    own = _SAYS_NO_PRIOR.search(text)
    if no_prior is None and own is None:
        return
    for match in _COMPARES.finditer(text):
        if own is not None and own.start() <= match.start() < own.end():
            continue
        kind = "self_contradiction" if own is not None else "prompt_contradicted"
        detail = "compared with a prior study, and there is none"
        conflict = own.span() if own is not None else None
        yield Flag(
            kind, "temporal_error", None, None, detail, match.span(), conflict,
            no_prior if own is None else None,
        )  # fmt: skip
        return


def _sex_of(text: str) -> tuple[str, Span] | None:
    """The one sex that a text names; None where it names none, or both."""
    lower = flat(text)
    matches = {sex: pattern.search(lower) for sex, pattern in plausibility().sex.items()}
    named = [(sex, match.span()) for sex, match in matches.items() if match is not None]
    return named[0] if len(named) == 1 else None


def _patient(report: str, facts: ReportFacts, prompt: str, context: CaseContext) -> Iterator[Flag]:
    """Age and sex: stated otherwise in the report, or not possible for what it says."""
    text = prompt or context.indication or ""
    stated_age = age_of(text)
    age = context.age if context.age is not None else (stated_age[0] if stated_age else None)
    age_span = stated_age[1] if stated_age and prompt else None
    sex = _sex_of(text)
    sex_span = sex[1] if sex and prompt else None
    lower = flat(report)

    def flag(detail: str, category: str, finding: str | None, span: Span, at: Span | None) -> Flag:
        return Flag("prompt_contradicted", category, None, finding, detail, span, None, at)

    own_age, own_sex = age_of(report), _sex_of(report)
    if age is not None and own_age is not None and abs(own_age[0] - age) > _AGE_TOLERANCE_YEARS:
        yield flag("another age", "report_integrity", None, own_age[1], age_span)
    if sex is not None and own_sex is not None and own_sex[0] != sex[0]:
        yield flag("another sex", "report_integrity", None, own_sex[1], sex_span)
    if sex is not None:
        other = next(name for name in plausibility().of_one_sex if name != sex[0])
        for match in plausibility().of_one_sex[other].finditer(lower):
            detail = f"not in a {sex[0]} patient"
            yield flag(detail, "false_positive", None, match.span(), sex_span)
    if age is None:
        return
    for years, phrase in plausibility().not_after:
        young = phrase.search(lower)
        if age > years and young is not None:
            detail = f"not at {age:g} years"
            yield flag(detail, "false_positive", None, young.span(), age_span)
    for statement in facts.statements:
        least = plausibility().not_before.get(statement.finding, 0.0)
        if statement.present and statement.certain and age < least:
            detail = f"not at {age:g} years"
            yield flag(detail, "false_positive", statement.finding, statement.span, age_span)
