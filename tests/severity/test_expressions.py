"""Expectations are parsed, never executed."""

from __future__ import annotations

import pytest

from negalign_train.severity.trust.expert.expressions import parse_expectation
from negalign_train.vocabulary.errors import DataError

VALUES = {"R1": 0.5, "R2": 0.0, "R3": 0.0, "S": 0.5, "Q": 0.25}


@pytest.mark.parametrize(
    ("source", "holds"),
    [
        ("R1>0 and R2==0", True),
        ("R1 > 0.5", False),
        ("0.25<=R1<=0.5", True),
        ("0.25 <= R1 <= 0.4", False),
        ("(R1+R2)>=0.5", True),
        ("S==0 or R1>0", True),
        ("not S == 0", True),
        ("S - R1 == 0", True),
        ("2 * Q == R1", True),
        ("R1 > -1", True),
        ("R1 != 0.5", False),
    ],
)
def test_a_comparison_is_true_or_false_of_a_score(source, holds):
    assert parse_expectation(source).holds(VALUES) is holds


def test_a_sum_of_weights_equals_its_decimal_number():
    assert parse_expectation("S == 0.3").holds({"S": 0.1 + 0.2})
    assert parse_expectation("S <= 0.3").holds({"S": 0.1 + 0.2})
    assert not parse_expectation("S > 0.3").holds({"S": 0.1 + 0.2})


def test_an_expectation_says_what_it_needs():
    assert parse_expectation("R1 > 0 and Q < 0.5").names == {"R1", "Q"}


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("__import__('os').system('true')", "neither true nor false"),
        ("(lambda: 1)() > 0", "Call is no number"),
        ("R1.real > 0", "Attribute is no number"),
        ("R1 > 'a'", "Constant is no number"),
        ("R1 > True", "Constant is no number"),
        ("R10 > 0", "R10 is none of R1 to R9"),
        ("R1 ** 9 > 0", "BinOp is no number"),
        ("R1 / 0 > 0", "BinOp is no number"),
        ("R1 in S", "In does not compare"),
        ("R1", "neither true nor false"),
        ("R1 > 0 and 1", "neither true nor false"),
        ("1e999 > R1", "Constant is no number"),
        ("R1 >", "is no expression"),
        ("", "is no expression"),
        ("(" * 400, "is no expression"),
        ("R1 > 0 " + " " * 500, "longer than 500"),
        ("R1 > 0; S > 0", "is no expression"),
    ],
)
def test_anything_else_is_refused(source, says):
    with pytest.raises(DataError, match=says):
        parse_expectation(source)
