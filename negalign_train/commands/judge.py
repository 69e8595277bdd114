"""``negalign judge``: compare judges with readers and experts, and train one."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from rich.console import Console
from rich.table import Table

from negalign_train.commands.support.bench import bench
from negalign_train.commands.support.common import DatabaseUrlOption
from negalign_train.commands.support.judge_data import (
    examples_of,
    log_events,
    training_examples,
    unseen_by,
)
from negalign_train.commands.support.output import JsonOption, print_json, print_table
from negalign_train.recipe.candidate import MAX_SEED
from negalign_train.recipe.judge_spec import parse_specs
from negalign_train.severity.judges.examples import GradedExample
from negalign_train.severity.judges.opening import open_judge
from negalign_train.storage.workspace import replacing, write_json
from negalign_train.vocabulary.errors import FeedbackError, UsageError
from negalign_train.vocabulary.records import Refusals
from negalign_train.vocabulary.taxonomy import taxonomy

if TYPE_CHECKING:
    from negalign_train.severity.judges.ensemble import How
    from negalign_train.severity.trust.table import Scored

app = typer.Typer(
    help="Judges of reports: compare them with readers or experts, train one.",
    no_args_is_help=True,
)
app.command()(bench)

WorkspaceOption = Annotated[
    Path | None,
    typer.Option("--workspace", "-w", help="Folder whose log is read; or give --log."),
]
LogOption = Annotated[
    list[Path] | None,
    typer.Option(help="JSONL file of negalign.feedback/1 events instead of a workspace."),
]
_SHOWN = ("kappa", "spearman", "pairwise", "calibration_error")


@app.command()
def compare(
    judges: Annotated[
        str,
        typer.Option(help="Judges, separated by commas: rules, encoder, nli:DIR, server:URL…"),
    ] = "rules",
    log: LogOption = None,
    workspace: WorkspaceOption = None,
    database_url: DatabaseUrlOption = None,
    held_out: Annotated[
        bool, typer.Option(help="Only cases the workspace's cycles did not train on.")
    ] = False,
    ensemble: Annotated[
        str | None, typer.Option(help="Also join the judges: mean, median or weighted.")
    ] = None,
    save_ensemble: Annotated[
        Path | None, typer.Option(help="Write the ensemble, to use it as ensemble:FILE.")
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Write the page with the plots.")] = None,
    bootstrap: Annotated[int, typer.Option(min=100, help="Resamples of case groups.")] = 500,
    confidence: Annotated[float, typer.Option(min=0.5, max=0.999, help="Of the intervals.")] = 0.95,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the resampling.")] = 1,
    as_json: JsonOption = False,
) -> None:
    """How far each judge can be trusted: agreement with readers, calibration error and cost.

    Reports are judged against their reader's edit, or another approved text of the same case. Cases
    that a finetuned judge was trained on are left out for every judge.

    Example: `negalign judge compare --workspace my-workspace --html trust.html`
    """
    specs = parse_specs(judges)
    _check_ensemble(ensemble, save_ensemble, specs)
    events, kept = log_events(log, workspace, database_url, held_out)
    examples, refused = examples_of(events)
    examples = [example for example in examples if kept is None or example.case_id in kept]
    examples = unseen_by(examples, specs)
    if not examples:
        raise FeedbackError(
            f"no report is left to compare on ({_reasons(refused)}); import feedback with "
            "severities and edits"
        )
    from negalign_train.severity.trust.agreement import AgreementSettings
    from negalign_train.severity.trust.table import compare_judges, join_scored, run_judge
    from negalign_train.training.policy.judge_setup import judge_setup

    setup = judge_setup()
    scored = [run_judge(spec, open_judge(spec, setup), examples) for spec in specs]
    shown = list(scored)
    if ensemble is not None:
        how = cast("How", ensemble)  # _check_ensemble() came first
        shown.append(join_scored(scored, examples, how))
        if save_ensemble is not None:
            _save_ensemble(save_ensemble, how, specs, scored, examples)
    report = compare_judges(shown, examples, AgreementSettings(bootstrap, confidence, seed))
    value = report.to_json() | {"confidence": confidence, "refused": dict(refused.counts)}
    if html is not None:
        _write_page(html, value)
    if as_json:
        print_json(value)
    else:
        _show(value)


def _check_ensemble(ensemble: str | None, save: Path | None, specs: list[str]) -> None:
    if ensemble is not None and ensemble not in ("mean", "median", "weighted"):
        raise UsageError(f"--ensemble {ensemble!r} is none of mean, median, weighted")
    if ensemble is not None and len(specs) < 2:
        raise UsageError("--ensemble joins two judges or more; name them in --judges")
    if save is not None and ensemble is None:
        raise UsageError("--save-ensemble goes with --ensemble")


def _save_ensemble(
    path: Path, how: How, specs: list[str], scored: list[Scored], examples: list[GradedExample]
) -> None:
    from negalign_train.severity.judges.ensemble import EnsembleSpec, equal_weights
    from negalign_train.severity.trust.table import member_weights

    weights = equal_weights(len(specs))
    if how == "weighted":
        weights = member_weights(scored, examples, [True] * len(examples))
    write_json(path, EnsembleSpec(how, tuple(specs), weights).to_json())


def _titles() -> dict[str, str]:
    return {c.id: f"{c.id} {c.name.replace('_', ' ')}" for c in taxonomy()} | {"S": "S, all nine"}


def _write_page(path: Path, value: dict[str, Any]) -> None:
    from negalign_train.report.trust_page import render_trust_page

    with replacing(path) as temporary:
        temporary.write_text(render_trust_page(value, _titles()), encoding="utf-8")


def _show(value: dict[str, Any]) -> None:
    from negalign_train.report.trust_page import format_estimate

    typer.echo(
        f"{value['num_examples']} reports in {value['num_groups']} case groups; "
        f"{value['left_out']} left out that not every judge could score; {_counts(value)}"
    )
    table = Table("", "judge", "reports > 0", *(name.replace("_", " ") for name in _SHOWN))
    for key, title in _titles().items():
        for place, judge in enumerate(value["judges"]):
            trained = judge["agreement"][key]
            table.add_row(
                title if place == 0 else "",
                judge["spec"],
                str(trained["num_positive"]),
                *(format_estimate(trained[name]) for name in _SHOWN),
            )
    print_table(table)
    for judge in value["judges"]:
        typer.echo(
            f"{judge['spec']}: {judge['seconds_per_thousand']:.2f} s per 1000 reports, "
            f"{sum(judge['unscorable'].values())} it cannot score, version {judge['version']}"
        )


def _counts(value: dict[str, Any]) -> str:
    refused = ", ".join(f"{k.replace('_', ' ')} {n}" for k, n in value["refused"].items())
    return f"events not used: {refused or 'none'}"


def _reasons(refused: Refusals) -> str:
    return ", ".join(f"{k} {n}" for k, n in refused.counts.items()) or "no event"


@app.command()
def train(
    out: Annotated[Path, typer.Option(help="Folder to write; must not exist.")],
    encoder: Annotated[
        Path | None,
        typer.Option(
            help="Folder of an encoder (transformers). Default: the judge encoder's package."
        ),
    ] = None,
    log: LogOption = None,
    workspace: WorkspaceOption = None,
    rated: Annotated[
        Path | None,
        typer.Option(
            "--set", help="JSONL file of rated reports, as of negalign inject; or beside."
        ),
    ] = None,
    database_url: DatabaseUrlOption = None,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the reports.")] = 4,
    learning_rate: Annotated[float, typer.Option(min=0, help="At its peak.")] = 2.0e-5,
    batch_size: Annotated[int, typer.Option(min=1, help="Reports a step.")] = 16,
    held_out_fraction: Annotated[
        float, typer.Option(min=0.05, max=0.9, help="Share of case groups it never sees.")
    ] = 0.2,
    seed: Annotated[
        int, typer.Option(min=0, max=MAX_SEED, help="Seed of heads, order and split.")
    ] = 1,
    as_json: JsonOption = False,
) -> None:
    """Train the finetuned judge: nine heads on an encoder, on the severities readers gave.

    It learns from a log, from the rated reports of **--set**, or from both. Whole case groups are
    held out, and `negalign judge compare` judges on those only.

    Example: `negalign judge train --out judges/first --workspace W --encoder ENCODER_DIR`
    """
    from negalign_train.quiet import quieten

    quieten()
    from negalign_train.registry.provenance import git_commit, library_versions
    from negalign_train.severity.judges.encoder.sentence_encoder import installed_encoder
    from negalign_train.severity.judges.training import JudgeTraining, train_judge

    folder = installed_encoder() if encoder is None else encoder
    examples, refused = training_examples(log, workspace, database_url, rated)
    settings = JudgeTraining(
        learning_rate=learning_rate, num_train_epochs=epochs, batch_size=batch_size,
        held_out_fraction=held_out_fraction, seed=seed,
    )  # fmt: skip
    provenance = {
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": library_versions(),
        "git_commit": git_commit(Path(__file__).parent),
        "refused": dict(refused.counts),
    }
    console = Console(stderr=True, soft_wrap=True)
    trained = train_judge(
        folder, examples, out, settings, provenance,
        lambda line: console.print(line, highlight=False),
    )  # fmt: skip
    if as_json:
        print_json(asdict(trained) | {"out": str(out)})
        return
    typer.echo(
        f"{out}: trained on {trained.num_train} reports, best epoch {trained.best_epoch} by "
        f"{trained.num_validation}; {trained.num_held_out} held out. Compare it with the readers: "
        f"negalign judge compare --judges rules,finetuned:{out}"
    )
