"""What this machine can train on, without importing torch."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

_GB = 1e9
_BFLOAT16_CAPABILITY = 8.0
"""CUDA compute capability of the first GPUs (Ampere) that compute in bfloat16."""
_BFLOAT16_FLAGS = {"avx512_bf16", "amx_bf16"}


@dataclass(frozen=True)
class Machine:
    """``num_gpus`` 0 is a CPU. ``memory_gb`` is that of one GPU, or of the machine; GB of 1e9."""

    num_gpus: int
    memory_gb: float
    bfloat16: bool


def nvidia_smi(fields: str, *options: str) -> list[str]:
    """One line for each GPU as nvidia-smi prints ``fields``; none without it or without a GPU."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    form = ",".join(["csv", "noheader", *options])
    done = subprocess.run(
        [program, f"--query-gpu={fields}", f"--format={form}"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.stdout.strip().splitlines() if done.returncode == 0 else []


def detect_machine() -> Machine:
    """The visible GPUs, taken as equal to the smallest of them, or else the CPU."""
    gpus = [line.split(",") for line in nvidia_smi("memory.total,compute_cap", "nounits")]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        named = [part for part in visible.split(",") if part.strip() not in ("", "-1")]
        gpus = gpus[: len(named)]
    if not gpus:
        return cpu()
    memory = min(float(mebibytes) for mebibytes, _ in gpus) * 2**20 / _GB
    capable = all(float(capability) >= _BFLOAT16_CAPABILITY for _, capability in gpus)
    return Machine(len(gpus), memory, capable)


def cpu() -> Machine:
    """The machine without its GPUs."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / _GB
    info = Path("/proc/cpuinfo")
    flags = set(info.read_text(encoding="utf-8").split()) if info.is_file() else set()
    return Machine(0, memory, bool(flags & _BFLOAT16_FLAGS))
