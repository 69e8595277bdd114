"""``negalign estimate``: memory and time of a recipe's candidates, by arithmetic."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from negalign_train.commands.support.common import (
    DatabaseUrlOption,
    JsonOption,
    open_engine,
    print_json,
    print_table,
)
from negalign_train.evaluation.outlook import (
    ASSUMED,
    Outlook,
    Spread,
    gate_outlook,
    measured_spread,
)
from negalign_train.feedback.store import FeedbackStore
from negalign_train.recipe.candidate import CandidateSettings
from negalign_train.recipe.cycle import CycleRecipe, load_yaml
from negalign_train.recipe.estimate import (
    Training,
    architecture_of,
    gate_memory,
    lora_parameters,
    memory,
    pair_flops,
)
from negalign_train.storage.database import open_for_reading
from negalign_train.storage.workspace import Workspace, read_json
from negalign_train.vocabulary.approval import approved_text

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
    workspace: Annotated[
        Path | None,
        typer.Option("--workspace", "-w", help="Its log and last cycle tell what the gate shows."),
    ] = None,
    database_url: DatabaseUrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Estimate memory and training time of each candidate, and what the gate could show.

    Arithmetic from the model's config.json and the number of held-out cases; nothing is measured.

    Example: `negalign estimate --config my-cycle.yaml --pairs 2000 --tflops 60`
    """
    from negalign_train.cycle.opening.base_model import resolve_model

    recipe = load_yaml(config, CycleRecipe)
    architecture = architecture_of(resolve_model(recipe.model).folder)
    outlook = _outlook(recipe, workspace, database_url)
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
                "gate_memory_gb": gate_memory(
                    architecture,
                    recipe.model.dtype,
                    candidate.lora,
                    recipe.evaluation.batch_size,
                    prompt_tokens + recipe.model.max_new_tokens,
                )
                / _GB,
                "training_minutes": flops / (tflops * 1e12 * processes) / 60,
            }
        )
    if as_json:
        gate = None if outlook is None else asdict(outlook)
        print_json({"estimated": True, "candidates": rows, "gate": gate})
        return
    print_table(
        _table(
            f"{architecture.parameters / 1e9:.3g} B parameters, {pairs} pairs of {prompt_tokens} + "
            f"{completion_tokens} tokens, {tflops:g} TFLOP/s",
            rows,
        )
    )
    for line in _gate_lines(recipe, outlook):
        typer.echo(line)


def _outlook(
    recipe: CycleRecipe, workspace: Path | None, database_url: str | None
) -> Outlook | None:
    """What the gate could show; None where nothing tells how many cases it will have."""
    spread, num_cases = ASSUMED, recipe.cases.num_evaluation_cases
    if workspace is not None:
        store = FeedbackStore(open_engine(workspace, database_url, opened=open_for_reading))
        if not num_cases:
            judged = {e.case_id for _, e in store.events() if approved_text(e) is not None}
            num_cases = int(recipe.preferences.held_out_fraction * len(judged))
        spread = _last_spread(Workspace(workspace)) or ASSUMED
    if num_cases == 0:
        return None
    return gate_outlook(recipe.gate, len(recipe.candidates), num_cases, spread)


def _last_spread(workspace: Workspace) -> Spread | None:
    from negalign_train.cycle.opening.plan import GATE_FILE, completed_cycles

    cycles = completed_cycles(workspace)
    if not cycles:
        return None
    records = read_json(workspace.cycle_dir(cycles[-1]) / GATE_FILE)["records"]
    return measured_spread(records[-1])


def _gate_lines(recipe: CycleRecipe, forecast: Outlook | None) -> list[str]:
    """What the gate could show, in sentences."""
    if forecast is None:
        return ["gate: no held-out case is known; give --workspace to count those of its log"]
    lines = [
        f"gate: {forecast.num_cases} held-out cases could show a fall of mean S of "
        f"{forecast.fall_of_S:.3f} or more (spread {forecast.spread.source})",
        f"  and hold a category's margin of {forecast.category_margin:.3f} or more, and one of the "
        f"severe-error rate of {forecast.severe_rate_margin:.3f}, if the candidate equals its "
        "parent",
    ]
    if forecast.num_cases < recipe.gate.min_cases:
        lines.append(f"  but gate.min_cases asks for {recipe.gate.min_cases}: inconclusive")
    narrow = [f"{name} {getattr(recipe.gate, name):g}" for name in forecast.too_narrow(recipe.gate)]
    if narrow:
        lines.append(
            f"  Too narrow for so few cases: {', '.join(narrow)}. The gate will probably be "
            "inconclusive: import more feedback, hold out more of it, or widen what the clinic "
            "can accept (docs/gate.md)"
        )
    return lines


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


def _table(title: str, rows: list[dict[str, Any]]) -> Table:
    table = Table(
        "candidate", "LoRA", "tokens a step", "GB a GPU", "of these base", "adapter",
        "activations", "GB at the gate", "training minutes",
        title=title,
    )  # fmt: skip
    for row in rows:
        need = row["memory_gb"]
        cells = [f"{need[name]:.2f}" for name in ("total", "base", "adapter", "activations")]
        table.add_row(
            row["candidate"], f"{row['lora_parameters'] / 1e6:.3g} M", str(row["tokens_per_step"]),
            *cells, f"{row['gate_memory_gb']:.2f}", f"{row['training_minutes']:.3g}",
        )  # fmt: skip
    return table
