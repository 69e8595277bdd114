"""Published expert sets in the shape their owners hand them out. Both need the owner's permission:
no row of them is here.
"""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from negalign_train.severity.judges.base import ReportPair
from negalign_train.severity.judges.pair_files import case_context
from negalign_train.severity.trust.expert.expert_set import (
    ExpertSet,
    RankingTest,
    RatedReport,
    Rating,
)
from negalign_train.severity.trust.expert.set_files import number_field, text_field
from negalign_train.vocabulary.errors import DataError

REXVAL_REPORTS = "50_samples_gt_and_candidates.csv"
REXVAL_ERRORS = "6_valid_raters_per_rater_error_categories.csv"
_REXVAL_COLUMNS = (
    "study_number", "candidate_type", "rater_index", "error_category", "clinically_significant",
    "num_errors",
)  # fmt: skip
_REXVAL_CATEGORIES: Mapping[str, str] = {
    "1": "false_positive",
    "2": "false_negative",
    "3": "wrong_location",
    "4": "wrong_severity",
    "5": "temporal_error",  # a comparison that the reference does not make
    "6": "temporal_error",  # a comparison left out
}
"""Its six categories (ReXVal 1.0.0, doi 10.13026/2fp8-qr71) in RadAlign's words."""
_TRUTHS = {"true": True, "1": True, "false": False, "0": False}

_RADPREF_ERRORS: Mapping[str, str] = {
    "false_finding": "false_positive",
    "missing_finding": "false_negative",
    "location": "wrong_location",
    "severity": "wrong_severity",
    "descriptor": "wrong_severity",
    "measurement": "wrong_severity",
    "certainty": "artifact_overinterpretation",
    "overinterpretation": "artifact_overinterpretation",
    "unspecific": "false_negative",
    "temporal": "temporal_error",
}
"""CRIMSON's errors (arXiv 2603.06183) in RadAlign's words."""
_RADPREF_WEIGHTS: Mapping[str, float] = {
    "urgent": 1.0,
    "actionable": 0.5,
    "not_actionable": 0.25,
    "benign": 0.0,
    "significant": 0.5,
    "negligible": 0.0,
}
"""CRIMSON's classes of findings, and below them those of attribute errors."""
_SIDES = ("a", "b")
_RADPREF_KEYS = frozenset(
    ["id", "reference", "candidate_a", "candidate_b", "age", "indication", "annotations"]
)
_RADPREF_ANNOTATION = frozenset(
    ["rater", "preference", "rationale", "rating_a", "rating_b", "errors_a", "errors_b"]
)
_PREFERENCES = ("a", "b", "equal")


def read_rexval(folder: Path, significant_only: bool) -> ExpertSet:
    """ReXVal's folder: every study is a case, every candidate a report with six raters' counts.

    Args:
        significant_only: count clinically significant errors only, as RadCliQ does; else all.

    Raises:
        DataError: a file or a column is missing, or the two files do not fit each other.
    """
    counts = _rexval_counts(folder / REXVAL_ERRORS, significant_only)
    reports = []
    for number, row in enumerate(_rows(folder / REXVAL_REPORTS, ("gt_report",))):
        for kind in sorted({name for study, name in counts if study == number}):
            if row.get(kind) is None:
                raise DataError(
                    f"{folder / REXVAL_REPORTS}: no column {kind}, which {REXVAL_ERRORS} rates; "
                    "take both files of one version"
                )
            ratings = counts.pop((number, kind))
            pair = ReportPair(row["gt_report"], row[kind])
            rated = tuple(
                Rating(rater, dict(errors), sum(errors.values()))
                for rater, errors in sorted(ratings.items())
            )
            reports.append(RatedReport(f"{number}-{kind}", f"study-{number}", pair, rated))
    if counts or not reports:
        raise DataError(
            f"{folder}: {len(counts)} rated reports are not in {REXVAL_REPORTS}; take both files "
            "of one version"
        )
    return ExpertSet(rated=tuple(reports))


def _rexval_counts(
    path: Path, significant_only: bool
) -> dict[tuple[int, str], dict[str, dict[str, float]]]:
    """(study, candidate) to rater to category to errors.

    A category without a row is 0 for a rater who has another row of that report.
    """
    none = dict.fromkeys(_REXVAL_CATEGORIES.values(), 0.0)
    counts: dict[tuple[int, str], dict[str, dict[str, float]]] = defaultdict(dict)
    for number, row in enumerate(_rows(path, _REXVAL_COLUMNS), start=2):
        try:
            key = int(row["study_number"]), row["candidate_type"]
            category = _REXVAL_CATEGORIES[row["error_category"].strip()]
            significant = _TRUTHS[row["clinically_significant"].strip().lower()]
            errors = float(row["num_errors"])
        except (KeyError, ValueError) as error:
            raise DataError(
                f"{path}, line {number}: not a row of ReXVal 1.0.0; error_category must be 1 to "
                "6, clinically_significant true or false, the others numbers"
            ) from error
        rater = counts[key].setdefault(row["rater_index"], dict(none))
        if significant or not significant_only:
            rater[category] += errors
    raters = frozenset(name for report in counts.values() for name in report)
    for (study, kind), rated in counts.items():
        if rated.keys() != raters:
            raise DataError(
                f"{path}: report {study}-{kind} has rows of {len(rated)} of {len(raters)} raters; "
                "every rater needs one for every report, also where nothing is wrong"
            )
    return dict(counts)


