"""``negalign``: one line per command; the commands live in ``negalign_train.commands``."""

from __future__ import annotations

import signal
import sys

import typer
from rich.console import Console

from negalign_train.commands.lazy import lazy_group
from negalign_train.errors import NegalignError
from negalign_train.offline import go_offline

# Command to its module: only the one that is asked for is imported, so that it starts at once.
_COMMANDS = {
    "feedback": "feedback",
    "adapters": "adapters",
    "score": "score",
    "judge": "judge",
    "cycle": "cycle",
    "pairs": "pairs",
    "audit": "audit",
    "estimate": "estimate",
    "env": "env",
    "unlock": "unlock",
}
app = typer.Typer(
    name="negalign",
    cls=lazy_group(_COMMANDS),
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    # A pretty traceback shows local variables, and those may hold report text.
    pretty_exceptions_enable=False,
)


@app.callback()
def negalign() -> None:
    """Graded reader feedback in, the next gated LoRA adapter out."""


def main() -> None:
    """Runs the command line; an error raised on purpose is one red line and exit code 1."""
    go_offline()
    # A polite kill unwinds like an error, so that no training process is left behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        app(prog_name="negalign")
    except (NegalignError, OSError) as error:
        # A full or read-only disk is no bug: what was whole before is whole still.
        line = " ".join(f"error: {error}".split())
        Console(stderr=True, soft_wrap=True).print(line, style="red", markup=False, highlight=False)
        sys.exit(1)


if __name__ == "__main__":
    main()
