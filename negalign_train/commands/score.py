"""``negalign score``: nine severities of a report with their evidence, or a report alone."""

from __future__ import annotations

import os
import re
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from negalign_train.commands.files.score_files import STANDARD, score_file
from negalign_train.commands.support.output import JsonOption, number, print_json, print_table
from negalign_train.commands.support.score_alone import show_alone
from negalign_train.severity.alone.result import alone_object
from negalign_train.severity.judges.base import Judge, ReportPair
from negalign_train.severity.judges.pair_files import case_context, read_text, text_of
from negalign_train.severity.judges.result import UNSCORED_REASONS, result_object
from negalign_train.severity.judges.rules import RulesJudge
from negalign_train.severity.pricing.calibration import Calibration, read_calibration
from negalign_train.severity.pricing.score import MAX_CHARACTERS
from negalign_train.severity.reading.context import CaseContext
from negalign_train.vocabulary.errors import RecipeError, UsageError
from negalign_train.vocabulary.taxonomy import taxonomy

NOT_SCORED = 3
"""Exit code of a pair that cannot be scored."""
_LOOKS_LIKE_A_FILE = re.compile(r"[^\s]*[^\s.]\.(?:txt|text|md|json|jsonl|csv|xml|html?)")


def score(
    reference: Annotated[
        str | None,
        typer.Option(help="The right report: its text, a file, or @FILE (- is standard input)."),
    ] = None,
    candidate: Annotated[
        str | None, typer.Option(help="The report to score, given in the same ways.")
    ] = None,
    prompt: Annotated[
        str | None,
        typer.Option(help="What the report was asked for, where there is no reference; same ways."),
    ] = None,
    pairs: Annotated[
        Path | None,
        typer.Option(help="JSONL (id, reference, candidate, context) or CSV file; - is stdin."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="JSONL or CSV file of results. Default: standard output.")
    ] = None,
    age: Annotated[float | None, typer.Option(help="The patient's age in years.")] = None,
    indication: Annotated[str | None, typer.Option(help="Why the study was made.")] = None,
    judge: Annotated[
        str,
        typer.Option(
            help="rules, encoder, nli:DIR, finetuned:DIR, self:DIR, ensemble:FILE or server:URL."
        ),
    ] = "rules",
    calibration: Annotated[
        Path | None, typer.Option(help="calibration.json of a cycle, applied to the severities.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Score a report against the right one: nine severities, S, Q and the evidence.

    Example: `negalign score --reference "No effusion." --candidate "Small left effusion."`

    Without a reference, `negalign score --candidate C --prompt P` flags what the report shows by
    itself or beside its prompt; severities that need the right report stay unknown.

    Exit codes: 0 scored, 1 an error (for **--pairs**: at least one line could not be read, and its
    result says why), 2 wrong usage, 3 the one pair cannot be scored.
    """
    _check_modes(reference, candidate, pairs, out, age, indication)
    if (reference, pairs) == (None, None):
        assert candidate is not None
        if judge != "rules" or calibration is not None:
            raise UsageError("without a reference only the rules judge; leave the options out")
        _score_alone(
            candidate, prompt, case_context({"age": age, "indication": indication}), as_json
        )
        return
    if prompt is not None:
        raise UsageError("--prompt goes with a report that has no reference; leave it out")
    opened = _open_judge(judge)
    scale = None
    if calibration is not None:
        scale = read_calibration(calibration, opened.name, opened.version)
    if pairs is not None:
        _score_pairs(pairs, out or STANDARD, opened, scale)
        return
    assert reference is not None
    assert candidate is not None
    context = case_context({"age": age, "indication": indication})
    texts = _text(reference, "--reference"), _text(candidate, "--candidate")
    pair = ReportPair(*texts, context)
    result = result_object(opened.judge([pair])[0], pair, scale)
    if as_json:
        print_json(result)
    else:
        _show(result)
    if not result["scorable"]:
        raise typer.Exit(NOT_SCORED)


def _score_alone(candidate: str, prompt: str | None, context: CaseContext, as_json: bool) -> None:
    if candidate == prompt == "-":
        raise UsageError("only one of --candidate and --prompt can be standard input")
    asked = None if prompt is None else _text(prompt, "--prompt")
    result = alone_object(_text(candidate, "--candidate"), asked, context)
    if as_json:
        print_json(result)
    else:
        show_alone(result)
    if not result["scorable"]:
        raise typer.Exit(NOT_SCORED)


def _open_judge(spec: str) -> Judge:
    if spec == "rules":
        return RulesJudge()
    # Heavy: torch and transformers.
    from negalign_train.severity.judges.opening import open_judge
    from negalign_train.training.policy.judge_setup import judge_setup

    return open_judge(spec, judge_setup())


def _check_modes(
    reference: str | None,
    candidate: str | None,
    pairs: Path | None,
    out: Path | None,
    age: float | None,
    indication: str | None,
) -> None:
    """Either two reports, or one alone, or a file of pairs, never a mixture."""
    if pairs is None and candidate is None:
        raise UsageError(
            "give --reference and --candidate, or --pairs, or --candidate alone; see negalign "
            "score --help"
        )
    if pairs is not None and (reference is not None or candidate is not None):
        raise UsageError("--pairs holds the reports; leave out --reference and --candidate")
    if pairs is not None and (age is not None or indication is not None):
        raise UsageError("with --pairs the context stands in each line; leave the options out")
    if pairs is None and out is not None:
        raise UsageError("--out goes with --pairs; two reports are printed")
    if reference is not None and reference == candidate == "-":
        raise UsageError("only one of --reference and --candidate can be standard input")


def _text(value: str, option: str) -> str:
    """The report an option gives: standard input, a file, or the value itself.

    Raises:
        RecipeError: it names a file that is not there, or a folder.
    """
    if value == "-":
        return text_of(sys.stdin.buffer, MAX_CHARACTERS, "standard input")
    name = value.removeprefix("@")
    if os.path.exists(name) and not os.path.isdir(name):  # a pipe, <(command), too
        return read_text(Path(name), MAX_CHARACTERS)
    if value.startswith("@") or _LOOKS_LIKE_A_FILE.fullmatch(value) or os.path.isdir(name):
        problem = "is a folder" if os.path.isdir(name) else "is not there"
        raise RecipeError(
            f"{option}: the file {name[:200]} {problem}; give a file, or the text of the report"
        )
    return value


def _score_pairs(pairs: Path, out: Path, judge: Judge, calibration: Calibration | None) -> None:
    start = time.monotonic()
    console = Console(stderr=True, soft_wrap=True)
    try:
        counts = score_file(pairs, out, judge, calibration)
    except KeyboardInterrupt:
        console.print(f"stopped; nothing was written to {out}", markup=False, highlight=False)
        raise typer.Exit(130) from None
    except BrokenPipeError:
        # The reader of standard output has had enough (head): no error, and no second one at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(0) from None
    seconds = time.monotonic() - start
    console.print(
        f"{counts.pairs} pairs, {counts.unscorable} of them cannot be scored, {counts.errors} "
        f"lines in error, {seconds:.1f} s",
        markup=False, highlight=False,
    )  # fmt: skip
    if counts.errors:
        console.print("error: some lines are no pair; their results say why", style="red")
        raise typer.Exit(1)


def _show(result: dict[str, Any]) -> None:
    """The result as a person reads it: S, Q, the nine severities, and what each rests on."""
    console = Console()
    if not result["scorable"]:
        code = result["reason"]
        console.print(
            f"cannot be scored: {UNSCORED_REASONS[code]} ({code})", markup=False, highlight=False
        )
        return
    by = result["judge"]
    console.print(
        f"[bold]S = {result['S']:.3f}[/bold]  [bold]Q = {number(result['Q'], 3)}[/bold]  "
        f"{result['grade'] or 'no grade'}  [dim]{by['name']} {by['version']}[/dim]",
        highlight=False,
    )
    print_table(_severities(result))
    if result["evidence"]:
        print_table(_evidence(result))
    else:
        console.print("no error found")


def _severities(result: dict[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2))
    table.add_column("id")
    table.add_column("category")
    table.add_column("severity", justify="right")
    for category in taxonomy():
        table.add_row(category.id, category.name, number(result["severities"][category.id], 3))
    return table


def _evidence(result: dict[str, Any]) -> Table:
    table = Table("id", "weight", "finding", "why", "candidate says", "reference says", title="")
    for item in result["evidence"]:
        said = item["sentence"] or ""
        if item["conflict_sentence"] not in (None, said):
            said = f"{said} / {item['conflict_sentence']}"
        table.add_row(
            item["id"],
            number(item["severity"], 3),
            item["finding"] or "",
            item["detail"],
            said,
            item["reference_sentence"] or "",
        )
    return table
