"""Several judges as one: mean, median, or weighted by how well each follows the readers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, median
from typing import Literal, get_args

from negalign_train.severity.judges.base import (
    JUDGE_FAILURES,
    NO_PROPER_ANSWER,
    Judge,
    Judgement,
    ReportPair,
)
from negalign_train.storage.fingerprint import fingerprint
from negalign_train.vocabulary.errors import DataError
from negalign_train.vocabulary.records import CATEGORIES, Evidence, SeverityScore
from negalign_train.vocabulary.taxonomy import uncapped

ENSEMBLE_SCHEMA = "negalign.ensemble/1"
How = Literal["mean", "median", "weighted"]


@dataclass(frozen=True)
class EnsembleSpec:
    """What an ensemble file holds: how to join, the members' specs, and for ``weighted`` each
    member's weight per category.
    """

    how: How
    judges: tuple[str, ...]
    weights: Mapping[str, tuple[float, ...]]

    def to_json(self) -> dict[str, object]:
        return {
            "schema": ENSEMBLE_SCHEMA,
            "how": self.how,
            "judges": list(self.judges),
            "weights": {name: list(row) for name, row in self.weights.items()},
        }


def equal_weights(count: int) -> dict[str, tuple[float, ...]]:
    return dict.fromkeys(CATEGORIES, (1.0 / count,) * count)


def agreement_weights(
    correlations: Sequence[Mapping[str, float | None]],
) -> dict[str, tuple[float, ...]]:
    """Weights per category in proportion to each member's rank correlation with the readers.

    A negative or unknown one weighs nothing; where none is above 0, all weigh the same.
    """
    weights = equal_weights(len(correlations))
    for name in CATEGORIES:
        row = [max(0.0, member[name] or 0.0) for member in correlations]
        if sum(row) > 0:
            weights[name] = tuple(value / sum(row) for value in row)
    return weights


def read_ensemble(path: Path) -> EnsembleSpec:
    """An ensemble file.

    Raises:
        DataError: no such file, or it does not hold what ``EnsembleSpec`` needs.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        judges = tuple(map(str, data["judges"]))
        rows = data.get("weights") or equal_weights(len(judges))
        weights = {name: tuple(map(float, rows[name])) for name in CATEGORIES}
        right = (
            data["schema"] == ENSEMBLE_SCHEMA and data["how"] in get_args(How) and len(judges) > 1
        )
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except (ValueError, KeyError, TypeError, AttributeError, ZeroDivisionError) as error:
        raise DataError(
            f"{path}: not a {ENSEMBLE_SCHEMA} file ({type(error).__name__}); write one with "
            "`negalign judge compare --save-ensemble`"
        ) from error
    if not right or any(
        len(row) != len(judges) or min(row) < 0 or sum(row) <= 0 for row in weights.values()
    ):
        raise DataError(
            f"{path}: needs schema {ENSEMBLE_SCHEMA}, how ({', '.join(get_args(How))}), two "
            "judges or more, and for each category one weight per judge, none negative, not all 0"
        )
    return EnsembleSpec(data["how"], judges, weights)


class EnsembleJudge:
    """Joins its members' severities category by category.

    A pair is judged by the members that can score it; where none can, it has no score. Nor has it
    one where a member failed, or gave no proper answer: without that member the scale is another.
    Q rests on the joined severities and on the mean (median) of what the members call right.
    """

    name = "ensemble"

    def __init__(
        self, judges: Sequence[Judge], how: How, weights: Mapping[str, Sequence[float]]
    ) -> None:
        self._judges, self._how, self._weights = tuple(judges), how, weights

    @property
    def version(self) -> str:
        members = [[judge.name, judge.version] for judge in self._judges]
        rows = {name: list(row) for name, row in self._weights.items()}
        return fingerprint([self._how, members, rows])[:12]

    def judge(self, pairs: Sequence[ReportPair]) -> list[Judgement]:
        answers = [judge.judge(pairs) for judge in self._judges]
        return [self._joined(words) for words in zip(*answers, strict=True)]

    def _joined(self, words: Sequence[Judgement]) -> Judgement:
        scored = [(i, word.score) for i, word in enumerate(words) if word.score is not None]
        failed = {word.reason for word in words} & (JUDGE_FAILURES | NO_PROPER_ANSWER)
        if failed or not scored:
            reasons = sorted(str(reason) for reason in failed or {word.reason for word in words})
            reason = reasons[0] if failed or len(reasons) == 1 else "no_judge_could"
            return Judgement(self.name, self.version, None, reason)
        severities = {
            name: self._join(name, [(i, score.severities[name]) for i, score in scored])
            for name in CATEGORIES
        }
        evidence = tuple(
            _named(item, words[i].judge) for i, score in scored for item in score.evidence
        )
        weights = {name: uncapped(value) for name, value in severities.items()}
        right = [s.correct_weight for _, s in scored if s.correct_weight is not None]
        correct = None
        if right:
            correct = float(median(right)) if self._how == "median" else fmean(right)
        return Judgement(
            self.name, self.version, SeverityScore(severities, evidence, weights, correct)
        )

    def _join(self, category: str, values: Sequence[tuple[int, float]]) -> float:
        if self._how == "median":
            return float(median(value for _, value in values))
        weights = [self._weights[category][i] for i, _ in values]
        if self._how == "mean" or sum(weights) <= 0:
            return fmean(value for _, value in values)
        return sum(w * v for w, (_, v) in zip(weights, values, strict=True)) / sum(weights)


def _named(item: Evidence, judge: str) -> Evidence:
    return replace(item, detail=f"{judge}: {item.detail}")
