"""What every command shares: its options, the opened workspace, and how results are printed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from sqlalchemy import Engine, make_url
from sqlalchemy.exc import ArgumentError

from negalign_train.database import open_database
from negalign_train.errors import NegalignError
from negalign_train.workspace import Workspace

WorkspaceOption = Annotated[
    Path,
    typer.Option(
        "--workspace",
        "-w",
        envvar="NEGALIGN_WORKSPACE",
        help="Folder that holds the log, the cycles and the adapters.",
    ),
]
DatabaseUrlOption = Annotated[
    str | None,
    typer.Option(
        "--database-url",
        envvar="NEGALIGN_DATABASE_URL",
        help="Database shared by several machines, such as postgresql+psycopg://USER@HOST/NAME. "
        "Default: negalign.db in the workspace.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
DEFAULT_WORKSPACE = Path("workspace")


def open_engine(workspace: Path, database_url: str | None, *, create: bool = False) -> Engine:
    """The workspace's database.

    Args:
        create: False where a command only reads: a mistyped folder is then an error, not a new
            empty workspace.

    Raises:
        NegalignError: no such workspace, or the database cannot be opened.
    """
    url = database_url or Workspace(workspace).database_url
    if not create and (file := _sqlite_file(url)) is not None and not file.is_file():
        raise NegalignError(
            f"there is no workspace at {workspace} ({file} is missing); check --workspace, or "
            "start one with `negalign feedback import`"
        )
    return open_database(url)


def print_json(value: Any) -> None:
    """One JSON object or list on standard output."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


def print_table(table: Table) -> None:
    """On a terminal as wide as it is; into a pipe without cutting cells."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=200)
    console.print(table)


def number(value: float | None, decimals: int = 2) -> str:
    """A number for a table; a dash where it is unknown."""
    return "–" if value is None else f"{value:.{decimals}f}"


def _sqlite_file(url: str) -> Path | None:
    """The file behind a SQLite URL; None for other databases, or a URL that cannot be parsed."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        return None
    on_disk = parsed.get_backend_name() == "sqlite" and parsed.database not in (
        None,
        "",
        ":memory:",
    )
    return Path(str(parsed.database)) if on_disk else None
