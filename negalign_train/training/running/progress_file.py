"""How far a launched run is: a small file for its launcher, and now and then a line of its own."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelerate import PartialState
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from negalign_train.progress import Progress, Tick, now_and_then, time_left

PROGRESS = "progress.json"
_SECONDS = 1.0
"""Between two writings of the file."""


@dataclass(frozen=True)
class RunPlace:
    """What a run is at, and how much of it is done."""

    what: str
    done: int
    total: int


class RunProgress:
    """Of the main process; the other processes of a launch say nothing."""

    def __init__(
        self, folder: Path, say: Progress, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._path, self._say, self._clock = folder / PROGRESS, now_and_then(say), clock

    def ticks(self, what: str) -> Tick:
        """For one part of the run, such as its steps."""
        line = time_left(what, self._say)
        written = self._clock() - _SECONDS

        def tick(done: int, total: int) -> None:
            nonlocal written
            if not PartialState().is_main_process:
                return
            line(done, total)
            if self._clock() - written >= _SECONDS or done == total:
                written = self._clock()
                write_place(self._path, RunPlace(what, done, total))

        return tick

    def close(self) -> None:
        """The run is over: what it left says enough."""
        if PartialState().is_main_process:
            self._path.unlink(missing_ok=True)


def write_place(path: Path, place: RunPlace) -> None:
    """Whole or not there, and not waited for: it is out of date in a second."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(json.dumps([place.what, place.done, place.total]), encoding="utf-8")
    temporary.replace(path)


def read_place(folder: Path) -> RunPlace | None:
    """What the run in ``folder`` is at; None before it has said anything, and after its end."""
    try:
        what, done, total = json.loads((folder / PROGRESS).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return RunPlace(str(what), int(done), int(total))


class StepTicks(TrainerCallback):
    """One tick per optimiser step."""

    def __init__(self, tick: Tick) -> None:
        self._tick = tick

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self._tick(state.global_step, state.max_steps)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self._tick(state.global_step, state.max_steps)
