"""``negalign judge bench``: any judge against what radiologists said of reports."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from negalign_train.commands.support.bench_tables import bench_grids, bench_markdown
from negalign_train.commands.support.output import JsonOption, print_json, print_table
from negalign_train.recipe.judge_spec import parse_specs
from negalign_train.severity.judges.opening import JudgeSetup, open_judge
from negalign_train.storage.atomic import replacing
from negalign_train.vocabulary.errors import DataError

if TYPE_CHECKING:
    from negalign_train.severity.trust.expert.bench import Answers
    from negalign_train.severity.trust.expert.expert_set import ExpertSet

Format = Literal["negalign", "rexval", "rexval-significant", "radpref"]


def bench(
    set_path: Annotated[
        Path, typer.Option("--set", help="The expert set: a JSONL file, or ReXVal's folder.")
    ],
    judges: Annotated[
        str,
        typer.Option(help="Judges, separated by commas: rules, encoder, nli:DIR, radeval:green…"),
    ] = "rules",
    set_format: Annotated[
        Format,
        typer.Option(
            "--format",
            help="negalign (docs/judges.md), rexval (all errors), rexval-significant, or radpref.",
        ),
    ] = "negalign",
    markdown: Annotated[
        Path | None, typer.Option(help="Also write the tables as a Markdown file.")
    ] = None,
    bootstrap: Annotated[int, typer.Option(min=100, help="Resamples of cases.")] = 500,
    confidence: Annotated[float, typer.Option(min=0.5, max=0.999, help="Of the intervals.")] = 0.95,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the resampling.")] = 1,
    as_json: JsonOption = False,
) -> None:
    """How well judges follow experts: rated reports, rankings, and expectations of a score.

    Rank correlations and pairwise accuracy beside what one rater reaches against the others;
    precision and recall by category; the share of tests that hold. Intervals draw whole cases.

    Example: `negalign judge bench --set expert.jsonl --judges rules --markdown bench.md`
    """
    specs = parse_specs(judges)
    from negalign_train.severity.trust.agreement import AgreementSettings
    from negalign_train.severity.trust.expert.bench import TOTALS, bench_report

    expert_set = _read(set_path, set_format)
    settings = AgreementSettings(bootstrap, confidence, seed)
    with _bars() as bars:
        answers = _ask(specs, expert_set, bars)
        task = bars.add_task("intervals", total=bootstrap * (len(specs) * len(TOTALS) + 1))
        report = bench_report(expert_set, answers, settings, partial(bars.advance, task))
    value = report.to_json() | {
        "set": {"path": str(set_path), "format": set_format},
        "confidence": confidence,
        "bootstrap": bootstrap,
        "seed": seed,
    }
    if markdown is not None:
        with replacing(markdown) as temporary:
            temporary.write_text(bench_markdown(value, _heading(value)), encoding="utf-8")
    if as_json:
        print_json(value)
    else:
        _show(value)


def _read(path: Path, set_format: Format) -> ExpertSet:
    from negalign_train.severity.trust.expert.importers import read_radpref, read_rexval
    from negalign_train.severity.trust.expert.set_files import read_expert_set

    if set_format in ("rexval", "rexval-significant"):
        return read_rexval(path, significant_only=set_format == "rexval-significant")
    if path.is_dir():
        raise DataError(f"{path}: is a folder; only --format rexval reads one")
    return read_radpref(path) if set_format == "radpref" else read_expert_set(path)


def _bars() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    return Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True)


def _ask(specs: list[str], expert_set: ExpertSet, bars: Progress) -> list[Answers]:
    from negalign_train.severity.trust.expert.bench import ask_judge, pairs_of

    pairs = pairs_of(expert_set)
    setup = JudgeSetup() if specs == ["rules"] else _setup()
    answers = []
    for spec in specs:
        task = bars.add_task(spec, total=len(pairs))
        judge = open_judge(spec, setup)
        answers.append(ask_judge(spec, judge, pairs, partial(bars.advance, task)))
    return answers


def _setup() -> JudgeSetup:
    # Heavy: torch and transformers.
    from negalign_train.training.policy.judge_setup import judge_setup

    return judge_setup()


def _heading(value: dict[str, Any]) -> list[str]:
    """What was measured, a line each."""
    lines = [
        f"{value['num_rated']} rated reports, {value['num_rankings']} rankings, "
        f"{value['num_expectations']} expectations ({value['set']['format']})",
        f"intervals: {value['confidence']:.0%} over cases, {value['bootstrap']} resamples, seed "
        f"{value['seed']}",
    ]
    if value["left_out"]:
        lines.append(f"{value['left_out']} rated reports left out that not every judge could score")
    return lines


def _show(value: dict[str, Any]) -> None:
    for line in _heading(value):
        typer.echo(line)
    for grid in bench_grids(value):
        table = Table(*grid.header, title=grid.title, title_justify="left")
        for row in grid.rows:
            table.add_row(*row)
        print_table(table)
