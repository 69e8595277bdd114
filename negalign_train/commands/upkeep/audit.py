"""``negalign audit``: do the records still say what happened?"""

from __future__ import annotations

from dataclasses import asdict

import typer
from rich.table import Table

from negalign_train.commands.support.common import (
    DEFAULT_WORKSPACE,
    DatabaseUrlOption,
    JsonOption,
    WorkspaceOption,
    open_engine,
    print_json,
    print_table,
)
from negalign_train.storage.database import open_read_only
from negalign_train.storage.workspace import Workspace


def audit(
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    database_url: DatabaseUrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare every file and row of a workspace with what was recorded of it.

    Finished cycles against their seals, the log's rows against their chain, adapters against their
    manifests, promotions against the records they rest on. Nothing is written. Exit code 1 if
    anything was changed, added, taken out, or promoted without a record.

    Example: `negalign audit --workspace my-workspace`
    """
    # Reads numpy and the hub client, which --help needs neither of.
    from negalign_train.cycle.upkeep.audit import audit_workspace

    place = Workspace(workspace)
    report = audit_workspace(place, open_engine(workspace, database_url, opened=open_read_only))
    if as_json:
        print_json(asdict(report) | {"problems": [asdict(check) for check in report.problems]})
    else:
        table = Table("Check", "Result")
        for check in report.checks:
            table.add_row(check.what, check.problem or "holds")
        print_table(table)
        moves = Table("When", "Alias", "Adapter", "Before", "By", "Reason")
        for change in report.history:
            moves.add_row(
                change.changed_at,
                change.alias,
                change.adapter_id or "base model",
                change.previous_id or "base model",
                f"{change.action} by {change.changed_by}",
                change.reason,
            )
        print_table(moves)
    if report.problems:
        typer.echo(f"{len(report.problems)} problem(s) in {len(report.checks)} checks", err=True)
        raise typer.Exit(1)
