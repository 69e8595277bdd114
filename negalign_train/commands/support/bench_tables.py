"""The tables of ``negalign judge bench``: built once, printed or written as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from negalign_train.commands.support.output import number
from negalign_train.vocabulary.taxonomy import taxonomy

_ORDER = ("spearman", "kendall", "pairwise", "pairwise_in_case")
_CATEGORY = ("precision", "recall", "spearman")


@dataclass(frozen=True)
class Grid:
    """A titled table of texts."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def markdown(self) -> str:
        lines = [self.header, ("---",) * len(self.header), *self.rows]
        table = "\n".join(f"| {' | '.join(_cell(cell) for cell in row)} |" for row in lines)
        return f"### {self.title}\n\n{table}\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def bench_grids(value: dict[str, Any]) -> list[Grid]:
    """The tables of a report (``BenchReport.to_json``); those without a row are left out."""
    grids = (_order(value), _categories(value), _tests(value), _kinds(value), _cost(value))
    return [grid for grid in grids if grid.rows]


def _words(name: str) -> str:
    return name.replace("_", " ")


def _estimate(value: dict[str, Any]) -> str:
    if value["low"] is None:
        return number(value["value"])
    return f"{number(value['value'])} ({number(value['low'])} to {number(value['high'])})"


def _order(value: dict[str, Any]) -> Grid:
    rows = []
    for judge in value["judges"]:
        for total, figures in (judge["rated"] or {"order": {}})["order"].items():
            rows.append((judge["spec"], total, *(_estimate(figures[name]) for name in _ORDER)))
    if rows and value["raters"] is not None:
        figures = value["raters"]
        rows.append(("one rater", "against the others", *(_estimate(figures[n]) for n in _ORDER)))
    title = f"Order of {value['num_rated']} rated reports"
    return Grid(title, ("judge", "total", *map(_words, _ORDER)), tuple(rows))


def _categories(value: dict[str, Any]) -> Grid:
    titles = {category.id: f"{category.id} {_words(category.name)}" for category in taxonomy()}
    rows = [
        (
            titles[id_],
            judge["spec"],
            str(figures["num_expert"]),
            str(figures["num_judge"]),
            *(_estimate(figures[name]) for name in _CATEGORY),
        )
        for judge in value["judges"]
        for id_, figures in (judge["rated"] or {"categories": {}})["categories"].items()
    ]
    header = ("category", "judge", "experts > 0", "judge > 0", *_CATEGORY)
    return Grid("Errors by category", header, tuple(sorted(rows, key=lambda row: row[0])))


def _held(judge: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for total, figures in judge["rankings"].items():
        yield f"rankings by {total}", figures
    if judge["expectations"] is not None:
        yield "expectations", judge["expectations"]


def _tests(value: dict[str, Any]) -> Grid:
    rows = [
        (
            judge["spec"],
            name,
            f"{figures['num_held']} of {figures['num_tests']}",
            _estimate(figures["held"]),
            str(len(figures["unknown"])),
        )
        for judge in value["judges"]
        for name, figures in _held(judge)
    ]
    return Grid("Tests", ("judge", "tests", "hold", "share", "unknown"), tuple(rows))


def _kinds(value: dict[str, Any]) -> Grid:
    """Kinds of expectations that do not all hold."""
    rows = [
        (judge["spec"], kind, f"{held} of {total}")
        for judge in value["judges"]
        if judge["expectations"] is not None
        for kind, (held, total) in judge["expectations"]["kinds"].items()
        if held < total
    ]
    return Grid(
        "Kinds of expectations that do not all hold", ("judge", "kind", "hold"), tuple(rows)
    )


def _cost(value: dict[str, Any]) -> Grid:
    rows = [
        (
            judge["spec"],
            judge["version"],
            number(judge["seconds_per_thousand"]),
            _reasons(judge["unscorable"]),
        )
        for judge in value["judges"]
    ]
    return Grid("Cost", ("judge", "version", "s per 1000", "cannot score"), tuple(rows))


def _reasons(counts: dict[str, int]) -> str:
    return ", ".join(f"{_words(reason)} {count}" for reason, count in counts.items()) or "none"


def bench_markdown(value: dict[str, Any], heading: Sequence[str]) -> str:
    """The report as a Markdown page: what was measured, then every table."""
    lines = ["## Judges on an expert set", "", *(f"- {line}" for line in heading), ""]
    return "\n".join([*lines, *(grid.markdown() for grid in bench_grids(value))])
