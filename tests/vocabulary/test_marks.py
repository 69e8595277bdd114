"""What readers' marks come to."""

from __future__ import annotations

import pytest

from negalign_train.vocabulary.marks import marked_severities
from negalign_train.vocabulary.records import ErrorMark


@pytest.mark.parametrize(
    ("marked", "severity"),
    [((1.0,), 1.0), ((0.7,), 0.7), ((0.5, 0.5), 0.816), ((0.9, 0.3), 0.9), ((0.2, 0.2), 0.4)],
)
def test_what_a_reader_says_of_one_error_stands_and_several_add_up_under_the_cap(
    marked: tuple[float, ...], severity: float
) -> None:
    marks = tuple(ErrorMark("wrong_location", each) for each in marked)
    found = marked_severities(marks)
    assert found["wrong_location"] == pytest.approx(severity, abs=5e-4)
    assert sum(found.values()) == found["wrong_location"]
