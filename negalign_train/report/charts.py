"""Geometry of the page's two charts, in SVG user units. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from negalign_train.vocabulary.records import CATEGORIES

_CHART_WIDTH = 520.0
_ROW_HEIGHT = 34.0
_BAR_WIDTH = 300.0


@dataclass(frozen=True)
class Tick:
    """A labelled place on a horizontal axis."""

    x: float
    label: str


@dataclass(frozen=True)
class IntervalMark:
    """One candidate's interval: a line from ``low`` to ``high`` with a dot at ``estimate``."""

    name: str
    outcome: str
    low: float
    estimate: float
    high: float
    y: float
    label: str


@dataclass(frozen=True)
class IntervalChart:
    """Intervals of S(candidate) - S(parent) on one axis, and where 0 lies on it."""

    width: float
    height: float
    axis_y: float
    zero: float
    ticks: tuple[Tick, ...]
    marks: tuple[IntervalMark, ...]


@dataclass(frozen=True)
class CategoryBar:
    """Mean severity of one category before and after, as lengths and as numbers."""

    name: str
    before: float
    after: float
    before_length: float
    after_length: float


def interval_chart(rows: Sequence[tuple[str, str, Mapping[str, float]]]) -> IntervalChart | None:
    """The chart of (candidate, outcome, interval) rows; None where there is no interval."""
    if not rows:
        return None
    low = min(0.0, *(interval["low"] for _, _, interval in rows))
    high = max(0.0, *(interval["high"] for _, _, interval in rows))
    step = _nice_step(max(high - low, 1e-3) / 4)
    first, last = math.floor(low / step), math.ceil(high / step)
    last = max(last, first + 1)

    def x(value: float) -> float:
        return round((value / step - first) / (last - first) * _CHART_WIDTH, 2)

    return IntervalChart(
        width=_CHART_WIDTH,
        height=_ROW_HEIGHT * len(rows) + 30,
        axis_y=_ROW_HEIGHT * len(rows) + 4,
        zero=x(0.0),
        ticks=tuple(Tick(x(n * step), _number(n * step, step)) for n in range(first, last + 1)),
        marks=tuple(
            IntervalMark(
                name,
                outcome,
                x(interval["low"]),
                x(interval["estimate"]),
                x(interval["high"]),
                _ROW_HEIGHT * (index + 0.5),
                f"{interval['estimate']:+.3f} [{interval['low']:+.3f}, {interval['high']:+.3f}]",
            )
            for index, (name, outcome, interval) in enumerate(rows)
        ),
    )


def category_bars(
    before: Mapping[str, float] | None, after: Mapping[str, float] | None
) -> tuple[CategoryBar, ...]:
    """One bar pair per category, on one scale; none where either side was not scored."""
    if before is None or after is None:
        return ()
    largest = max([*before.values(), *after.values(), 1e-9])
    return tuple(
        CategoryBar(
            name,
            before[name],
            after[name],
            round(before[name] / largest * _BAR_WIDTH, 2),
            round(after[name] / largest * _BAR_WIDTH, 2),
        )
        for name in CATEGORIES
        if name in before
    )


def _nice_step(rough: float) -> float:
    """The smallest of 1, 2, 5 times a power of ten that is not below ``rough``."""
    power = 10.0 ** math.floor(math.log10(rough))
    return float(next(n * power for n in (1, 2, 5, 10) if n * power >= rough * (1 - 1e-9)))


def _number(value: float, step: float) -> str:
    """Just as many decimals as tell two ticks apart."""
    digits = max(0, -math.floor(math.log10(step)))
    return f"{value:+.{digits}f}" if value else "0"
