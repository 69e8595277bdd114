"""``negalign sft``: a base model that has seen reports, before the first cycle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from negalign_train.commands.support.output import JsonOption, print_json
from negalign_train.commands.support.progress import shown_progress
from negalign_train.quiet import quieten
from negalign_train.recipe.candidate import (
    MAX_SEED,
    BatchingSettings,
    CandidateSettings,
    LoraSettings,
)
from negalign_train.recipe.cycle import CycleRecipe, load_yaml


def sft(
    config: Annotated[
        Path, typer.Option("--config", "-c", help="Recipe whose cases and launch file are used.")
    ],
    model: Annotated[str, typer.Option(help="Base model to start from: a folder or a hub id.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder to write. Default: the recipe's base model."),
    ] = None,
    epochs: Annotated[float, typer.Option(min=0.01, help="Passes over the reports.")] = 1.0,
    learning_rate: Annotated[float, typer.Option(min=1e-7, max=1.0, help="Peak.")] = 2e-4,
    batch_size: Annotated[int, typer.Option(min=1, help="Reports of an optimiser step.")] = 16,
    lora_r: Annotated[int, typer.Option(min=1, help="Rank of the update that is merged.")] = 16,
    max_examples: Annotated[
        int | None, typer.Option(min=1, help="Reports at most. Default: all of the file's.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Of cases and training.")] = 1,
    as_json: JsonOption = False,
) -> None:
    """Train a base model on the case file's own reports, before the first cycle.

    Takes the reports that the recipe neither drafts for readers nor evaluates on, so that the
    cycles after it stay honest. Writes a base model folder, with the update merged; recipes name it
    in model.model_name_or_path. Stopped, the same command goes on.

    Example: `negalign sft --config my-cycle.yaml --model models/mine --out models/warm`
    """
    recipe = load_yaml(config, CycleRecipe)
    candidate = _candidate(epochs, learning_rate, batch_size, lora_r)
    quieten()
    from negalign_train.cycle.opening.plan import LocatedRecipe
    from negalign_train.cycle.zero import WarmUp, warm_up

    folder = out or Path(recipe.model.model_name_or_path)
    job = WarmUp(LocatedRecipe(recipe, config), model, folder, candidate, seed, max_examples)
    console = Console(stderr=True, soft_wrap=True)
    try:
        with shown_progress(console) as progress:
            done = warm_up(job, progress)
    except KeyboardInterrupt:
        console.print("stopped; the same command goes on after the last checkpoint")
        raise typer.Exit(130) from None
    if as_json:
        print_json(
            {
                "folder": str(done.folder),
                "base_digest": done.base_digest,
                "examples": done.num_examples,
                "logps_before": done.logps_before,
                "logps_after": done.logps_after,
                "seconds": done.seconds,
            }
        )
        return
    typer.echo(
        f"{done.folder}: trained on {done.num_examples} reports in {done.seconds:.0f} s; their "
        f"log-probability went from {done.logps_before:.1f} to {done.logps_after:.1f} nats a report"
    )


def _candidate(
    epochs: float, learning_rate: float, batch_size: int, lora_r: int
) -> CandidateSettings:
    return CandidateSettings(
        name="sft",
        method="sft",
        start="fresh",
        lora=LoraSettings(r=lora_r, lora_alpha=2 * lora_r),
        batching=BatchingSettings(max_tokens=1024),  # memory of a laptop; the result is the same
        trainer={
            "learning_rate": learning_rate,
            "num_train_epochs": epochs,
            "per_device_train_batch_size": batch_size,
            "lr_scheduler_type": "cosine",
            "warmup_steps": 0.05,
            "logging_steps": 10,
            "save_steps": 50,
        },
    )
