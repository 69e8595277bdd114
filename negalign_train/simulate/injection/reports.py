"""Reports with one injected error: every judge must see it, and judges can learn from it.

The injector reads the report with ``data/mesh_reader.yaml``. Where the study's findings are known
(MeSH codes of OpenI, ground truth of the synthetic cases), it uses them, too. It knows nothing of
the scorer or its lexicon. Report, operation and seed decide the result.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from negalign_train.simulate.injection import attributes, devices, findings, language
from negalign_train.simulate.injection.tables import Alteration, Replace, Report, view
from negalign_train.vocabulary.errors import DataError

_NUMBER_BEFORE = re.compile(r"(?<!\S)\d{1,2}[.)]\s*\Z")
_Maker = Callable[[Report, random.Random], Iterator[Alteration]]


@dataclass(frozen=True)
class Operation:
    """One kind of error: RadAlign category, index in ReXErr (None: not there), and its maker."""

    category: str
    rexerr: int | None
    make: _Maker


OPERATIONS: Mapping[str, Operation] = {
    "add_device": Operation("device_error", 0, devices.add_device),
    "change_device_name": Operation("device_error", 1, devices.change_device_name),
    "change_device_position": Operation("device_error", 2, devices.change_device_position),
    "change_severity": Operation("wrong_severity", 3, attributes.change_degree),
    "change_location": Operation("wrong_location", 4, attributes.change_location),
    "false_prediction": Operation("false_positive", 5, findings.false_prediction),
    "change_measurement": Operation("wrong_severity", 6, attributes.change_measurement),
    "repetition": Operation("report_integrity", 7, language.repetition),
    "homophone": Operation("report_integrity", 8, language.homophone),
    "typing_error": Operation("report_integrity", 9, language.typing_error),
    "contradiction": Operation("contradictory_diagnosis", 10, findings.contradiction),
    "false_negation": Operation("false_negative", 11, findings.false_negation),
    "side_contradiction": Operation("contradictory_diagnosis", None, findings.side_contradiction),
    "omission": Operation("false_negative", None, findings.omission),
    "overinterpretation": Operation(
        "artifact_overinterpretation", None, findings.overinterpretation
    ),
    "temporal_error": Operation("temporal_error", None, attributes.temporal_error),
    "truncation": Operation("report_integrity", None, language.truncation),
}
"""Every operation by name: ReXErr's twelve, and five of this project."""


@dataclass(frozen=True)
class Injection:
    """A report with one error, or one of its errors (``several.py``).

    ``span``: the characters [start, end) of ``text`` where the error shows; empty where something
    is missing. ``severity``: the error's weight in [0, 1].
    """

    text: str
    operation: str
    category: str
    finding: str | None
    span: tuple[int, int]
    severity: float


def apply_edits(text: str, edits: Sequence[Replace]) -> tuple[str, tuple[int, int]]:
    """The text with all replacements made, and where the first of ``edits`` then stands."""
    first = edits[0]
    start = first.start + sum(
        len(e.text) - (e.end - e.start) for e in edits if e is not first and e.start < first.start
    )
    for edit in sorted(edits, key=lambda e: e.start, reverse=True):
        text = text[: edit.start] + edit.text + text[edit.end :]
    lead = len(first.text) - len(first.text.lstrip())
    return text, (start + lead, start + len(first.text))


def inject(
    report: str,
    operation: str,
    seed: int | str,
    *,
    true_findings: Sequence[str] | None = None,
) -> Injection | None:
    """``report`` with one error of this kind; None where the report gives no place for it.

    ``true_findings``: ids the study really shows; only these are then denied, altered or dropped.

    Raises:
        DataError: there is no such operation.
    """
    alteration = draw_alteration(report, operation, seed, true_findings, lambda _: True)
    if alteration is None:
        return None
    text, span = apply_edits(report, alteration.edits)
    if text == report:
        return None
    category = OPERATIONS[operation].category
    return Injection(text, operation, category, alteration.finding, span, alteration.severity)


def draw_alteration(
    report: str,
    operation: str,
    seed: int | str,
    true_findings: Sequence[str] | None,
    allowed: Callable[[Alteration], bool],
) -> Alteration | None:
    """One of the ``allowed`` errors of this kind that the report gives a place for; None: no place.

    Raises:
        DataError: there is no such operation.
    """
    if operation not in OPERATIONS:
        raise DataError(f"no operation {operation!r}; choose one of {', '.join(OPERATIONS)}")
    rng = random.Random(f"inject:{seed}:{operation}:{report}")
    truth = None if true_findings is None else frozenset(true_findings)
    made = OPERATIONS[operation].make(view(report, truth), rng)
    fitting = [alteration for alteration in made if alteration.edits and allowed(alteration)]
    return _tidied(report, rng.choice(fitting)) if fitting else None


def _tidied(report: str, alteration: Alteration) -> Alteration:
    """What leaves a sentence out takes its number in a list along, and the space before it: two
    spaces would betray it.
    """

    def tidied(edit: Replace) -> Replace:
        if edit.text or edit.start == edit.end:
            return edit
        start = edit.start
        number = _NUMBER_BEFORE.search(report, max(0, start - 8), start)
        if number is not None and report[start : edit.end].endswith("."):
            start = number.start()
        behind = report[edit.end : edit.end + 1]
        if report[max(0, start - 1) : start] == " " and behind in (" ", ""):
            start -= 1
        return replace(edit, start=start)

    return replace(alteration, edits=tuple(tidied(edit) for edit in alteration.edits))


def inject_all(
    report: str, seed: int | str, *, true_findings: Sequence[str] | None = None
) -> tuple[Injection, ...]:
    """One injection of every operation that the report gives a place for, in a fixed order."""
    made = (inject(report, name, seed, true_findings=true_findings) for name in OPERATIONS)
    return tuple(injection for injection in made if injection is not None)
