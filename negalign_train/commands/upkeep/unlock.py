"""``negalign unlock``: free a workspace whose cycle died on another machine."""

from __future__ import annotations

from typing import Annotated

import typer

from negalign_train.commands.support.common import (
    DEFAULT_WORKSPACE,
    DatabaseUrlOption,
    WorkspaceOption,
    open_engine,
)
from negalign_train.registry.lock import break_lock


def unlock(
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    force: Annotated[
        bool, typer.Option("--force", help="Also where the cycle was heard of a moment ago.")
    ] = False,
    database_url: DatabaseUrlOption = None,
) -> None:
    """Free the workspace of a cycle that died on a machine that is gone.

    Seldom needed: a cycle that died on this machine makes room at once, and one elsewhere after a
    minute of silence. A cycle that lost its lock notices within seconds, and stops.

    Example: `negalign unlock --workspace my-workspace`
    """
    owner = break_lock(open_engine(workspace, database_url), force=force)
    if owner is None:
        typer.echo("the workspace is not locked")
    else:
        typer.echo(f"freed from cycle {owner.cycle} (pid {owner.pid}, {owner.host})")
