"""Names of the training benchmark: shapes of models, workloads and arms. Needs no torch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

ARMS = ("trl_default", "trl_best", "trl_patched", "plain", "ours")


@dataclass(frozen=True)
class Shape:
    """A Llama architecture; ``tied``: one matrix is embedding and head."""

    vocabulary: int
    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    tied: bool = True


SHAPES = {
    "tiny": Shape(200, 32, 64, 2, 2, 1),
    "9M": Shape(2_000, 320, 1_024, 6, 5, 5),
    "45M": Shape(32_000, 512, 1_664, 8, 8, 8),
    "0.5B": Shape(151_936, 896, 4_864, 24, 14, 2),  # Qwen2.5-0.5B
    "7B": Shape(152_064, 3_584, 18_944, 28, 28, 4, tied=False),  # Qwen2.5-7B
}


@dataclass(frozen=True)
class Workload:
    """What is trained on. Lengths in tokens; ``suffix`` of a GRPO completion is its whole length.

    ``examples`` are pairs of a step for DPO, rows for KTO (two per case), completions for GRPO
    (``group`` of each prompt). ``medec`` names the file of clinician edits, if those are used.
    """

    name: str
    model: str
    method: Literal["dpo", "kto", "grpo"] = "dpo"
    prompt: int = 150
    common: int = 60
    suffix: int = 40
    examples: int = 2
    group: int = 8
    vocabulary: int | None = None
    medec: str | None = None
    dtype: str = "float32"

    @property
    def shape(self) -> Shape:
        shape = SHAPES[self.model]
        return shape if self.vocabulary is None else replace(shape, vocabulary=self.vocabulary)
