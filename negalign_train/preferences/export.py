"""A log as the preference data that TRL's trainers take: conversational rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from negalign_train.preferences.build import build_preferences
from negalign_train.preferences.case_groups import case_groups
from negalign_train.preferences.files import conversation
from negalign_train.preferences.view import newest_events
from negalign_train.recipe.cycle import PreferenceSettings
from negalign_train.severity.judges.rules import RulesJudge
from negalign_train.severity.judges.uses.filling import fill_severities
from negalign_train.vocabulary.approval import own_edits
from negalign_train.vocabulary.case_ids import CASE_OF_TWO_STUDIES, cases_of_two_studies
from negalign_train.vocabulary.records import Event, Refusals

TrlKind = Literal["trl-preference", "trl-kto"]
_COLUMNS = {
    "trl-preference": ("prompt", "chosen", "rejected"),
    "trl-kto": ("prompt", "completion", "label"),
}
_UNWEIGHTED = PreferenceSettings(
    pair_weight="uniform", changed_word_weight=1.0, span_severity=False, struck_only=False
)
"""TRL has no weights: every pair and every word counts the same."""


@dataclass(frozen=True)
class TrlRows:
    """Rows for TRL, and what of the log gives none, by reason."""

    rows: tuple[dict[str, Any], ...]
    refusals: Refusals


def trl_rows(events: Sequence[Event], kind: TrlKind) -> TrlRows:
    """The pairs or labels of a log, as a first cycle over all of it would make them. Severities
    that readers left out come from the rule scorer.
    """
    newest = newest_events(events)
    mixed = cases_of_two_studies(newest)
    clean = [event for event in newest if event.case_id not in mixed]
    filled = fill_severities(clean, own_edits(clean), RulesJudge()).events
    made = build_preferences(filled, _UNWEIGHTED, cycle=1, groups=case_groups(filled, {}))
    examples: Sequence[Any] = made.pairs if kind == "trl-preference" else made.unpaired
    rows = tuple(
        {name: row[name] for name in (*_COLUMNS[kind], "case_id")}
        for row in map(conversation, examples)
    )
    left_out = {CASE_OF_TWO_STUDIES: len(newest) - len(clean)} if mixed else {}
    return TrlRows(rows, Refusals(dict(made.refusals.counts) | left_out))
