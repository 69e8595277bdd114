"""Several processes of one launch: the main one decides for all, and one launch runs at a time."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TextIO, TypeVar

from accelerate import PartialState
from accelerate.utils import broadcast_object_list

from negalign_train.vocabulary.errors import NegalignError

Decision = TypeVar("Decision")

POLL_SECONDS = 5.0
"""Between two looks at a lock that another launch holds; far under any ``ddp_timeout``."""


def from_main(decide: Callable[[], Decision]) -> Decision:
    """The main process's result of ``decide``, in every process.

    The disc is read once. Processes that read at different times, or from different nodes' discs,
    could decide differently, and the one left in a collective would wait for its timeout.

    Raises:
        NegalignError: as ``decide`` raised it, in every process.
    """
    message: list[Decision | NegalignError | None] = [None]
    if PartialState().is_main_process:
        try:
            message = [decide()]
        except NegalignError as error:
            message = [error]
    broadcast_object_list(message, from_process=0)
    if isinstance(message[0], NegalignError):
        raise message[0]
    return message[0]  # type: ignore[return-value]  # None only where Decision holds it


@contextmanager
def alone(output_dir: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Waits, all processes together, until no other launch writes into ``output_dir``.

    A cycle that was killed can leave its training behind: the same command then waits for it and
    takes its result. The lock goes with the main process, however that ends. While it is taken, the
    processes talk every few seconds: waiting longer than a collective's timeout is then no error.
    """
    with ExitStack() as stack:
        stream: TextIO | None = None
        if PartialState().is_main_process:
            output_dir.mkdir(parents=True, exist_ok=True)
            stream = stack.enter_context((output_dir / ".lock").open("w"))
        waiting = False
        while not from_main(lambda: stream is not None and _locks(stream)):
            if not waiting:
                say(f"another run is training into {output_dir}; waiting for it")
                waiting = True
            time.sleep(POLL_SECONDS)
        yield


def _locks(stream: TextIO) -> bool:
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
