"""Grades that peers gave to readers (RADPEER): statistics of readers, never training data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import BigInteger, Connection, Text, column, select, table

from negalign_train.storage.chain import append_rows

RADPEER_SCORES = ("1", "2", "2a", "2b", "3", "3a", "3b", "4")
"""1 concurs; 2 a difficult and 3 an easier one missed; a unlikely, b likely of clinical meaning. 4
is of older sheets: missed almost always to be made.
"""
_SIGNIFICANT = frozenset({"2b", "3b", "4"})
PEER_REVIEWS = table(
    "peer_reviews",
    column("sequence", BigInteger),
    column("review_id", Text),
    column("reader_id", Text),
    column("reviewer_id", Text),
    column("grade", Text),
    column("reviewed_at", Text),
    column("origin", Text),
    column("ingested_at", Text),
    column("chain", Text),
)


@dataclass(frozen=True)
class PeerReview:
    """One grade: ``reader_id`` read the study first, ``reviewer_id`` graded that reading."""

    review_id: str
    reader_id: str
    reviewer_id: str | None
    grade: str
    reviewed_at: str | None


@dataclass(frozen=True)
class PeerStats:
    """One reader's grades. ``discrepant`` are all but 1, ``significant`` those of likely clinical
    meaning.
    """

    reader_id: str
    reviews: int
    grades: Mapping[str, int]
    discrepant: int
    significant: int


def append_reviews(
    connection: Connection, reviews: Sequence[PeerReview], origin: str, now: str
) -> int:
    """Adds the reviews that are not there yet; returns how many."""
    ids = [review.review_id for review in reviews]
    query = select(PEER_REVIEWS.c.review_id).where(PEER_REVIEWS.c.review_id.in_(ids))
    known = set(connection.execute(query).scalars())
    fresh = {review.review_id: review for review in reviews if review.review_id not in known}
    rows = [asdict(review) | {"origin": origin, "ingested_at": now} for review in fresh.values()]
    append_rows(connection, PEER_REVIEWS, rows)
    return len(rows)


def peer_stats(connection: Connection) -> tuple[PeerStats, ...]:
    """Statistics by reader, those with most reviews first."""
    query = select(PEER_REVIEWS.c.reader_id, PEER_REVIEWS.c.grade)
    by_reader: dict[str, Counter[str]] = {}
    for reader_id, grade in connection.execute(query):
        by_reader.setdefault(reader_id, Counter())[grade] += 1
    stats = [
        PeerStats(
            reader_id=reader_id,
            reviews=grades.total(),
            grades={grade: grades[grade] for grade in RADPEER_SCORES if grades[grade]},
            discrepant=grades.total() - grades["1"],
            significant=sum(grades[grade] for grade in _SIGNIFICANT),
        )
        for reader_id, grades in by_reader.items()
    ]
    return tuple(sorted(stats, key=lambda each: (-each.reviews, each.reader_id)))
