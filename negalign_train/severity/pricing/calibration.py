"""The scorer's severities at the readers' scale, by category: the record, and its application.

``s' = min(1, scale * s ** exponent)`` for s > 0, and 0 stays 0: monotone, two numbers a category,
and no error appears that the scorer did not see. ``trust.calibration_fit`` finds the numbers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from negalign_train.storage.fingerprint import fingerprint
from negalign_train.vocabulary.errors import DataError
from negalign_train.vocabulary.records import CATEGORIES, SeverityScore

CALIBRATION_SCHEMA = "negalign.calibration/1"


@dataclass(frozen=True)
class CategoryScale:
    """One category's re-scaling, and what it rests on.

    ``num_informative`` events have s > 0: a re-scaling changes no others. ``change`` is the
    cross-validated squared error per informative event, re-scaled minus as it was, with its
    interval; None where none was tried. ``reason``: adopted, too_few_events, too_few_groups,
    no_better, or worse_S (the category follows better, but S would follow less well: the readers
    call the same errors by another category's name).
    """

    scale: float = 1.0
    exponent: float = 1.0
    reason: str = "too_few_events"
    num_informative: int = 0
    num_groups: int = 0
    change: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None

    @property
    def is_identity(self) -> bool:
        return self.scale == 1.0 and self.exponent == 1.0

    def apply(self, severity: float) -> float:
        """A severity in [0, 1] at the readers' scale, in [0, 1]; 0 stays 0."""
        if severity <= 0 or self.is_identity:
            return severity
        return float(min(1.0, self.scale * severity**self.exponent))


@dataclass(frozen=True)
class Calibration:
    """Nine re-scalings of one judge's severities.

    ``reason`` says in words why nothing or something changed. ``data_digest`` is of the events
    that were used; None without any. ``cycles`` are those whose readers taught it. ``made_of`` is
    the fingerprint of all that decides the result; None where it was not made by a cycle.
    """

    judge: str
    judge_version: str
    categories: Mapping[str, CategoryScale]
    reason: str
    num_events: int = 0
    num_groups: int = 0
    data_digest: str | None = None
    confidence: float | None = None
    cycles: tuple[int, ...] = ()
    versions: Mapping[str, str] | None = None
    made_of: str | None = None

    @property
    def adopted(self) -> tuple[str, ...]:
        """The categories that are re-scaled."""
        return tuple(name for name in CATEGORIES if not self.categories[name].is_identity)

    @property
    def digest(self) -> str:
        """SHA-256 of all of it, 64 hex digits."""
        return fingerprint(self._content())

    def _content(self) -> dict[str, Any]:
        # Through JSON, so that what is hashed is what is written.
        content: dict[str, Any] = json.loads(
            json.dumps({"schema": CALIBRATION_SCHEMA} | asdict(self))
        )
        return content

    def to_json(self) -> dict[str, Any]:
        return self._content() | {"digest": self.digest}

    def apply(self, score: SeverityScore) -> SeverityScore:
        """The score at the readers' scale. Evidence keeps the weights that the judge gave."""
        if not self.adopted:
            return score
        severities = {n: self.categories[n].apply(s) for n, s in score.severities.items()}
        weights = score.error_weights
        if weights is not None:
            # In proportion, so that a category that costs twice as much weighs twice as much in Q.
            weights = {
                name: weight * severities[name] / score.severities[name] if weight > 0 else 0.0
                for name, weight in weights.items()
            }
        return replace(score, severities=severities, error_weights=weights)

    def label(self) -> str:
        """What stands behind a severity: the judge's version, and the calibration if it did
        anything.
        """
        scorer = f"{self.judge} {self.judge_version}"
        return f"{scorer} calibrated {self.digest[:12]}" if self.adopted else scorer


def identity(judge: str, version: str, reason: str) -> Calibration:
    """A calibration that changes nothing, and says why."""
    return Calibration(judge, version, {name: CategoryScale() for name in CATEGORIES}, reason)


def _categories(value: Mapping[str, Any]) -> dict[str, CategoryScale]:
    if set(value) != set(CATEGORIES):
        raise KeyError("categories")
    scales = {name: CategoryScale(**value[name]) for name in CATEGORIES}
    for scale in scales.values():
        if not (0 < scale.scale < 100 and 0 < scale.exponent < 100):
            raise ValueError("scale and exponent must be above 0")
    return scales


def read_calibration(path: Path, judge: str, version: str) -> Calibration:
    """A calibration file, for the judge that is going to use it.

    Raises:
        DataError: no such file, no calibration, changed by hand, or made for another judge or
            another version of this one.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data.pop("schema") != CALIBRATION_SCHEMA:
            raise KeyError("schema")
        digest = data.pop("digest")
        data["categories"] = _categories(data["categories"])
        calibration = Calibration(**data | {"cycles": tuple(data["cycles"])})
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path}: not a {CALIBRATION_SCHEMA} file ({type(error).__name__}); give the "
            "calibration.json of a cycle's folder"
        ) from error
    if calibration.digest != digest:
        raise DataError(f"{path}: changed since it was written; restore it from the cycle's folder")
    if (calibration.judge, calibration.judge_version) != (judge, version):
        raise DataError(
            f"{path}: made for {calibration.judge} {calibration.judge_version}, this is {judge} "
            f"{version}; a calibration fits one version of one judge: make it anew, or use the "
            "release that did"
        )
    return calibration
