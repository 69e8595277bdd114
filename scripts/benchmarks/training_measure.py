"""What the benchmark's arms compute: tokens, operations, and what a step's time goes into."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.training_arms import Arm
from benchmarks.training_shapes import Workload
from benchmarks.training_workloads import LORA_RANK
from negalign_train.training.forward.tree import tree_size


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
        started = time.perf_counter()
        arm.step(1)
        wall = time.perf_counter() - started
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
    calls = [function() for _ in range(repeats)]
    return {name: statistics.median(each[name] for each in calls) for name in calls[0]}