def _rows(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            table = csv.DictReader(stream, strict=True)
            if missing := [name for name in columns if name not in (table.fieldnames or ())]:
                raise DataError(f"{path}: no column {', '.join(missing)}")
            return list(table)
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror}); give the folder of ReXVal 1.0.0"
        ) from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not CSV in UTF-8; take the file as it was published") from error


def read_radpref(path: Path) -> ExpertSet:
    """Pairwise preferences as JSONL or a JSON list: two rated reports and one ranking a case.

    The ranking is what most raters prefer. A rationale is for people and is not read.

    Raises:
        DataError: an entry is not of the shape in ``docs/judges.md``.
    """
    rated: list[RatedReport] = []
    rankings: list[RankingTest] = []
    for number, entry in enumerate(_entries(path), start=1):
        try:
            reports, ranking = _radpref_case(entry)
        except DataError as error:
            raise DataError(f"{path}, entry {number}: {error}") from error
        rated += reports
        rankings += ranking
    if not rated and not rankings:
        raise DataError(f"{path}: holds no entry with a rating or a preference")
    return ExpertSet(tuple(rated), tuple(rankings))


def _entries(path: Path) -> list[Any]:
    try:
        text = path.read_text(encoding="utf-8-sig")
        if text.lstrip().startswith("["):
            entries: list[Any] = json.loads(text)
            return entries
        return [json.loads(line) for line in text.splitlines() if line.strip()]
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: neither a JSON list nor JSONL in UTF-8") from error


def _known(data: Any, allowed: frozenset[str], what: str) -> Mapping[str, Any]:
    if not isinstance(data, Mapping):
        raise DataError(f"{what} is not an object")
    if unknown := sorted(data.keys() - allowed):
        raise DataError(f"{what}: unknown key {', '.join(unknown)}; rename or remove it")
    return data


def _radpref_case(data: Any) -> tuple[list[RatedReport], list[RankingTest]]:
    entry = _known(data, _RADPREF_KEYS, "the entry")
    id_, reference = text_field(entry, "id"), text_field(entry, "reference")
    context = case_context({key: entry.get(key) for key in ("age", "indication")})
    pairs = {
        side: ReportPair(reference, text_field(entry, f"candidate_{side}"), context)
        for side in _SIDES
    }
    given = entry.get("annotations")
    if not isinstance(given, list) or not given:
        raise DataError("annotations must be a list of one object a rater")
    annotations = [_known(one, _RADPREF_ANNOTATION, "an annotation") for one in given]
    raters = [text_field(one, "rater") for one in annotations]
    if len(set(raters)) != len(raters):
        raise DataError("a rater comes twice; give each rater once")
    reports = []
    for side, pair in pairs.items():
        ratings = [_radpref_rating(one, side) for one in annotations if f"rating_{side}" in one]
        if ratings:
            reports.append(RatedReport(f"{id_}-{side}", id_, pair, tuple(ratings)))
    ranks = _majority(annotations, pairs)
    return reports, [RankingTest(id_, id_, ranks)] if ranks else []


def _radpref_rating(annotation: Mapping[str, Any], side: str) -> Rating:
    quality = number_field(annotation, f"rating_{side}", low=1.0)
    errors: dict[str, float] = {}
    if f"errors_{side}" in annotation:
        errors = dict.fromkeys(_RADPREF_ERRORS.values(), 0.0)
        found = annotation[f"errors_{side}"]
        if not isinstance(found, list):
            raise DataError(f"errors_{side} must be a list of objects with type and severity")
        for error in found:
            one = _known(error, frozenset(["type", "severity"]), "an error")
            kind, weight = str(one.get("type")), str(one.get("severity"))
            if kind not in _RADPREF_ERRORS or weight not in _RADPREF_WEIGHTS:
                raise DataError(
                    f"an error's type must be one of {', '.join(_RADPREF_ERRORS)}, its severity "
                    f"one of {', '.join(_RADPREF_WEIGHTS)}"
                )
            errors[_RADPREF_ERRORS[kind]] += _RADPREF_WEIGHTS[weight]
    return Rating(text_field(annotation, "rater"), errors, -quality)


def _majority(
    annotations: Sequence[Mapping[str, Any]], pairs: Mapping[str, ReportPair]
) -> tuple[tuple[ReportPair, ...], ...]:
    """The two candidates in the order that more raters prefer; no order where they are as many."""
    votes = [one["preference"] for one in annotations if "preference" in one]
    if any(vote not in _PREFERENCES for vote in votes):
        raise DataError(f"preference must be one of {', '.join(_PREFERENCES)}")
    a, b, equal = (votes.count(name) for name in _PREFERENCES)
    if equal > max(a, b):
        return ((pairs["a"], pairs["b"]),)
    if a == b:
        return ()
    best, other = ("a", "b") if a > b else ("b", "a")
    return ((pairs[best],), (pairs[other],))
