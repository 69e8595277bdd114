"""``negalign adapters``: the registry."""

from __future__ import annotations

import getpass
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

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
from negalign_train.registry.adapters import Registry
from negalign_train.registry.log import APPROVED, CHAMPION
from negalign_train.registry.manifest import AdapterRecord
from negalign_train.storage.database import open_for_reading
from negalign_train.storage.workspace import Workspace
from negalign_train.vocabulary.errors import RegistryError

app = typer.Typer(
    help="The adapters: list, show, promote, approve, roll back.", no_args_is_help=True
)

AdapterArgument = Annotated[str, typer.Argument(help="Adapter id, champion, or approved.")]
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
    registry = _read_registry(workspace, database_url)
    records = registry.list()
    aliases = {CHAMPION: registry.champion(), APPROVED: registry.approved()}
    names = {
        record.adapter_id: [alias for alias, held in aliases.items() if held == record]
        for record in records
    }
    if as_json:
        print_json([asdict(each) | {"aliases": names[each.adapter_id]} for each in records])
        return
    table = Table("Adapter", "State", "Alias", "Cycle", "Method", "Parent", "Base", "Created")
    for record in records:
        table.add_row(
            record.adapter_id,
            _shown_state(record, registry.state_reason(record.adapter_id)),
            ", ".join(names[record.adapter_id]) or "–",
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
    registry = _read_registry(workspace, database_url)
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
            move.changed_at,
            f"{move.alias}: {move.action} {move.adapter_id or 'base model'} by {move.changed_by}: "
            f"{move.reason}",
        )
    print_table(table)


@app.command()
def path(
    adapter: AdapterArgument,
    base: Annotated[
        Path | None,
        typer.Option("--base", help="Where the base model lies, if not where its cycle found it."),
    ] = None,
    published: Annotated[
        bool,
        typer.Option(
            "--published", help="The published folder, which holds no path: to copy elsewhere."
        ),
    ] = False,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    database_url: DatabaseUrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print a folder that plain PEFT loads here, base and all, after checking its hashes.

    `AutoPeftModelForCausalLM.from_pretrained(FOLDER)` is all it takes. Where the base is a local
    folder or the embedded one, it is a copy under `serving/` that knows the base's place on this
    machine.

    Example: `negalign adapters path champion --workspace my-workspace`
    """
    registry = _read_registry(workspace, database_url)
    if published:
        folder = registry.path(registry.verify(adapter).adapter_id).resolve()
    else:
        # Joins cycles and registry: not needed by the other commands here.
        from negalign_train.cycle.upkeep.serving import loadable_folder

        folder = loadable_folder(Workspace(workspace), registry, adapter, base)
    if as_json:
        print_json({"adapter_id": registry.resolve(adapter), "path": str(folder)})
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
    registry = _read_registry(workspace, database_url)
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
    adapter: Annotated[str, typer.Argument(help="Adapter id, whatever its gate decided.")],
    reason: ReasonOption,
    by: ByOption = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    database_url: DatabaseUrlOption = None,
) -> None:
    """Override the gate: make an adapter the champion, in your name.

    The one before is retired. Who, why and what the gate had decided stay in `overrides/` and in
    the history.

    Example: `negalign adapters promote c0002-dpo-1f9a02bc --reason "read 50 reports" --by anna`
    """
    # Joins cycles and registry: not needed by the other commands here.
    from negalign_train.cycle.upkeep.override import override

    place = Workspace(workspace)
    registry = _registry(workspace, database_url)
    record = override(
        place, registry, registry.resolve(adapter), by or _login_name(), reason, datetime.now(UTC)
    )
    typer.echo(f"champion: {record.adapter_id}")


@app.command()
def rollback(
    reason: ReasonOption,
    to: Annotated[
        str | None,
        typer.Option(
            "--to",
            help="A former champion, an ancestor, or `base` for the bare base model; default: the "
            "one before.",
        ),
    ] = None,
    by: ByOption = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    database_url: DatabaseUrlOption = None,
) -> None:
    """Give the champion's place back to an earlier adapter, or to the base model.

    Example: `negalign adapters rollback --to base --reason "complaints from ward 3"`
    """
    record = _registry(workspace, database_url).rollback(to, by or _login_name(), reason)
    typer.echo(f"champion: {_name(record)}")


@app.command()
def approve(
    adapter: Annotated[
        str, typer.Argument(help="Adapter id, champion, or `base` to withdraw the approval.")
    ],
    reason: ReasonOption,
    by: ByOption = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    database_url: DatabaseUrlOption = None,
) -> None:
    """Set the adapter that a recipe's `reference: approved` holds training to.

    It counts from the next cycle on. Until an adapter is approved, it is the base model.

    Example: `negalign adapters approve champion --reason "passed the reader study"`
    """
    record = _registry(workspace, database_url).approve(adapter, by or _login_name(), reason)
    typer.echo(f"approved: {_name(record)}")


def _shown_state(record: AdapterRecord, reason: str) -> str:
    """A candidate that the gate left open was not found to be worse, and the table says so."""
    undecided = record.state == "rejected" and reason.startswith("inconclusive")
    return "rejected (inconclusive)" if undecided else record.state


def _name(record: AdapterRecord | None) -> str:
    return "the base model" if record is None else record.adapter_id


def _registry(workspace: Path, database_url: str | None) -> Registry:
    return Registry(Workspace(workspace), open_engine(workspace, database_url))


def _read_registry(workspace: Path, database_url: str | None) -> Registry:
    engine = open_engine(workspace, database_url, opened=open_for_reading)
    return Registry(Workspace(workspace), engine)


def _login_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError) as error:  # a container whose user has no name
        raise RegistryError("this user has no login name; say who decides with --by") from error
