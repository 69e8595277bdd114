"""What experts said of reports: ratings, rankings and expectations, as frozen records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from negalign_train.severity.judges.base import ReportPair
from negalign_train.severity.trust.expert.expressions import Expectation
from negalign_train.storage.fingerprint import fingerprint
from negalign_train.vocabulary.approval import text_key


@dataclass(frozen=True)
class Rating:
    """One rater's words on one report.

    ``errors``: how much is wrong by category name; a category that is not there was not rated, and
    an empty mapping means that the rater gave a total alone. ``total`` rises with what is wrong.
    """

    rater: str
    errors: Mapping[str, float]
    total: float


@dataclass(frozen=True)
class RatedReport:
    """A report that one rater or more have rated. Reports of one ``case`` are not independent."""

    id: str
    case: str
    pair: ReportPair
    ratings: tuple[Rating, ...]

    @property
    def consensus(self) -> float:
        """The mean of the raters' totals."""
        return sum(rating.total for rating in self.ratings) / len(self.ratings)


@dataclass(frozen=True)
class RankingTest:
    """Candidates of one reference in order of quality: ``ranks`` from best to worst, each rank the
    candidates that are equally good.
    """

    id: str
    case: str
    ranks: tuple[tuple[ReportPair, ...], ...]


@dataclass(frozen=True)
class ExpectationTest:
    """A pair, and what its score has to be. ``kind`` groups tests in the result."""

    id: str
    case: str
    kind: str
    pair: ReportPair
    expectation: Expectation


@dataclass(frozen=True)
class ExpertSet:
    """Everything a file holds."""

    rated: tuple[RatedReport, ...] = ()
    rankings: tuple[RankingTest, ...] = ()
    expectations: tuple[ExpectationTest, ...] = ()

    def __len__(self) -> int:
        return len(self.rated) + len(self.rankings) + len(self.expectations)


def case_of(reference: str) -> str:
    """The case of a report that names none: equal references are one case."""
    return fingerprint(list(text_key(reference)))[:16]


def rated_categories(reports: Sequence[RatedReport]) -> frozenset[str]:
    """The categories that every rater of every report has rated."""
    ratings = [rating for report in reports for rating in report.ratings]
    if not ratings:
        return frozenset()
    return frozenset.intersection(*(frozenset(rating.errors) for rating in ratings))


def is_charged(report: RatedReport, category: str) -> bool:
    """Whether at least half of the raters found an error of the category."""
    found = sum(rating.errors[category] > 0 for rating in report.ratings)
    return 2 * found >= len(report.ratings)
