"""What every command on a workspace shares: its options, and the workspace opened."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy import URL, Engine

from negalign_train.commands.support.output import JsonOption as JsonOption
from negalign_train.commands.support.output import json_line as json_line
from negalign_train.commands.support.output import number as number
from negalign_train.commands.support.output import print_json as print_json
from negalign_train.commands.support.output import print_table as print_table
from negalign_train.storage.database import open_database, parse_url
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
    workspace: Path,
    database_url: str | None,
    *,
    create: bool = False,
    opened: Callable[[str | URL], Engine] = open_database,
) -> Engine:
    """The workspace's database.

    Args:
        create: False where nothing is begun: a mistyped folder is then an error, not a new empty
            workspace.
        opened: ``open_for_reading`` where a command only reads, ``open_read_only`` where it must
            leave everything as it is, migrations too.

    Raises:
        NegalignError: no such workspace, a workspace whose database is gone, or the database
            cannot be opened.
    """
    place = Workspace(workspace)
    if database_url is None:
        _refuse_lost_database(place)
    url = database_url or place.database_url
    if not create and (file := _sqlite_file(parse_url(url))) is not None and not file.is_file():
        raise _no_workspace(workspace, file)
    return opened(url)


def _refuse_lost_database(place: Workspace) -> None:
    """A new database beside old cycles would start again from the base without a word.

    Raises:
        NegalignError: the workspace holds cycles, and its database is missing or empty.
    """
    file = place.database_file
    if not (place.root / "cycles").is_dir() or (file.is_file() and file.stat().st_size > 0):
        return
    state = "is empty" if file.is_file() else "is missing"
    raise NegalignError(
        f"{file} {state}, but {place.root} holds cycles: their log and registry are lost. Restore "
        "the database from a backup, or give its --database-url, or another --workspace"
    )


def existing_workspace(workspace: Path) -> Workspace:
    """The workspace of a command that reads its files only.

    Raises:
        NegalignError: there is none at ``workspace``.
    """
    place = Workspace(workspace)
    file = place.database_file
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


def _sqlite_file(url: URL) -> Path | None:
    """The file behind a SQLite URL; None for other databases."""
    return Path(str(url.database)) if url.get_backend_name() == "sqlite" else None
