"""Arms of the training benchmark in processes of their own, as a user runs them.

What one arm takes from the allocator and gives back does not reach the others; a step runs where it
is asked for, so that arms still take turns.
"""

from __future__ import annotations

import multiprocessing
import resource
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from benchmarks.training_arms import Arm, build_arm
from benchmarks.training_measure import unique_tokens
from benchmarks.training_shapes import Workload


@dataclass(frozen=True)
class Timing:
    """Seconds of an arm's timed steps."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def spread(self) -> tuple[float, float]:
        """First and third quartile."""
        if len(self.seconds) < 2:
            return self.seconds[0], self.seconds[0]
        quartiles = statistics.quantiles(self.seconds, n=4, method="inclusive")
        return quartiles[0], quartiles[2]


def clock(arm: Arm, step: int) -> float:
    """Seconds of one optimiser step; reading its loss waits for the device."""
    start = time.perf_counter()
    arm.step(step)
    return time.perf_counter() - start


class ArmProcess:
    """An arm that was built in a process of its own and waits for its steps.

    ``tokens`` are those of a step as TRL runs them and as trees do, once the arm is ready.
    """

    tokens: tuple[float, float]

    def __init__(self, workload: Workload, name: str, num_batches: int) -> None:
        self._what = f"{workload.name}, arm {name}"
        spawn = multiprocessing.get_context("spawn")
        self._connection, theirs = spawn.Pipe()
        arguments = (theirs, workload, name, num_batches)
        self._process = spawn.Process(target=_serve, args=arguments, daemon=True)
        self._process.start()
        theirs.close()

    def wait(self) -> None:
        """Until the arm is built."""
        self.tokens = self._receive()

    def step(self, index: int) -> float:
        """Seconds of one optimiser step."""
        self._connection.send(index)
        return float(self._receive())

    def end(self) -> dict[str, float]:
        """MB over all its steps: highest of the process, and above what was there before the first
        of them (libraries, model, adapter, data).
        """
        self._connection.send(None)
        memory: dict[str, float] = self._receive()
        self._process.join()
        return memory

    def _receive(self) -> Any:
        try:
            return self._connection.recv()
        except EOFError:
            raise SystemExit(f"{self._what}, ended early; what it wrote stands above") from None


def _serve(connection: Connection, workload: Workload, name: str, num_batches: int) -> None:
    arm = build_arm(workload, name, num_batches)
    before = _memory_before()
    connection.send(unique_tokens(workload, arm))
    while (step := connection.recv()) is not None:
        connection.send(clock(arm, step))
    peak = _highest_memory()
    connection.send({"peak_mb": peak / 2**20, "step_mb": (peak - before) / 2**20})


def start(workload: Workload, names: Sequence[str], num_batches: int) -> dict[str, ArmProcess]:
    """The arms, built side by side."""
    arms = {name: ArmProcess(workload, name, num_batches) for name in names}
    for arm in arms.values():
        arm.wait()
    return arms


def interleaved(
    arms: Mapping[str, ArmProcess], repeats: int, seldom: Sequence[str]
) -> dict[str, Timing]:
    """Steps of all arms in turn, A B C A B C: drift of the machine meets all alike. The first round
    is not counted; ``seldom`` arms run in it and one more.
    """
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    for turn in range(repeats + 1):
        for name, arm in arms.items():
            if name in seldom and turn > 1:
                continue
            step_seconds = arm.step(turn)
            if turn > 0:
                seconds[name].append(step_seconds)
    return {name: Timing(tuple(values)) for name, values in seconds.items()}


def alone(workload: Workload, name: str, num_batches: int, repeats: int) -> dict[str, float]:
    """Median seconds of a step, memory and tokens of an arm that has the device to itself."""
    (arm,) = start(workload, [name], num_batches).values()
    timing = interleaved({name: arm}, repeats, ())[name]
    tokens, unique = arm.tokens
    return {"seconds": timing.median, "tokens": tokens, "unique": unique} | arm.end()


def _memory_before() -> float:
    """Bytes in use; the highest mark starts here."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        return float(torch.cuda.memory_allocated())
    before = 1024.0 * _status_kb("VmRSS")
    # Building the model may have taken more than a step does; writing 5 resets the mark.
    Path("/proc/self/clear_refs").write_text("5")
    return before


def _highest_memory() -> float:
    if torch.cuda.is_available():
        return float(torch.cuda.max_memory_allocated())
    return 1024.0 * min(_status_kb("VmHWM"), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def _status_kb(key: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1])
    raise SystemExit(f"/proc/self/status has no {key}; memory is measured on Linux only")
