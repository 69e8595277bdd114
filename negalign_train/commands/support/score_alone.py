"""A report judged alone, as a person reads it."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from negalign_train.commands.support.output import number, print_table
from negalign_train.severity.alone.flags import FLAG_KINDS
from negalign_train.severity.judges.result import UNSCORED_REASONS


def show_alone(result: dict[str, Any]) -> None:
    """The two severities that are known, and every flag with what it rests on."""
    console = Console(soft_wrap=True)
    if not result["scorable"]:
        code = result["reason"]
        console.print(
            f"cannot be scored: {UNSCORED_REASONS[code]} ({code})", markup=False, highlight=False
        )
        return
    known = {key: value for key, value in result["severities"].items() if value is not None}
    shown = ", ".join(f"{key} = {number(value, 3)}" for key, value in known.items())
    console.print(
        f"without a reference: {shown}; the other severities, S and Q are unknown",
        markup=False, highlight=False,
    )  # fmt: skip
    if not result["flags"]:
        console.print("no flag")
        return
    print_table(_flags(result))
    for kind in dict.fromkeys(flag["kind"] for flag in result["flags"]):
        console.print(f"{kind}: {FLAG_KINDS[kind]}", markup=False, highlight=False)


def _flags(result: dict[str, Any]) -> Table:
    table = Table("flag", "id", "weight", "finding", "why", "report says", "prompt says", title="")
    for flag in result["flags"]:
        said = flag["sentence"] or ""
        if flag["conflict_sentence"] not in (None, said):
            said = f"{said} / {flag['conflict_sentence']}"
        table.add_row(
            flag["kind"],
            flag["id"],
            number(flag["severity"], 3),
            flag["finding"] or "",
            flag["detail"],
            said,
            flag["prompt_text"] or "",
        )
    return table
