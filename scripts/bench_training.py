"""Training speed and memory, side by side with TRL on the same rows, batches and adapter.

python scripts/bench_training.py --preset cpu --json out.json

Five arms (docs/performance.md): TRL's defaults, TRL at its best settings, the same with its head
patched to completion rows, ours without prefix trees, and ours. Gradients are compared first; a
workload whose arms disagree is not timed. Prints one table and writes one JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from benchmarks.environment import environment
from benchmarks.training_shapes import ARMS, Workload

LARGEST_ERROR = 1e-5
"""Relative, of a float64 model; TRL keeps its reference columns and Llama its norms in float32."""

FAIR_ARMS = tuple(name for name in ARMS if name != "trl_default")
NUM_BATCHES = 2
"""Distinct batches of a workload, taken in turn: TRL scores the reference of all of them first. An
even number of repeats times each equally often.
"""

CPU_WORKLOADS = (
    Workload("middle edit", "45M"),
    Workload("late edit", "45M", common=90, suffix=10),
    Workload("early edit", "45M", common=10, suffix=90),
    Workload("middle edit", "9M", examples=4),
    Workload("clinician edits", "45M", medec="medec_ms_validation.csv"),
    Workload("kto", "45M", "kto", examples=4),
    Workload("grpo update", "45M", "grpo", suffix=100, examples=8),
    Workload("nothing in common", "45M", prompt=1, common=0, suffix=200),
)
GPU_WORKLOADS = (
    Workload("middle edit", "0.5B", examples=64, dtype="bfloat16"),
    Workload("late edit", "0.5B", common=90, suffix=10, examples=64, dtype="bfloat16"),
    Workload("middle edit", "7B", examples=40, dtype="bfloat16"),
    Workload("grpo update", "0.5B", "grpo", suffix=100, examples=64, dtype="bfloat16"),
)
QUICK_WORKLOADS = (
    Workload("middle edit", "tiny", prompt=20, common=10, suffix=6, examples=2),
    Workload("kto", "tiny", "kto", prompt=20, common=10, suffix=6, examples=4),
    Workload("grpo update", "tiny", "grpo", prompt=20, suffix=8, examples=4, group=4),
)
PRESETS = {"cpu": CPU_WORKLOADS, "gpu": GPU_WORKLOADS, "quick": QUICK_WORKLOADS}
_SHARED_DATA = Path(
    os.environ.get("NEGALIGN_SHARED_DATA", Path(__file__).resolve().parents[2] / "shared" / "data")
)
_MEDEC = _SHARED_DATA / "medec" / "medec_ms_validation.csv"
SWEEPS: dict[str, list[dict[str, Any]]] = {
    "edit": [{"common": c, "suffix": 100 - c} for c in (5, 25, 50, 75, 95)],
    "prompt": [{"prompt": p} for p in (60, 150, 400)],
    "completion": [{"common": 6 * r // 10, "suffix": r - 6 * r // 10} for r in (60, 100, 150, 300)],
    "group": [{"method": "grpo", "suffix": 100, "group": g, "examples": g} for g in (4, 8, 16)],
    "vocabulary": [{"vocabulary": v} for v in (2_000, 32_000, 128_000)],
    "pairs": [{"examples": n} for n in (1, 2, 4, 8, 16)],
}


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    started = time.perf_counter()
    rows: list[dict[str, Any]] = []
    for workload in _workloads(options):
        # TRL's defaults are the slowest arm and the least fair one: the first workload shows them.
        row = measure(workload, options, ARMS if not rows else FAIR_ARMS)
        rows.append(row)
        print(_line(row), flush=True)
        if options.json is not None:  # after every workload: a run that is cut keeps what it has
            report = {
                "schema": "negalign.bench_training/1",
                "preset": options.preset,
                "environment": environment(),
                "seconds": round(time.perf_counter() - started, 1),
                "rows": rows,
            }
            options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(f"\n{_table(rows)}")
    print(f"{time.perf_counter() - started:.0f} s in all")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--preset", choices=sorted(PRESETS), default="cpu")
    parser.add_argument("--json", type=Path, help="where the report goes")
    parser.add_argument("--medec", type=Path, default=_MEDEC, help="MEDEC validation file (CSV)")
    parser.add_argument("--only", help="workloads whose name contains this")
    parser.add_argument("--repeats", type=int, default=4, help="timed steps of each arm")
    parser.add_argument("--sweep", choices=sorted(SWEEPS), help="the middle edit, one thing varied")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], help="instead of the preset's")
    parser.add_argument("--profile", action="store_true", help="what a step's time goes into")
    parser.add_argument("--peak-tflops", type=float, default=790.0, help="of the GPU, for MFU")
    return parser


def _workloads(options: argparse.Namespace) -> list[Workload]:
    """Those of the preset that are asked for and can run here."""
    import torch

    chosen = list(PRESETS[options.preset])
    if options.preset == "gpu" and not torch.cuda.is_available():
        raise SystemExit("--preset gpu needs a CUDA device; use --preset cpu")
    if options.sweep is not None:
        chosen = [
            replace(chosen[0], name=", ".join(f"{k} {v}" for k, v in change.items()), **change)
            for change in SWEEPS[options.sweep]
        ]
    if options.dtype is not None:
        chosen = [replace(workload, dtype=options.dtype) for workload in chosen]
    if options.only is not None:
        chosen = [workload for workload in chosen if options.only in workload.name]
    kept = []
    for workload in chosen:
        if workload.medec is not None:
            if not options.medec.is_file():
                print(f"{workload.name}: left out, {options.medec} is missing (see --medec)")
                continue
            workload = replace(workload, medec=str(options.medec))
        kept.append(workload)
    return kept


def measure(
    workload: Workload, options: argparse.Namespace, names: Sequence[str]
) -> dict[str, Any]:
    """One row of the report.

    Raises:
        SystemExit: our gradients are not TRL's.
    """
    from benchmarks.training_arms import build_arm
    from benchmarks.training_check import gradient_error
    from benchmarks.training_measure import step_shares
    from benchmarks.training_process import interleaved, start

    error = gradient_error(workload)
    if error > LARGEST_ERROR:
        raise SystemExit(
            f"{workload.name}: gradients differ by {error:.1e} from TRL's, at most "
            f"{LARGEST_ERROR:.0e} is rounding; nothing was timed"
        )
    row: dict[str, Any] = {"workload": workload.name, "model": workload.model}
    row |= {"settings": asdict(workload), "max_grad_rel_error": error}
    if options.preset == "gpu":
        return row | _one_by_one(workload, options)
    arms = start(workload, names, NUM_BATCHES)
    timings = interleaved(arms, options.repeats, seldom=("trl_default",))
    row["seconds_per_step"] = {name: timing.median for name, timing in timings.items()}
    row["seconds_quartiles"] = {name: timing.spread for name, timing in timings.items()}
    row["tokens_per_step"], row["unique_tokens_per_step"] = arms["ours"].tokens
    row["memory_mb"] = {name: arm.end() for name, arm in arms.items()}
    if options.profile:
        vocabulary = workload.shape.vocabulary
        row["shares"] = {
            name: step_shares(build_arm(workload, name, NUM_BATCHES), vocabulary)
            for name in ("trl_best", "ours")
        }
    return row | _memory_ratios(row["memory_mb"]) | _ratios(row, workload)


def _one_by_one(workload: Workload, options: argparse.Namespace) -> dict[str, Any]:
    """On a GPU each arm has the device to itself; rounds of processes stand in for turns."""
    from benchmarks.training_measure import executed_flops, median_of
    from benchmarks.training_process import alone

    figures = {
        name: median_of(
            lambda name=name: alone(workload, name, NUM_BATCHES, options.repeats),  # type: ignore[misc]
            2,
        )
        for name in ARMS
        if name != "trl_patched"
    }
    tokens, unique = figures["ours"]["tokens"], figures["ours"]["unique"]
    row: dict[str, Any] = {
        "seconds_per_step": {name: each["seconds"] for name, each in figures.items()},
        "memory_mb": figures,
        "tokens_per_step": tokens,
        "unique_tokens_per_step": unique,
    }
    scored = workload.examples * (2 if workload.method == "dpo" else 1)
    head_rows = {"ours": scored * workload.suffix, "plain": scored * workload.suffix}
    row["mfu"] = {
        name: executed_flops(
            workload, name, unique if name == "ours" else tokens,
            head_rows.get(name, scored * (workload.common + workload.suffix)),
        ) / each["seconds"] / (options.peak_tflops * 1e12)
        for name, each in figures.items()
    }  # fmt: skip
    return row | _memory_ratios(figures) | _ratios(row, workload)


def _memory_ratios(peaks: dict[str, dict[str, float]]) -> dict[str, float]:
    """Ours over TRL's: of what a step adds to libraries and model, and of the whole process."""
    ours, best = peaks["ours"], peaks["trl_best"]
    return {
        "memory_ratio": ours["step_mb"] / best["step_mb"],
        "process_memory_ratio": ours["peak_mb"] / best["peak_mb"],
    }


