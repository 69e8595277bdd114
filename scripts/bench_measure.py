"""Clock, memory and profile of the training benchmark's arms."""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from bench_arms import Arm, build_arm
from bench_workloads import LORA_RANK, Workload
from torch.profiler import ProfilerActivity, profile

from negalign_train.training.tree import tree_size


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


def interleaved(arms: Mapping[str, Arm], repeats: int, seldom: Sequence[str]) -> dict[str, Timing]:
    """Steps of all arms in turn, A B C A B C: drift of the machine meets all alike. The first round
    is not counted; ``seldom`` arms run in it and one more.
    """
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    for turn in range(repeats + 1):
        for name, arm in arms.items():
            if name in seldom and turn > 1:
                continue
            found = clock(arm, turn)
            if turn > 0:
                seconds[name].append(found)
    return {name: Timing(tuple(values)) for name, values in seconds.items()}


def peak_memory(workload: Workload, name: str, steps: int) -> dict[str, float]:
    """MB of an arm alone in this process: highest in all, and above what was there before its first
    step (libraries, model, adapter, data).
    """
    arm = build_arm(workload, name, steps)
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        seconds = [clock(arm, step) for step in range(steps)]
        peak = torch.cuda.max_memory_allocated()
        found = {"peak_mb": peak / 2**20, "step_mb": (peak - before) / 2**20}
    else:
        before = _resident_kb()
        _forget_high_water()
        seconds = [clock(arm, step) for step in range(steps)]
        peak = _high_water_kb()
        found = {"peak_mb": peak / 1024, "step_mb": (peak - before) / 1024}
    return found | {"seconds": statistics.median(seconds[1:] or seconds)}


def _status_kb(key: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1])
    raise SystemExit(f"/proc/self/status has no {key}; memory is measured on Linux only")


def _resident_kb() -> int:
    return _status_kb("VmRSS")


def _forget_high_water() -> None:
    """Building the model may have taken more than a step does; writing 5 resets the mark."""
    Path("/proc/self/clear_refs").write_text("5")


def _high_water_kb() -> int:
    return min(_status_kb("VmHWM"), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def in_own_process(workload: Workload, name: str, steps: int) -> dict[str, float]:
    """:func:`peak_memory` in a process of its own.

    Raises:
        SystemExit: it failed; the end of what it wrote is shown.
    """
    task = json.dumps({"workload": asdict(workload), "arm": name, "steps": steps})
    script = Path(__file__).with_name("bench_training.py")
    done = subprocess.run(
        [sys.executable, str(script), "--child", task], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise SystemExit(f"{workload.name}, arm {name}, failed:\n{done.stderr[-2000:]}")
    found: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def unique_tokens(workload: Workload, arm: Arm) -> tuple[float, float]:
    """Tokens of a step as TRL runs them and as trees do, from the arm's rows."""
    texts: list[list[list[int]]] = []
    for row in arm.rows:
        if workload.method == "dpo":
            sides = (row["chosen_ids"], row["rejected_ids"])
            texts.append([row["prompt_ids"] + side for side in sides])
        elif workload.method == "kto":
            texts.append([row["prompt_ids"] + row["completion_ids"]])
        else:
            texts.append([row.prompt_ids + row.completion_ids])
    steps = len(arm.rows) / workload.examples
    every = [text for group in texts for text in group]
    return sum(map(len, every)) / steps, tree_size(every) / steps


def step_shares(arm: Arm, vocabulary: int) -> dict[str, float]:
    """Shares of a step's time by what it was spent on; ``host`` is the time no operator ran."""
    arm.step(0)
    device = torch.cuda.is_available()
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device else [])]
    with profile(activities=activities, record_shapes=True) as record:
        wall = clock(arm, 1)
    shares = dict.fromkeys(("head", "attention", "lora", "optimiser", "trunk", "elementwise"), 0.0)
    for event in record.key_averages(group_by_input_shape=True):
        spent = event.self_device_time_total if device else event.self_cpu_time_total
        shares[_kind(event.key, event.input_shapes, vocabulary)] += spent / 1e6 / wall
    shares["host"] = max(0.0, 1 - sum(shares.values()))
    return shares


def _kind(name: str, shapes: Any, vocabulary: int) -> str:
    sizes = {size for shape in shapes or () if isinstance(shape, list) for size in shape}
    if "scaled_dot_product" in name or "flash" in name:
        return "attention"
    if vocabulary in sizes:
        return "head"
    if "adam" in name.lower() or "foreach" in name or "Optimizer" in name:
        return "optimiser"
    if name.startswith(("aten::mm", "aten::addmm", "aten::bmm", "aten::linear")):
        return "lora" if LORA_RANK in sizes else "trunk"
    return "elementwise"


def executed_flops(workload: Workload, arm_name: str, tokens: float, head_rows: float) -> float:
    """Of a step: 4 per trunk weight and token (a frozen weight has no gradient of its own), and for
    each scored row 4 per head weight (ours) or 6 (TRL, which computes its logits twice).
    """
    shape = workload.shape
    attention = 2 * shape.hidden * shape.hidden * (1 + shape.kv_heads / shape.heads)
    trunk = shape.layers * (attention + 3 * shape.hidden * shape.intermediate)
    head = shape.vocabulary * shape.hidden
    return 4 * trunk * tokens + (4 if arm_name in ("ours", "plain") else 6) * head * head_rows


def median_of(function: Callable[[], dict[str, float]], repeats: int) -> dict[str, float]:
    """Each figure's median over ``repeats`` calls."""
    found = [function() for _ in range(repeats)]
    return {name: statistics.median(each[name] for each in found) for name in found[0]}
