"""Rows of the tables on real reports: a model's S, its change with interval, and the readers' S."""

from __future__ import annotations

from collections import Counter
from statistics import mean
from typing import Any

from negalign_train.cases.source import evaluation_cases
from negalign_train.recipe.cycle import CycleRecipe
from negalign_train.report.result import Check, CycleResult
from negalign_train.severity.pricing.score import score_report
from negalign_train.simulate.panel import truth_for
from negalign_train.simulate.readers import true_score
from negalign_train.vocabulary.records import Case


def template_row(cases: list[Case], recipe: CycleRecipe, seed: int) -> dict[str, Any]:
    """The score of the most frequent training report as the answer to every case."""
    counts = Counter(case.reference for case in cases)
    template = counts.most_common(1)[0][0]
    held_out = evaluation_cases(recipe.cases, seed)
    truth = truth_for("openi")
    scores = [score_report(case.reference, template) for case in held_out]
    return {
        "name": "constant template",
        "S": mean(score.total for score in scores if score is not None),
        "readers_S": mean(true_score(truth, case, template).total for case in held_out),
        "template_share": 1.0,
    }


def by_readers(result: CycleResult) -> Check:
    """Mean S as the simulated readers give it."""
    assert result.readers_check is not None  # every cycle here is a simulation
    return result.readers_check


def generator_row(first: CycleResult) -> dict[str, Any]:
    """The generator before any feedback."""
    return {
        "name": "generator",
        "S": first.mean_S_before,
        "readers_S": by_readers(first).mean_S_before,
        "template_share": first.template_share_before,
    }


def cycle_rows(result: CycleResult) -> list[dict[str, Any]]:
    """Each candidate of a cycle with the 95 % interval of its change; what only the candidate that
    the result speaks of is measured for stands in its row alone.
    """
    rows = []
    for candidate in result.candidates:
        row = {
            "name": f"cycle {result.cycle}: {candidate.name} ({candidate.outcome})",
            "S": candidate.mean_S,
            "ci": [candidate.ci_low, candidate.ci_high],
            "template_share": candidate.template_share,
            "reasons": candidate.reasons,
        }
        if candidate.name == result.candidate:
            since = result.since_first_cycle
            assert since is not None  # OpenI's own reports can all be scored
            row["ci_overall"] = [since.ci_low, since.ci_high]
            row["readers_S"] = by_readers(result).mean_S_after
        rows.append(row)
    return rows


def print_rows(rows: list[dict[str, Any]]) -> None:
    print("| model | S | change | change over all cycles | readers' S | template share |")
    print("|---|---|---|---|---|---|")
    for row in rows:
        cycle, overall = (
            "[{:+.3f}, {:+.3f}]".format(*row[key]) if key in row else ""
            for key in ("ci", "ci_overall")
        )
        readers = f"{row['readers_S']:.3f}" if "readers_S" in row else ""
        print(
            f"| {row['name']} | {row['S']:.3f} | {cycle} | {overall} | {readers} "
            f"| {row['template_share']:.3f} |"
        )
