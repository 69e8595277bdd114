"""``negalign pairs``: what a cycle's feedback became, in numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Annotated, Any

import typer
from rich.table import Table

from negalign_train.commands.support.common import (
    DEFAULT_WORKSPACE,
    JsonOption,
    WorkspaceOption,
    existing_workspace,
    number,
    print_json,
    print_table,
)
from negalign_train.preferences.files import read_pairs
from negalign_train.preferences.replay import COUNTS_FILE, PAIRS_FILE
from negalign_train.storage.workspace import read_json
from negalign_train.vocabulary.errors import NegalignError
from negalign_train.vocabulary.records import PreferencePair


def pairs(
    cycle: Annotated[int, typer.Option(min=1, help="Number of the cycle.")] = 1,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    as_json: JsonOption = False,
) -> None:
    """Show a cycle's pairs and labels: how many, their delta_S and weights, what was refused.

    No report text is printed; the pairs themselves are in the cycle's pairs.parquet.

    Example: `negalign pairs --cycle 2 --workspace my-workspace`
    """
    folder = existing_workspace(workspace).cycle_dir(cycle)
    if not (folder / COUNTS_FILE).is_file():
        raise NegalignError(
            f"{folder / COUNTS_FILE} is missing: cycle {cycle} has not built its preferences yet; "
            "check --cycle and --workspace, or run `negalign cycle`"
        )
    summary = _summary(read_json(folder / COUNTS_FILE), read_pairs(folder / PAIRS_FILE), folder)
    if as_json:
        print_json(summary)
        return
    table = Table("", "", show_header=False)
    for name, value in summary.items():
        if isinstance(value, dict):
            for key, one in value.items():
                table.add_row(f"{name}: {key}", _shown(one))
        else:
            table.add_row(name, _shown(value))
    print_table(table)


def _shown(value: Any) -> str:
    return number(value, 3) if value is None or isinstance(value, float) else str(value)


def _summary(
    counts: dict[str, Any], trained_on: Sequence[PreferencePair], folder: Path
) -> dict[str, Any]:
    """The counts of ``preferences.json`` and what the pairs add; one level of nesting."""
    plain = {key: value for key, value in counts.items() if isinstance(value, int)}
    by_cycle: dict[str, int] = {}
    for pair in trained_on:
        name = f"cycle {pair.origin_cycle}"
        by_cycle[name] = by_cycle.get(name, 0) + 1
    return plain | {
        "refused": counts["refused"],
        "pairs of": by_cycle,
        "delta_S": _spread([pair.delta_S for pair in trained_on]),
        "pair weight": _spread([pair.weight for pair in trained_on]),
        "distinct chosen texts": len({pair.chosen for pair in trained_on}),
        "file": str(folder / PAIRS_FILE),
    }


def _spread(values: Sequence[float]) -> dict[str, float | None]:
    """None where there is no pair: a cycle of KTO or GRPO may have labels and prompts alone."""
    if not values:
        return {"least": None, "mean": None, "greatest": None}
    return {"least": min(values), "mean": mean(values), "greatest": max(values)}
