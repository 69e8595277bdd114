"""What every command on a workspace shares: its options, and the workspace opened."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy import Engine, make_url
from sqlalchemy.exc import ArgumentError

from negalign_train.commands.support.output import JsonOption as JsonOption
from negalign_train.commands.support.output import json_line as json_line
from negalign_train.commands.support.output import number as number
from negalign_train.commands.support.output import print_json as print_json
from negalign_train.commands.support.output import print_table as print_table
from negalign_train.storage.database import open_database, open_read_only
from negalign_train.storage.workspace import Workspace
from negalign_train.vocabulary.errors import NegalignError

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
DEFAULT_WORKSPACE = Path("workspace")


def open_engine(
    workspace: Path, database_url: str | None, *, create: bool = False, read_only: bool = False
) -> Engine:
    """The workspace's database.

    Args:
        create: False where a command only reads: a mistyped folder is then an error, not a new
            empty workspace.
        read_only: True where a command must leave everything as it is, migrations too.

    Raises:
        NegalignError: no such workspace, or the database cannot be opened.
    """
    url = database_url or Workspace(workspace).database_url
    if not create and (file := _sqlite_file(url)) is not None and not file.is_file():
        raise _no_workspace(workspace, file)
    return open_read_only(url) if read_only else open_database(url)


def existing_workspace(workspace: Path) -> Workspace:
    """The workspace of a command that reads its files only.

    Raises:
        NegalignError: there is none at ``workspace``.
    """
    place = Workspace(workspace)
    file = Path(str(make_url(place.database_url).database))
    if not file.is_file() and not (workspace / "cycles").is_dir():
        raise _no_workspace(workspace, file)
    return place


def _no_workspace(workspace: Path, missing: Path) -> NegalignError:
    """One error for all commands; it names a neighbour whose name is almost the same."""
    parent = workspace.resolve().parent
    neighbours = [path.parent.name for path in parent.glob(f"*/{missing.name}")]
    near = difflib.get_close_matches(workspace.resolve().name, neighbours, n=1)
    meant = f"; did you mean {workspace.parent / near[0]}?" if near else ". Check --workspace."
    return NegalignError(
        f"there is no workspace at {workspace} ({missing} is missing){meant} A new one is started "
        "by `negalign feedback import LOG.jsonl --workspace FOLDER`"
    )


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
