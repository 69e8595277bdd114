"""The question that a judge on a server is asked, and the only answer that counts. Pure.

A report is data and never instruction: it stands between marks that hold a number drawn anew for
every request, which no report can know, and the control tokens of chat templates are taken out of
it. What a model makes of an instruction inside a report cannot be ruled out; it can only be
measured (`negalign judge compare`), and gives nine numbers in [0, 1] or nothing.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import yaml

from negalign_train.severity.judges.base import ReportPair
from negalign_train.storage.fingerprint import fingerprint
from negalign_train.vocabulary.resources import data_path
from negalign_train.vocabulary.special_tokens import TAKEN_OUT, quotable
from negalign_train.vocabulary.taxonomy import taxonomy

_PLACES = ("nonce", "categories", "reference", "candidate")


@dataclass(frozen=True)
class Question:
    """Both messages of a request."""

    system: str
    user: str

    @property
    def messages(self) -> list[dict[str, str]]:
        return [
            {"role": "system", "content": self.system},
            {"role": "user", "content": self.user},
        ]


def ask_about(pair: ReportPair, draw: Callable[[], str]) -> Question:
    """The question on one pair.

    Args:
        draw: gives a new number as text; drawn again while a report holds it.
    """
    reference, candidate = (quotable(text).strip() for text in (pair.reference, pair.candidate))
    nonce = draw()
    while nonce in reference or nonce in candidate:
        nonce = draw()
    values = {"nonce": nonce, "categories": _categories()}
    values |= {"reference": reference, "candidate": candidate}
    system, user = (_filled(template, values) for template in _templates())
    return Question(system, user)


def prompt_digest() -> str:
    """Fingerprint of everything that is asked but the reports."""
    question = ask_about(ReportPair("reference", "candidate"), lambda: "0" * 32)
    return fingerprint([question.system, question.user, TAKEN_OUT])


@cache
def _templates() -> tuple[str, str]:
    data = yaml.safe_load(data_path("judge_prompt.yaml").read_text(encoding="utf-8"))
    return str(data["system"]), str(data["user"])


@cache
def _categories() -> str:
    return "\n".join(
        f"- {each.id} {each.name.replace('_', ' ')}: {each.definition}" for each in taxonomy()
    )


def _filled(template: str, values: Mapping[str, str]) -> str:
    """The template with its places filled once: what is filled in is not looked at again, so that
    a report that says {candidate} stays as it is.
    """
    parts, rest = [], template
    while rest:
        starts = {name: rest.find(f"{{{name}}}") for name in _PLACES}
        found = {name: at for name, at in starts.items() if at >= 0}
        if not found:
            break
        name = min(found, key=lambda each: found[each])
        parts += [rest[: found[name]], values[name]]
        rest = rest[found[name] + len(name) + 2 :]
    return "".join([*parts, rest]).strip()


def answer_schema() -> dict[str, Any]:
    """The JSON Schema of an answer, for servers that decode by one."""
    ids = [each.id for each in taxonomy()]
    number = {"type": "number", "minimum": 0, "maximum": 1}
    return {
        "type": "object",
        "properties": dict.fromkeys(ids, number),
        "required": ids,
        "additionalProperties": False,
    }


def read_answer(text: str) -> tuple[float, ...] | None:
    """The nine severities in order, or None: anything but one JSON object with these nine keys,
    once each, and numbers from 0 to 1 is no answer.
    """
    try:
        pairs = json.loads(text, object_pairs_hook=_Pairs, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    ids = [each.id for each in taxonomy()]
    if not isinstance(pairs, _Pairs) or sorted(key for key, _ in pairs) != ids:
        return None
    values = dict(pairs)
    numbers = [values[name] for name in ids]
    if not all(_is_severity(number) for number in numbers):
        return None
    return tuple(float(number) for number in numbers)


class _Pairs(list[tuple[str, Any]]):
    """A JSON object with its keys as they came, twice where they came twice."""


def _refuse(name: str) -> float:
    raise ValueError(f"{name} is no JSON number")


def _is_severity(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) and 0 <= value <= 1
