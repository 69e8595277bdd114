"""A labelled data set from right reports: each with errors, untouched, or in other words.

A line (``negalign.injected/1``) is a rated report: reference, candidate and nine severities, with
the errors under ``about``. ``negalign judge bench`` and ``negalign score --pairs`` read it.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from negalign_train.cases.report_files import SourceReport
from negalign_train.simulate.injection.reports import OPERATIONS, Injection
from negalign_train.simulate.injection.several import inject_several
from negalign_train.simulate.injection.tables import aside_spans
from negalign_train.simulate.paraphrase import paraphrase
from negalign_train.vocabulary.errors import RecipeError
from negalign_train.vocabulary.taxonomy import Category, cap_severities, taxonomy

INJECTED_SCHEMA = "negalign.injected/1"
RATER = "injection"
"""Who rates the lines: what was put in is known, nobody judged it."""
_LIST = re.compile(r"(?<!\S)\d{1,2}[.)]\s")
Label = Literal["injected", "untouched", "reworded"]


@dataclass(frozen=True)
class InjectionSettings:
    """``untouched`` and ``reworded``: shares of the reports that are controls, in which nothing is
    wrong; the others get ``errors`` errors each, of ``operations``.
    """

    operations: tuple[str, ...] = tuple(OPERATIONS)
    errors: int = 1
    untouched: float = 0.1
    reworded: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.errors <= len(self.operations):
            raise RecipeError(
                f"{self.errors} errors a report need as many operations, and there are "
                f"{len(self.operations)}; lower --errors or name more operations"
            )
        shares = (self.untouched, self.reworded)
        if min(shares) < 0 or sum(shares) > 1:
            raise RecipeError(
                f"shares of controls {self.untouched:g} and {self.reworded:g} must be 0 to 1 and "
                "sum up to no more than 1"
            )


@dataclass(frozen=True)
class LabelledReport:
    """One report of the data set; ``errors`` is empty for a control."""

    source: SourceReport
    candidate: str
    label: Label
    errors: tuple[Injection, ...] = ()


@dataclass(frozen=True)
class NotLabelled:
    """Why a report gives no line: ``no_place`` (for none of the operations) or ``not_reworded``."""

    reason: str


def categories_of(operations: Sequence[str]) -> tuple[Category, ...]:
    """The categories of some operations, in order."""
    made = {OPERATIONS[name].category for name in operations}
    return tuple(category for category in taxonomy() if category.name in made)


def parse_operations(names: str) -> tuple[str, ...]:
    """Operations named by themselves or by their category (id or name), in their fixed order.

    Raises:
        RecipeError: a name is neither.
    """
    ids = {category.id: category.name for category in taxonomy()}
    wanted: set[str] = set()
    for part in (part.strip() for part in names.split(",")):
        category = ids.get(part.upper(), part)
        made = {name for name, each in OPERATIONS.items() if category in (name, each.category)}
        if not made:
            raise RecipeError(
                f"{part!r} is no operation and no category; choose among {', '.join(OPERATIONS)}, "
                "or R1 to R9"
            )
        wanted |= made
    return tuple(name for name in OPERATIONS if name in wanted)


class Labeller:
    """Labels reports one by one. The same reports in the same order with the same settings give the
    same lines: what was made least so far is tried first, so that no kind stays rare which need
    not be.
    """

    def __init__(self, settings: InjectionSettings) -> None:
        self.settings = settings
        self.made: Counter[str] = Counter()
        self.no_place: Counter[str] = Counter()

    def label(self, report: SourceReport) -> LabelledReport | NotLabelled:
        """The report's line, or why it has none."""
        control = self.control(report)
        if control is not None:
            return control
        settings = self.settings
        rng = random.Random(f"order:{settings.seed}:{report.number}:{report.id}")
        order = list(settings.operations)
        rng.shuffle(order)
        order.sort(key=lambda name: self.made[name])
        seed = f"{settings.seed}:{report.number}"
        errors = inject_several(
            report.text, order, settings.errors, seed, true_findings=report.findings
        )
        made = [error.operation for error in errors]
        self.made.update(made)
        tried = order if len(made) < settings.errors else order[: order.index(made[-1]) + 1]
        self.no_place.update(name for name in tried if name not in made)
        if not errors:
            return NotLabelled("no_place")
        return LabelledReport(report, errors[-1].text, "injected", errors)

    def control(self, report: SourceReport) -> LabelledReport | NotLabelled | None:
        """The report as a control, where the dice say so; None where it is to get errors."""
        settings = self.settings
        drawn = random.Random(f"label:{settings.seed}:{report.number}:{report.id}").random()
        if drawn < settings.untouched:
            return LabelledReport(report, report.text, "untouched")
        if drawn < settings.untouched + settings.reworded:
            return self._reworded(report)
        return None

    def _reworded(self, report: SourceReport) -> LabelledReport | NotLabelled:
        # The rewording keeps findings and impression alone, and may change the order of lists.
        keeps = not aside_spans(report.text) and not _LIST.search(report.text)
        text = paraphrase(report.text, self.settings.seed) if keeps else ""
        if text.split() in ([], report.text.split()):
            return NotLabelled("not_reworded")
        return LabelledReport(report, text, "reworded")


def severities_of(errors: Sequence[Injection]) -> dict[str, float]:
    """Nine severities by category id, from the errors' weights."""
    sums: dict[str, float] = {}
    for error in errors:
        sums[error.category] = sums.get(error.category, 0.0) + error.severity
    capped = cap_severities(sums)
    return {category.id: capped[category.name] for category in taxonomy()}


def injected_line(report: LabelledReport, seed: int) -> dict[str, Any]:
    """One line of the data set; keys as in an expert set, what is no rating under ``about``."""
    source = report.source
    line: dict[str, Any] = {
        "id": f"{source.number}:{source.id}",
        "case": source.group,
        "kind": report.errors[0].operation if len(report.errors) == 1 else report.label,
        "reference": source.text,
        "candidate": report.candidate,
        "ratings": [{"rater": RATER, "errors": severities_of(report.errors)}],
        "about": {
            "schema": INJECTED_SCHEMA,
            "label": report.label,
            "seed": seed,
            "errors": [_error(error) for error in report.errors],
        },
    }
    return line | ({"context": dict(source.context)} if source.context else {})


def _error(error: Injection) -> Mapping[str, Any]:
    ids = {category.name: category.id for category in taxonomy()}
    return {
        "operation": error.operation,
        "id": ids[error.category],
        "category": error.category,
        "severity": error.severity,
        "finding": error.finding,
        "span": error.span,
    }
