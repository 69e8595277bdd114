"""Errors that a model makes on request: the question, and what of its answer can be used.

The answer is checked by what needs no trust in the model: it differs, it is a report, it is mostly
the report it was given, and the rules either see an error of the category asked for or do not.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from negalign_train.generation.reports import Generated
from negalign_train.severity.alone.tables import flat, plausibility
from negalign_train.severity.pricing.score import explain_unscorable, score_report
from negalign_train.vocabulary.errors import DataError
from negalign_train.vocabulary.records import CATEGORIES, Evidence
from negalign_train.vocabulary.resources import data_path, read_table
from negalign_train.vocabulary.special_tokens import holds_special_token
from negalign_train.vocabulary.taxonomy import Category

Verification = Literal["verified", "unverified"]

ELICITATION_REFUSALS: Mapping[str, str] = {
    "unusable_report": "the rules cannot score the report itself",
    "model_no_answer": "the server did not answer, or refused",
    "model_too_long": "the question does not fit the model",
    "model_truncated": "the answer ran to its longest without an end",
    "model_control_token": "the answer holds a control token of a chat template",
    "model_empty": "the answer is empty",
    "model_unchanged": "the answer is the report itself",
    "model_chatter": "the answer talks about its task",
    "model_no_report": "the answer is no readable report of a chest radiograph",
    "model_rewritten": "the answer keeps less than half of the report's words, or adds as many",
    "model_unverified": "the rules see no error of the category asked for",
}
"""Why an answer gives no line."""
_MIN_KEPT = 0.5
_FENCE = re.compile(r"\A```\w*\n(.*)\n```\Z", re.DOTALL)
_MARK = re.compile(r"</?report-[0-9a-f]{1,64}>")
_WORD = re.compile(r"[a-z0-9]+")


@dataclass(frozen=True)
class Elicited:
    """A report with an error that a model made.

    ``severities``: by category name, what the rules charge it beyond the right report. Verified:
    the category asked for is among them, and ``evidence`` is its. Unverified: the rules see none
    there, which says nothing about whether there is one.
    """

    text: str
    category: str
    verification: Verification
    severities: Mapping[str, float]
    evidence: tuple[Evidence, ...]


@cache
def _prompt_table() -> dict[str, Any]:
    path = data_path("elicit_prompt.yaml")
    table: dict[str, Any] = read_table(path)
    if set(table["hints"]) != set(CATEGORIES):
        raise DataError(f"{path}: hints must be given for the nine categories; correct the names")
    return table


def elicitation_prompt(report: str, category: Category, nonce: str) -> str:
    """The question for one error of one category. ``nonce``: a number that the report lacks."""
    table = _prompt_table()
    values = {
        "label": category.name.replace("_", " "),
        "definition": category.definition,
        "hint": str(table["hints"][category.name]),
        "nonce": nonce,
        "report": report.strip(),
    }
    # Filled in one pass: a report that says {hint} stays as it is.
    return re.sub(
        "|".join(f"{{{name}}}" for name in values),
        lambda match: values[match[0][1:-1]],
        str(table["prompt"]),
    ).strip()


def read_elicited(report: str, category: str, answer: Generated) -> Elicited | str:
    """The erroneous report of an answer, or the key of ``ELICITATION_REFUSALS`` why there is none.

    ``report`` must be scorable.
    """
    text = _without_wrapping(answer.text)
    refusal = _refusal(report, text, answer.truncated)
    if refusal is not None:
        return refusal
    score, own = score_report(report, text), score_report(report, report)
    assert score is not None
    assert own is not None
    severities = {
        name: value if value > own.severities[name] + 1e-9 else 0.0
        for name, value in score.severities.items()
    }
    verified = severities[category] > 0
    evidence = tuple(item for item in score.evidence if item.category == category and verified)
    return Elicited(text, category, "verified" if verified else "unverified", severities, evidence)


def _without_wrapping(text: str) -> str:
    """The answer without the marks of the question, a code fence, or quotes around all of it."""
    text = _MARK.sub("", text).strip()
    if match := _FENCE.match(text):
        text = match[1].strip()
    if len(text) > 1 and text[0] == text[-1] == '"' and '"' not in text[1:-1]:
        text = text[1:-1].strip()
    return text


def _refusal(report: str, text: str, truncated: bool) -> str | None:
    if truncated:
        return "model_truncated"
    if holds_special_token(text):
        return "model_control_token"
    if not text:
        return "model_empty"
    if _words(text) == _words(report):
        return "model_unchanged"
    if plausibility().chatter.search(flat(text)):
        return "model_chatter"
    if not _keeps(report, text):
        return "model_rewritten"
    if explain_unscorable(report, text) is not None:
        return "model_no_report"
    return None


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _keeps(report: str, text: str) -> bool:
    """Whether half of either text's words are those of the other one."""
    before, after = (Counter(_words(each)) for each in (report, text))
    shared = (before & after).total()
    return shared >= _MIN_KEPT * max(before.total(), after.total())
