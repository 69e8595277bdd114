"""``negalign``: the commands by heading; each lives in a module of ``negalign_train.commands``.

Exit codes: 0 success, 1 an error, 2 a command line that cannot be meant so. ``negalign score`` adds
3: the pair cannot be scored.
"""

from __future__ import annotations

import signal
import sys
from importlib.metadata import version
from typing import Annotated

import typer
from rich.console import Console

from negalign_train.commands.support.lazy import lazy_group
from negalign_train.offline import go_offline
from negalign_train.vocabulary.errors import NegalignError

# Heading to command to module, in the order in which a user needs them. Only the command that is
# asked for is imported, so that it starts at once.
_PANELS = {
    "1. Prepare": {
        "feedback": "feedback",
        "models": "models",
        "init": "init",
        "recipe": "recipe",
        "estimate": "estimate",
    },
    "2. Run": {"sft": "sft", "draft": "people.draft", "cycle": "cycle", "pairs": "pairs"},
    "3. Use and check the result": {"adapters": "adapters", "audit": "upkeep.audit"},
    "Score reports": {"score": "score", "judge": "judge", "inject": "inject"},
    "When something is wrong": {"env": "upkeep.env", "unlock": "upkeep.unlock"},
}
app = typer.Typer(
    name="negalign",
    cls=lazy_group(_PANELS),
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    # A pretty traceback shows local variables, and those may hold report text.
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"negalign {version('negalign-train')}")
        raise typer.Exit


@app.callback()
def negalign(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Graded reader feedback in, the next gated LoRA adapter out.

    First steps: `negalign feedback import LOG.jsonl`, `negalign init --model M`,
    `negalign cycle --config my-cycle.yaml`. Each command explains itself with **--help**.
    """


def main() -> None:
    """Runs the command line; an error raised on purpose is one red line and exit code 1 or 2."""
    go_offline()
    # A polite kill unwinds like an error, so that no training process is left behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        app(prog_name="negalign")
    except (NegalignError, OSError) as error:
        # A full or read-only disk is no bug: what was whole before is whole still.
        line = " ".join(f"error: {error}".split())
        Console(stderr=True, soft_wrap=True).print(line, style="red", markup=False, highlight=False)
        sys.exit(error.exit_code if isinstance(error, NegalignError) else 1)


if __name__ == "__main__":
    main()
