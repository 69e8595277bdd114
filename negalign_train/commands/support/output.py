"""How results are printed. Light: nothing here opens a database."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
_PIPE_WIDTH = 1_000_000
"""Wider than any table: what goes into a pipe is neither cut nor wrapped."""


def print_json(value: Any) -> None:
    """One JSON object or list on standard output."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


def json_line(value: Any) -> str:
    """JSON on one line, keys sorted; NaN is refused (ValueError)."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False)


def print_table(table: Table) -> None:
    """On a terminal as wide as it is, long words folded; into a pipe as wide as the table is. No
    id is ever cut.
    """
    for column in table.columns:
        column.overflow = "fold"
    # Without markup: "[start, end]" in a cell is text.
    console = Console(markup=False)
    if not console.is_terminal:
        console = Console(markup=False, width=_PIPE_WIDTH)
    console.print(table)


def number(value: float | None, decimals: int = 2) -> str:
    """A number for a table; a dash where it is unknown."""
    return "–" if value is None else f"{value:.{decimals}f}"
