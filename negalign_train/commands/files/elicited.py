"""Lines of a data set whose errors a model made on request. Heavy: torch."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from negalign_train.cases.report_files import SourceReport
from negalign_train.commands.files.injected_files import InjectionCounts
from negalign_train.generation.askers import Answer, Asker, AskSettings, local_asker, server_asker
from negalign_train.generation.elicitation import (
    Elicited,
    elicitation_prompt,
    read_elicited,
)
from negalign_train.recipe.judge_spec import JudgeServerSettings, server_address
from negalign_train.severity.pricing.score import explain_unscorable
from negalign_train.simulate.injection.data_set import (
    INJECTED_SCHEMA,
    LabelledReport,
    Labeller,
    injected_line,
)
from negalign_train.vocabulary.errors import DataError, RecipeError
from negalign_train.vocabulary.records import Evidence
from negalign_train.vocabulary.resources import data_path
from negalign_train.vocabulary.taxonomy import Category, taxonomy

LABEL = "elicited"


def open_asker(spec: str, settings: AskSettings) -> Asker:
    """The model that a spec names: DIR, DIR#ADAPTER_DIR, ``embedded``, or the URL of a chat
    endpoint with an optional #MODEL.

    Raises:
        RecipeError: the address cannot be one, or is not local.
    """
    if spec.startswith(("http://", "https://")):
        try:
            address = server_address(spec)
        except ValueError as error:
            raise RecipeError(f"--from-model: {error}") from None
        server = JudgeServerSettings(max_tokens=max(64, settings.max_new_tokens))
        return server_asker(address, settings, server)
    folder, _, adapter = spec.partition("#")
    model_dir = data_path("embedded") if folder == "embedded" else Path(folder)
    return local_asker(model_dir, Path(adapter) if adapter else None, settings)


@dataclass
class Elicitor:
    """Asks a model for one error in each report, of the category asked for least so far."""

    asker: Asker
    categories: Sequence[Category]
    seed: int
    batch_size: int
    verified_only: bool
    asked: Counter[str] = field(default_factory=Counter)
    kept: Counter[tuple[str, str]] = field(default_factory=Counter)

    def lines(
        self, source: Iterator[SourceReport], counts: InjectionCounts, labeller: Labeller
    ) -> Iterator[dict[str, Any]]:
        """Controls as the labeller draws them; of the others one line for each usable answer."""
        erroneous = self._erroneous(source, counts, labeller)
        while batch := list(islice(erroneous, self.batch_size)):
            controls = [each for each in batch if isinstance(each, LabelledReport)]
            yield from (injected_line(control, self.seed) for control in controls)
            reports = [each for each in batch if isinstance(each, SourceReport)]
            yield from self._answered(reports, counts)

    def _erroneous(
        self, source: Iterator[SourceReport], counts: InjectionCounts, labeller: Labeller
    ) -> Iterator[SourceReport | LabelledReport]:
        for report in source:
            control = labeller.control(report)
            if control is None and explain_unscorable(report.text, report.text) is not None:
                counts.refuse("unusable_report", report.number)
            elif control is None:
                yield report
            elif isinstance(control, LabelledReport):
                yield control
            else:
                counts.refuse(control.reason, report.number)

    def _answered(
        self, reports: Sequence[SourceReport], counts: InjectionCounts
    ) -> Iterator[dict[str, Any]]:
        if not reports:
            return
        categories = [self._next_category(report) for report in reports]
        questions = [
            elicitation_prompt(report.text, category, _nonce(report, self.seed))
            for report, category in zip(reports, categories, strict=True)
        ]
        seed = (self.seed * 1_000_003 + reports[0].number) % 2**31
        answers = self.asker.ask(questions, seed)
        if not self.kept and set(answers) == {"model_no_answer"}:
            raise DataError(
                f"{self.asker.name} answered none of the first {len(answers)} questions; start the "
                "server, or look into its own log"
            )
        for report, category, answer in zip(reports, categories, answers, strict=True):
            made = self._usable(report, category, answer)
            if isinstance(made, Elicited):
                yield self._line(report, category, made)
            else:
                counts.refuse(made, report.number)

    def _usable(self, report: SourceReport, category: Category, answer: Answer) -> Elicited | str:
        if isinstance(answer, str):
            return answer
        made = read_elicited(report.text, category.name, answer)
        if isinstance(made, Elicited):
            self.kept[category.id, made.verification] += 1
            if self.verified_only and made.verification == "unverified":
                return "model_unverified"
        return made

    def _next_category(self, report: SourceReport) -> Category:
        rng = random.Random(f"elicit:{self.seed}:{report.number}:{report.id}")
        order = rng.sample(list(self.categories), len(self.categories))
        chosen = min(order, key=lambda category: self.asked[category.id])
        self.asked[chosen.id] += 1
        return chosen

    def _line(self, report: SourceReport, category: Category, made: Elicited) -> dict[str, Any]:
        """A rated report where the rules see the error; else what a judge is expected to see."""
        ids = {each.name: each.id for each in taxonomy()}
        line: dict[str, Any] = {
            "id": f"{report.number}:{report.id}",
            "case": report.group,
            "kind": category.name,
            "reference": report.text,
            "candidate": made.text,
        }
        if made.verification == "verified":
            errors = {ids[name]: value for name, value in made.severities.items()}
            line["ratings"] = [{"rater": "rules", "errors": errors}]
        else:
            line["expect"] = f"{category.id} > 0"
        line["about"] = {
            "schema": INJECTED_SCHEMA,
            "label": LABEL,
            "seed": self.seed,
            "model": self.asker.name,
            "verification": made.verification,
            "errors": [_error(category, item) for item in made.evidence] or [_error(category)],
        }
        return line | ({"context": dict(report.context)} if report.context else {})

    def summary(self) -> Mapping[str, Mapping[str, int]]:
        """Asked, verified and unverified answers by category."""
        return {
            category.id: {
                "asked": self.asked[category.id],
                "verified": self.kept[category.id, "verified"],
                "unverified": self.kept[category.id, "unverified"],
            }
            for category in self.categories
        }


def _error(category: Category, item: Evidence | None = None) -> dict[str, Any]:
    return {
        "operation": LABEL,
        "id": category.id,
        "category": category.name,
        "severity": None if item is None else round(item.severity, 6),
        "finding": None if item is None else item.finding,
        "span": None if item is None else item.span,
    }


def _nonce(report: SourceReport, seed: int) -> str:
    """A number that the report does not hold; the same for the same report and seed."""
    nonce = hashlib.sha256(f"{seed}:{report.number}:{report.text}".encode()).hexdigest()[:16]
    while nonce in report.text:
        nonce = hashlib.sha256(nonce.encode()).hexdigest()[:16]
    return nonce