def _ratios(row: dict[str, Any], workload: Workload) -> dict[str, Any]:
    """Speed of ours over each arm, and examples a second."""
    seconds = row["seconds_per_step"]
    names = {"trl_default": "trl_defaults", "trl_best": "trl_best", "trl_patched": "trl_patched"}
    names |= {"plain": "plain"}
    ratios = {
        f"ratio_vs_{label}": seconds[name] / seconds["ours"]
        for name, label in names.items()
        if name in seconds
    }
    rates = {name: workload.examples / each for name, each in seconds.items()}
    return ratios | {"examples_per_second": rates}


def _line(row: dict[str, Any]) -> str:
    spent = ", ".join(f"{name} {each:.2f}" for name, each in row["seconds_per_step"].items())
    shares = "".join(
        f"\n  {arm}: " + ", ".join(f"{name} {share:.0%}" for name, share in parts.items())
        for arm, parts in row.get("shares", {}).items()
    )
    return f"{row['workload']} ({row['model']}): seconds a step: {spent}{shares}"


def _table(rows: Sequence[dict[str, Any]]) -> str:
    """Ratios of TRL's time to ours, ours over TRL's memory."""
    columns = (
        ("TRL best", "ratio_vs_trl_best"), ("patched", "ratio_vs_trl_patched"),
        ("defaults", "ratio_vs_trl_defaults"), ("no trees", "ratio_vs_plain"),
        ("memory", "memory_ratio"), ("of the process", "process_memory_ratio"),
    )  # fmt: skip
    lines = ["| Workload | Model | " + " | ".join(title for title, _ in columns) + " | gradients |"]
    lines.append("|---|---|" + "---:|" * (len(columns) + 1))
    for row in rows:
        cells = [f"{row[key]:.2f}" if key in row else "" for _, key in columns]
        error = f"{row['max_grad_rel_error']:.0e}"
        lines.append(
            f"| {row['workload']} | {row['model']} | " + " | ".join([*cells, error]) + " |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
