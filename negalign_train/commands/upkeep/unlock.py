"""``negalign unlock``: free a workspace whose cycle died on another machine."""

from __future__ import annotations

import typer

from negalign_train.commands.support.common import (
    DEFAULT_WORKSPACE,
    DatabaseUrlOption,
    WorkspaceOption,
    open_engine,
)
from negalign_train.registry.lock import break_lock


def unlock(
    workspace: WorkspaceOption = DEFAULT_WORKSPACE, database_url: DatabaseUrlOption = None
) -> None:
    """Free the workspace of a cycle that died on a machine that is gone.

    A cycle that died on this machine needs no unlocking: the next one takes its place.

    Example: `negalign unlock --workspace my-workspace`
    """
    owner = break_lock(open_engine(workspace, database_url))
    if owner is None:
        typer.echo("the workspace is not locked")
    else:
        typer.echo(f"freed from cycle {owner.cycle} (pid {owner.pid}, {owner.host})")
