"""``negalign cycle``: one feedback cycle, or several, with a summary at a glance."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from negalign_train.commands.support.common import (
    DEFAULT_WORKSPACE,
    DatabaseUrlOption,
    JsonOption,
    WorkspaceOption,
    json_line,
    open_engine,
)
from negalign_train.commands.support.cycle_summary import print_result
from negalign_train.commands.support.progress import shown_progress
from negalign_train.quiet import quieten
from negalign_train.recipe.candidate import MAX_SEED
from negalign_train.recipe.cycle import CycleRecipe, load_yaml
from negalign_train.storage.workspace import Workspace


def cycle(
    config: Annotated[Path, typer.Option("--config", "-c", help="Recipe of the cycle (YAML).")],
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    seed: Annotated[
        int,
        typer.Option(min=0, max=MAX_SEED, help="Seed of cases, readers, training and bootstrap."),
    ] = 1,
    cycles: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Bring the workspace to this many cycles. Default: finish the unfinished cycle, "
            "or run one new one.",
        ),
    ] = None,
    wait: Annotated[
        bool,
        typer.Option(
            "--wait",
            help="Wait while another cycle runs in this workspace; otherwise exit with 75.",
        ),
    ] = False,
    database_url: DatabaseUrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Turn graded feedback into the next adapter, gate it, and promote it if it is better.

    A cycle that was stopped goes on after its last whole step when the same command is run again.
    With **--json**, one JSON object per cycle goes to standard output, one per line.

    Example: `negalign cycle --config my-cycle.yaml --workspace my-workspace`
    """
    recipe = load_yaml(config, CycleRecipe)
    quieten()
    # Heavy: only once the recipe is known to be one.
    from negalign_train.cycle.opening.plan import LocatedRecipe
    from negalign_train.cycle.run import run_cycles

    located = LocatedRecipe(recipe, config)
    # A cycle on a log needs what was imported: a mistyped folder is no new workspace.
    engine = open_engine(workspace, database_url, create=recipe.feedback.source != "log")
    console = Console(stderr=True, soft_wrap=True)
    with shown_progress(console) as progress:
        place = Workspace(workspace)
        try:
            for result in run_cycles(place, engine, located, seed, progress, cycles, wait):
                if as_json:
                    typer.echo(json_line(result.to_json()))
                    sys.stdout.flush()
                else:
                    print_result(result, place.cycle_dir(result.cycle) / "report.html")
        except KeyboardInterrupt:
            console.print("stopped; the same command goes on after the last whole step")
            raise typer.Exit(130) from None
