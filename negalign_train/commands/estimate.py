"""``negalign estimate``: memory and time of a recipe's candidates, by arithmetic."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from negalign_train.commands.common import JsonOption, print_json, print_table
from negalign_train.estimate import (
    Architecture,
    Training,
    architecture_of,
    lora_parameters,
    memory,
    pair_flops,
)
from negalign_train.recipe import CycleRecipe, load_yaml
from negalign_train.recipe_candidate import CandidateSettings

_GB = 1e9


def estimate(
    config: Annotated[Path, typer.Option("--config", "-c", help="Recipe (YAML) to estimate.")],
    pairs: Annotated[int, typer.Option(min=1, help="Preference pairs of the cycle.")] = 1000,
    prompt_tokens: Annotated[int, typer.Option(min=1, help="Tokens of a prompt.")] = 150,
    completion_tokens: Annotated[int, typer.Option(min=1, help="Tokens of a report.")] = 100,
    tflops: Annotated[
        float, typer.Option(min=0.001, help="What one GPU really reaches, in TFLOP/s.")
    ] = 100.0,
    shards: Annotated[
        int, typer.Option(min=1, help="GPUs that share the base (ZeRO-3), else 1.")
    ] = 1,
    processes: Annotated[int, typer.Option(min=1, help="GPUs that share the work.")] = 1,
    as_json: JsonOption = False,
) -> None:
    """Estimate memory and training time of each candidate, before you rent a GPU.

    Arithmetic from the model's config.json; nothing is measured.

    Example: `negalign estimate --config my-cycle.yaml --pairs 2000 --tflops 60`
    """
    from negalign_train.cycle.base_model import resolve_model

    recipe = load_yaml(config, CycleRecipe)
    architecture = architecture_of(resolve_model(recipe.model).folder)
    rows = []
    for candidate in recipe.candidates:
        tokens = candidate_tokens(candidate, prompt_tokens + completion_tokens)
        need = memory(architecture, _training(recipe, candidate, tokens, shards))
        epochs = float(candidate.trainer.get("num_train_epochs", 1))
        checkpointing = bool(candidate.trainer.get("gradient_checkpointing", False))
        flops = pairs * pair_flops(
            architecture, prompt_tokens, completion_tokens, epochs, checkpointing
        )
        rows.append(
            {
                "candidate": candidate.name,
                "parameters": architecture.parameters,
                "lora_parameters": lora_parameters(architecture, candidate.lora),
                "tokens_per_micro_batch": tokens,
                "tokens_per_step": tokens * processes * _accumulated(candidate),
                "memory_gb": {
                    "base": need.base / _GB,
                    "gathered": need.gathered / _GB,
                    "adapter": need.adapter / _GB,
                    "activations": need.activations / _GB,
                    "head": need.head / _GB,
                    "total": need.total / _GB,
                },
                "training_minutes": flops / (tflops * 1e12 * processes) / 60,
            }
        )
    if as_json:
        print_json({"estimated": True, "candidates": rows})
        return
    print_table(_table(architecture, rows))


def candidate_tokens(candidate: CandidateSettings, sequence_tokens: int) -> int:
    """Tokens of one micro-batch: a pair is two sequences, KTO's row one and its partner's."""
    sequences = 1 if candidate.method in ("sft", "grpo") else 2
    per_device: int = candidate.trainer["per_device_train_batch_size"]
    return per_device * sequences * sequence_tokens


def _accumulated(candidate: CandidateSettings) -> int:
    steps: int = candidate.trainer.get("gradient_accumulation_steps", 1)
    return steps


def _training(
    recipe: CycleRecipe, candidate: CandidateSettings, tokens: int, shards: int
) -> Training:
    checkpointing = bool(candidate.trainer.get("gradient_checkpointing", False))
    settings = recipe.model
    return Training(
        settings.dtype, settings.quantisation, candidate.lora, tokens, shards, checkpointing
    )


def _table(architecture: Architecture, rows: list[dict[str, Any]]) -> Table:
    table = Table(
        "candidate", "LoRA", "tokens a step", "GB a GPU", "of these base", "adapter",
        "activations", "training minutes",
        title=f"estimated, {architecture.parameters / 1e9:.3g} B parameters",
    )  # fmt: skip
    for row in rows:
        need = row["memory_gb"]
        cells = [f"{need[name]:.2f}" for name in ("total", "base", "adapter", "activations")]
        table.add_row(
            row["candidate"], f"{row['lora_parameters'] / 1e6:.3g} M", str(row["tokens_per_step"]),
            *cells, f"{row['training_minutes']:.3g}",
        )  # fmt: skip
    return table
