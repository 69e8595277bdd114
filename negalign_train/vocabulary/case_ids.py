"""Case ids that stand for more than one case. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from negalign_train.vocabulary.records import Event

CASE_OF_TWO_STUDIES = "case_of_two_studies"
"""The reason code of an event whose case id carries two studies, or two patients, in the log."""


def cases_of_two_studies(events: Iterable[Event]) -> frozenset[str]:
    """Case ids with two different study ids or two different patient ids. An unknown one is no
    other one.

    A patient's id was used as case id, or an export numbers its cases anew: one study's accepted
    report would be set against the other's rejected one.

    Args:
        events: one revision of each event, of the whole log.
    """
    ids: dict[tuple[str, str], set[str]] = defaultdict(set)
    for event in events:
        for kind, value in (("study", event.study_id), ("patient", event.patient_id)):
            if value is not None:
                ids[event.case_id, kind].add(value)
    return frozenset(case_id for (case_id, _), values in ids.items() if len(values) > 1)
