"""``negalign draft``: reports for people to grade, into the workspace's queue."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from negalign_train.cases.jsonl import read_cases
from negalign_train.cases.synthetic import synthetic_cases
from negalign_train.commands.support.common import (
    DEFAULT_WORKSPACE,
    DatabaseUrlOption,
    JsonOption,
    WorkspaceOption,
    open_engine,
    print_json,
)
from negalign_train.commands.support.progress import shown_progress
from negalign_train.feedback.schema import QuarantineError, parse_event
from negalign_train.progress import time_left
from negalign_train.quiet import quieten
from negalign_train.recipe.candidate import MAX_SEED
from negalign_train.recipe.cycle import CycleRecipe, ModelSettings, load_yaml
from negalign_train.recipe.gate import EvaluationSettings
from negalign_train.review.drafting import (
    Drafted,
    Drafting,
    Written,
    gold_drafts,
    write_drafts,
)
from negalign_train.review.drafts import ORDERS, Order
from negalign_train.review.queue import DraftQueue
from negalign_train.storage.workspace import Workspace
from negalign_train.vocabulary.errors import DataError, RegistryError, UsageError
from negalign_train.vocabulary.records import Case, Event, Generator, Prompt

DEMO = "demo"
_DEMO_CASES = 20
_DEMO_STREAM = 4
"""Beside those of ``cases.source``: demo cases are none that a cycle drafts or evaluates on."""


def draft(
    cases: Annotated[
        str, typer.Option("--cases", help="Cases (JSONL), or demo: made-up ones by the seed.")
    ],
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    adapter: Annotated[
        str, typer.Option(help="Who writes: champion, approved, base, or an adapter's id.")
    ] = "champion",
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            "-c",
            help="Recipe with the base model and where it runs (here or a server). Default: the "
            "embedded generator.",
        ),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Cases at most.")] = None,
    order: Annotated[
        str,
        typer.Option(help="Which come first: random, or uncertain (entropy and flags)."),
    ] = "random",
    audit_share: Annotated[
        float,
        typer.Option(min=0, max=1, help="Share of drafts that come up a second time, unseen."),
    ] = 0.05,
    gold: Annotated[
        Path | None,
        typer.Option(help="Graded events (JSONL) to mix in: readers are measured against them."),
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, max=MAX_SEED, help="Seed of the order and of demo cases.")
    ] = 1,
    database_url: DatabaseUrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let the champion write drafts into the queue that people grade.

    Reports are decoded greedily. A case that this generator has drafted with these settings is not
    drafted again: stopped, the same command goes on. Without a champion the base model writes.

    Example: `negalign draft --cases demo --limit 10 --workspace my-workspace`
    """
    if order not in ORDERS:
        raise UsageError(f"--order {order!r} is not one of {', '.join(ORDERS)}")
    some = _cases(cases, limit, seed)
    events = [] if gold is None else _gold_events(gold)
    recipe = None if config is None else load_yaml(config, CycleRecipe)
    engine = open_engine(workspace, database_url, create=True)
    queue = DraftQueue(engine)
    quieten()
    # Heavy: only once cases and recipe are known to be right.
    from negalign_train.cycle.opening.base_model import resolve_model
    from negalign_train.generation.writers import report_writer
    from negalign_train.registry.adapters import RESERVED_IDS, Registry
    from negalign_train.storage.fingerprint import base_digest
    from negalign_train.training.policy.loading import load_for_inference, load_tokenizer

    console = Console(stderr=True, soft_wrap=True)
    model = ModelSettings(
        model_name_or_path="embedded", dtype="float32", max_new_tokens=160, temperature=0.0
    )
    evaluation = EvaluationSettings(batch_size=32, num_kl_cases=1, max_retention_cases=0)
    if recipe is not None:
        model, evaluation = recipe.model, recipe.evaluation
    base = resolve_model(model)
    registry = Registry(Workspace(workspace), engine)
    adapter_id: str | None = adapter
    if adapter == "champion":
        champion = registry.champion()
        adapter_id = None if champion is None else champion.adapter_id
        if champion is None:
            console.print("there is no champion yet: the base model writes", style="dim")
    elif adapter in RESERVED_IDS:
        adapter_id = None if adapter == "base" else registry.resolve(adapter)
    if adapter_id is not None:
        record = registry.verify(adapter_id)
        if record.base_digest != base_digest(base.folder):
            raise RegistryError(
                f"adapter {adapter_id} belongs to base {record.base_name} "
                f"({record.base_digest[:12]}), not to {base.name}; give its recipe with --config"
            )
    adapter_dir = None if adapter_id is None else registry.path(adapter_id)
    backend = evaluation.rollouts.backend
    settings = Drafting(
        generator=Generator(base.name, adapter_id),
        decoding={
            "method": "greedy", "max_new_tokens": model.max_new_tokens, "backend": backend,
        },
        order=_order(order),
        audit_share=audit_share,
        seed=seed,
        chunk=evaluation.batch_size,
    )  # fmt: skip
    served = model.model_name_or_path if base.source == "local" else base.name
    try:
        with (
            shown_progress(console) as progress,
            report_writer(
                evaluation,
                served,
                adapter_dir,
                load_tokenizer(base.folder),
                lambda: load_for_inference(base.folder, adapter_dir, model.dtype),
                with_entropy=order == "uncertain",
            ) as writer,
        ):

            def write(prompts: Sequence[Prompt]) -> list[Written]:
                reports = writer.write(prompts, model.max_new_tokens)
                return [Written(report.text, report.entropy) for report in reports]

            tick = time_left(f"drafting {len(some)} reports", progress)
            done = write_drafts(queue, some, write, settings, tick)
    except KeyboardInterrupt:
        console.print("stopped; the same command goes on with the cases that have no draft")
        raise typer.Exit(130) from None
    done.gold = queue.add(gold_drafts(events, seed)).queued
    _show(done, queue, as_json=as_json)


def _order(name: str) -> Order:
    return "uncertain" if name == "uncertain" else "random"


def _cases(source: str, limit: int | None, seed: int) -> list[Case]:
    if source == DEMO:
        return synthetic_cases(0, limit or _DEMO_CASES, seed * 10 + _DEMO_STREAM)
    return read_cases(Path(source))[:limit]


def _gold_events(path: Path) -> list[Event]:
    events = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            events.append(parse_event(json.loads(line)))
        except (json.JSONDecodeError, QuarantineError) as error:
            reason = error.code if isinstance(error, QuarantineError) else "not JSON"
            raise DataError(
                f"{path}, line {number}: no graded event ({reason}); gold items are events of "
                "negalign.feedback/1, such as `negalign feedback export` writes"
            ) from error
    return events


def _show(done: Drafted, queue: DraftQueue, *, as_json: bool) -> None:
    state = queue.state()
    if as_json:
        print_json({"schema": "negalign.draft/1", **asdict(done), "queue": asdict(state)})
        return
    typer.echo(
        f"cases {done.cases} = queued {done.queued} + known {done.known} + empty {done.empty}; "
        f"beside them {done.repeats} repeats and {done.gold} gold items"
    )
    typer.echo(f"the queue: {state.waiting} wait, {state.answered} are answered")
