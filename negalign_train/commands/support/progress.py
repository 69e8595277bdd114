"""Progress on the terminal, or in a file that output goes to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

from negalign_train.progress import Progress, TimeLeft, now_and_then


@contextmanager
def shown_progress(console: Console) -> Iterator[Progress]:
    """Lines on what starts; how long it takes on a terminal's last line, in a file now and then."""

    def write(line: str) -> None:
        console.print(f"[dim]· {line}[/dim]", highlight=False)

    if not console.is_terminal:
        yield now_and_then(write)
        return
    with console.status("starting") as status:

        def show(line: str) -> None:
            status.update(line)
            if not isinstance(line, TimeLeft):
                write(line)

        yield show
