"""``negalign adapters``: the registry."""

from __future__ import annotations

import getpass
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from negalign_train.commands.common import (
    DEFAULT_WORKSPACE,
    DatabaseUrlOption,
    JsonOption,
    WorkspaceOption,
    open_engine,
    print_json,
    print_table,
)
from negalign_train.errors import RegistryError
from negalign_train.registry.adapters import Registry
from negalign_train.workspace import Workspace

app = typer.Typer(help="The adapters: list, show, promote, roll back.", no_args_is_help=True)

AdapterArgument = Annotated[str, typer.Argument(help="Adapter id, or champion.")]
ByOption = Annotated[str | None, typer.Option("--by", help="Who decides; default: the login name.")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why; the history keeps it.")]


@app.command("list")
def list_(
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    database_url: DatabaseUrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """List every adapter with its state.

    Example: `negalign adapters list --workspace my-workspace`
    """
    registry = _registry(workspace, database_url)
    records = registry.list()
    if as_json:
        print_json([asdict(record) for record in records])
        return
    table = Table("Adapter", "State", "Cycle", "Method", "Parent", "Base", "Created")
    for record in records:
        table.add_row(
            record.adapter_id,
            record.state,
            str(record.cycle),
            record.method,
            record.parent_id or "–",
            record.base_name,
            record.created_at,
        )
    print_table(table)


@app.command()
def show(
    adapter: AdapterArgument,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    database_url: DatabaseUrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one adapter: provenance, lineage, and its turns as champion.

    Example: `negalign adapters show champion --workspace my-workspace`
    """
    registry = _registry(workspace, database_url)
    record = registry.get(registry.resolve(adapter))
    lineage = [ancestor.adapter_id for ancestor in registry.lineage(record.adapter_id)]
    reason = registry.state_reason(record.adapter_id)
    moves = [
        change
        for change in registry.history()
        if record.adapter_id in (change.adapter_id, change.previous_id)
    ]
    if as_json:
        more = {"state_reason": reason, "lineage": lineage, "history": [asdict(m) for m in moves]}
        print_json(asdict(record) | more)
        return
    table = Table(show_header=False)
    for name, value in asdict(record).items():
        shown = ", ".join(f"{k} {v}" for k, v in value.items()) if name == "versions" else value
        if name != "details" and shown is not None:
            table.add_row(name, str(shown))
    for name, value in record.details.items():
        table.add_row(name, value)
    table.add_row("state_reason", reason)
    table.add_row("lineage", " <- ".join(lineage))
    for move in moves:
        table.add_row(
            move.changed_at, f"{move.action} {move.adapter_id} by {move.changed_by}: {move.reason}"
        )
    print_table(table)


@app.command()
def path(
    adapter: AdapterArgument,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    database_url: DatabaseUrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print the adapter's folder, for `PeftModel.from_pretrained`, after checking its hashes.

    Example: `negalign adapters path champion --workspace my-workspace`
    """
    registry = _registry(workspace, database_url)
    record = registry.verify(adapter)
    folder = registry.path(record.adapter_id).resolve()
    if as_json:
        print_json({"adapter_id": record.adapter_id, "path": str(folder)})
    else:
        typer.echo(folder)


@app.command()
def verify(
    adapters: Annotated[
        list[str] | None, typer.Argument(help="Adapter ids, or champion; default: all.")
    ] = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    database_url: DatabaseUrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Hash every file of the adapters again; exit 1 if one is damaged.

    Example: `negalign adapters verify --workspace my-workspace`
    """
    registry = _registry(workspace, database_url)
    problems: dict[str, str | None] = {}
    for adapter in adapters or [record.adapter_id for record in registry.list()]:
        try:
            problems[registry.verify(adapter).adapter_id] = None
        except RegistryError as error:
            problems[adapter] = str(error)
    if as_json:
        print_json(problems)
    for adapter, problem in ({} if as_json else problems).items():
        typer.echo(f"{adapter}: {problem or 'whole'}", err=problem is not None)
    if damaged := sum(problem is not None for problem in problems.values()):
        raise RegistryError(f"{damaged} adapter(s) are damaged or missing; see above")


@app.command()
def promote(
    adapter: Annotated[str, typer.Argument(help="Id of a candidate.")],
    reason: ReasonOption,
    by: ByOption = None,
    gate_record: Annotated[
        Path | None, typer.Option("--gate-record", help="The gate record it passed.")
    ] = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    database_url: DatabaseUrlOption = None,
) -> None:
    """Make a candidate the champion and retire the one before.

    Example: `negalign adapters promote c0002-kto-1f9a --reason "read by two of us"`
    """
    registry = _registry(workspace, database_url)
    record = registry.promote(adapter, by or _login_name(), reason, gate_record)
    typer.echo(f"champion: {record.adapter_id}")


@app.command()
def rollback(
    reason: ReasonOption,
    to: Annotated[
        str | None,
        typer.Option("--to", help="A former champion or an ancestor; default: the one before."),
    ] = None,
    by: ByOption = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    database_url: DatabaseUrlOption = None,
) -> None:
    """Give the champion's place back to an earlier adapter.

    Example: `negalign adapters rollback --reason "missed a pneumothorax"`
    """
    registry = _registry(workspace, database_url)
    record = registry.rollback(to, by or _login_name(), reason)
    typer.echo(f"champion: {record.adapter_id}")


def _registry(workspace: Path, database_url: str | None) -> Registry:
    return Registry(Workspace(workspace), open_engine(workspace, database_url))


def _login_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError) as error:  # a container whose user has no name
        raise RegistryError("this user has no login name; say who decides with --by") from error
