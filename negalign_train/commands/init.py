"""``negalign init``: a recipe for this model and machine, checked before it is written."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, cast, get_args

import typer
from rich.console import Console
from sqlalchemy import Engine

from negalign_train.commands.estimate import estimate
from negalign_train.commands.support.common import DatabaseUrlOption, open_engine
from negalign_train.quiet import quieten
from negalign_train.recipe.candidate import Method
from negalign_train.recipe.cycle import CycleRecipe, ModelSettings, load_yaml
from negalign_train.recipe.tailored.base_files import read_base_files
from negalign_train.recipe.tailored.machine import Machine, cpu, detect_machine
from negalign_train.recipe.tailored.planning import LogFacts, RecipePlan, plan_recipe
from negalign_train.recipe.tailored.writing import launch_text, recipe_text
from negalign_train.storage.workspace import replacing
from negalign_train.vocabulary.approval import approved_text
from negalign_train.vocabulary.errors import RecipeError, UsageError

_GPU_TFLOPS, _CPU_TFLOPS = 60.0, 0.05
"""What a GPU of the last years and two CPU cores really reach, about."""


def init(
    model: Annotated[
        str,
        typer.Option(help="Base model: a folder, a hub id that was downloaded, or `embedded`."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Recipe to write.")] = Path(
        "my-cycle.yaml"
    ),
    method: Annotated[
        str, typer.Option(help="Candidates, separated by commas: dpo, kto, grpo, sft.")
    ] = "dpo",
    workspace: Annotated[
        Path | None,
        typer.Option("--workspace", "-w", help="Its log decides on lengths and held-out cases."),
    ] = None,
    database_url: DatabaseUrlOption = None,
    gpu_memory: Annotated[
        float | None,
        typer.Option(min=0, help="GB of one GPU; 0 is the CPU. Default: what is found here."),
    ] = None,
    gpus: Annotated[
        int | None, typer.Option(min=1, help="How many GPUs. Default: those found here.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that are there.")] = False,
) -> None:
    """Write a commented recipe for this model and this machine, checked as a cycle would check it.

    It sets dtype, batches, 4-bit weights where the base does not fit, learning rate, lengths and
    the gate's cases, and writes the launch file beside it.

    Example: `negalign init --model Qwen/Qwen2.5-0.5B-Instruct --workspace my-workspace`
    """
    methods = _methods(method)
    launch = out.with_suffix(".accelerate.yaml")
    for path in (out, launch):
        if path.exists() and not force:
            raise RecipeError(f"{path} exists; choose another --out, or replace it with --force")
    machine = _machine(gpu_memory, gpus)
    quieten()
    from negalign_train.cycle.opening.base_model import resolve_model

    # Only where it lies matters here: the other settings follow.
    where = ModelSettings(model_name_or_path=model, max_new_tokens=1, temperature=0)
    base = read_base_files(model, resolve_model(where).folder)
    engine = None if workspace is None else open_engine(workspace, database_url)
    log = None if engine is None else _log_facts(engine, base.folder)
    plan = plan_recipe(base, machine, methods, log)
    recipe = recipe_text(plan, out.name, launch.name)
    _check(recipe, launch_text(machine), launch.name, engine)
    for path, text in ((launch, launch_text(machine)), (out, recipe)):
        with replacing(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    _report(plan, out, launch, workspace, database_url)


def _methods(names: str) -> tuple[Method, ...]:
    methods = [name.strip() for name in names.split(",")]
    known = get_args(Method)
    if unknown := [name for name in methods if name not in known]:
        raise UsageError(f"--method {unknown[0]!r} is none of {', '.join(known)}")
    if len(set(methods)) != len(methods):
        raise UsageError("--method names one twice; name each once")
    return cast("tuple[Method, ...]", tuple(methods))


def _machine(gpu_memory: float | None, gpus: int | None) -> Machine:
    """The machine here, or the one that the options describe."""
    if gpu_memory == 0:
        if gpus is not None:
            raise UsageError("--gpus does not go with --gpu-memory 0, which is the CPU")
        return cpu()
    this_machine = detect_machine()
    if gpu_memory is None and gpus is None:
        return this_machine
    if gpu_memory is None and this_machine.num_gpus == 0:
        raise UsageError("--gpus needs --gpu-memory, since no GPU was found here")
    count = gpus or max(1, this_machine.num_gpus)
    if gpu_memory is None:
        return Machine(count, this_machine.memory_gb, this_machine.bfloat16)
    return Machine(count, gpu_memory, this_machine.bfloat16 if this_machine.num_gpus else True)


def _log_facts(log: Engine, model_dir: Path) -> LogFacts:
    """Lengths of the log in the model's own tokens.

    Raises:
        RecipeError: the log is empty.
    """
    from negalign_train.feedback.store import FeedbackStore
    from negalign_train.training.policy.loading import load_tokenizer

    events = [event for _, event in FeedbackStore(log).events()]
    if not events:
        raise RecipeError("the log of --workspace is empty; import feedback first")
    tokenizer = load_tokenizer(model_dir)

    def longest(texts: list[str]) -> int:
        return max(len(ids) for ids in tokenizer(texts)["input_ids"])

    prompts = [
        event.prompt
        if isinstance(event.prompt, str)
        else "\n".join(message["content"] for message in event.prompt)
        for event in events
    ]
    reports = [text for event in events for text in (event.completion, event.edited) if text]
    return LogFacts(
        events=len(events),
        approved_cases=len({event.case_id for event in events if approved_text(event)}),
        prompt=longest(prompts),
        completion=longest(reports),
    )


def _check(recipe: str, launch: str, launch_name: str, log: Engine | None) -> None:
    """Parses the recipe and checks it as `negalign cycle` does, before anything is written."""
    from negalign_train.cycle.opening.plan import LocatedRecipe
    from negalign_train.cycle.opening.trial import check_start

    console = Console(stderr=True, soft_wrap=True)
    console.print("[dim]· checking the recipe as a cycle would[/dim]", highlight=False)
    with TemporaryDirectory(prefix="negalign-init-") as folder:
        path = Path(folder) / "cycle.yaml"
        path.write_text(recipe, encoding="utf-8")
        (Path(folder) / launch_name).write_text(launch, encoding="utf-8")
        check_start(LocatedRecipe(load_yaml(path, CycleRecipe), path), log)


def _report(
    plan: RecipePlan, out: Path, launch: Path, workspace: Path | None, database_url: str | None
) -> None:
    typer.echo(f"{out} and {launch} written; `negalign cycle` takes them.")
    log = plan.log
    if log is not None:
        held = int(plan.held_out_fraction * log.approved_cases)
        typer.echo(
            f"The log has {log.events} events, and {log.approved_cases} cases with a text that a "
            f"reader approved of; about {held} of these are held out, and the gate needs "
            f"{plan.min_cases}."
        )
        if held < plan.min_cases:
            typer.echo(
                "That is too few: the gate will be inconclusive until the log has about "
                f"{int(plan.min_cases / plan.held_out_fraction)} cases."
            )
    tflops = _GPU_TFLOPS if plan.machine.num_gpus else _CPU_TFLOPS
    typer.echo("Estimated by arithmetic (`negalign estimate --help`):")
    estimate(
        out,
        pairs=1000 if log is None else log.events,
        prompt_tokens=150 if log is None else log.prompt,
        completion_tokens=100 if log is None else log.completion,
        tflops=tflops,
        processes=plan.processes,
        workspace=workspace,
        database_url=database_url,
    )
    place = "my-workspace" if workspace is None else workspace
    if workspace is None:
        typer.echo(f"Next: negalign feedback import LOG.jsonl --workspace {place}")
    typer.echo(f"Then: negalign cycle --config {out} --workspace {place}")
