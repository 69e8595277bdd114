"""Which cases of the log are held out: whole case groups, decided by a hash of the group alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from negalign_train.cases.splits import group_fraction
from negalign_train.preferences.joining import Joined
from negalign_train.preferences.view import newest_events, prompt_key
from negalign_train.storage.fingerprint import fingerprint
from negalign_train.vocabulary.records import Event


def case_groups(
    events: Iterable[Event],
    known: Mapping[str, str],
    *,
    kept_back: frozenset[str] = frozenset(),
    join_equal_prompts: bool = False,
) -> dict[str, str]:
    """Case id to split group, for every case of ``events``.

    A case of ``known`` keeps the group that its case source or an earlier cycle gave it. The others
    are joined by study and by patient, and through equal prompts (white space and letter case
    aside) with ``join_equal_prompts``: to a known group that they are linked with, else under a
    name made from the patient, the study, the prompt or the case, whichever is the widest, so that
    the name does not depend on which other cases were read. Completions do not join cases:
    templated normal reports would merge half the log into one group.

    Give every event of the log, earlier cycles' too, and a group keeps its name over cycles.

    Args:
        kept_back: groups no cycle trains on; a new case that is linked with one of them, or whose
            patient or study is its name, joins it.
    """
    groups: dict[str, str] = {}
    for members in _linked_events(events, known, join_equal_prompts=join_equal_prompts):
        cases = {event.case_id for event in members}
        own = {case_id: known[case_id] for case_id in cases if case_id in known}
        names = [*sorted(_names(members, known) & kept_back), *sorted(own.values())]
        if not names:
            names = [_new_name(members, join_equal_prompts=join_equal_prompts)]
        groups |= dict.fromkeys(cases, names[0]) | own
    return dict(sorted(groups.items()))


def groups_on_both_sides(
    events: Iterable[Event], known: Mapping[str, str], kept_back: frozenset[str]
) -> frozenset[str]:
    """Known groups that a later event links, by study or patient, with one that is kept back.

    Past training on them cannot be undone. From now on they are neither trained nor evaluated on.
    """
    linked: set[str] = set()
    for members in _linked_events(events, known, join_equal_prompts=False):
        if _names(members, known) & kept_back:
            linked |= {known[event.case_id] for event in members if event.case_id in known}
    return frozenset(linked - kept_back)


def _names(events: Sequence[Event], known: Mapping[str, str]) -> set[str]:
    """What a group of ``events`` may be called already: its known groups, and the studies and
    patients, by which a case source may have named its own.
    """
    names = {name for e in events for name in (known.get(e.case_id), e.study_id, e.patient_id)}
    return {name for name in names if name is not None}


def _linked_events(
    events: Iterable[Event], known: Mapping[str, str], *, join_equal_prompts: bool
) -> list[list[Event]]:
    """The newest events, by what links their cases."""
    joined = Joined()
    by_case: dict[str, list[Event]] = defaultdict(list)
    for event in newest_events(events):
        by_case[event.case_id].append(event)
        case = ("case", event.case_id)
        links = (
            ("study", event.study_id),
            ("patient", event.patient_id),
            ("group", known.get(event.case_id)),
            ("prompt", prompt_key(event.prompt) if join_equal_prompts else None),
        )
        joined.find(case)
        for kind, name in links:
            if name is not None:
                joined.join(case, (kind, name))
    return [
        [event for case_id in cases for event in by_case[case_id]]
        for cases in joined.components("case")
    ]


def _new_name(events: Sequence[Event], *, join_equal_prompts: bool) -> str:
    """The name of a new group. Patients and studies stand in it by fingerprint: names of groups go
    into records that leave the log.
    """
    patients = [e.patient_id for e in events if e.patient_id is not None]
    studies = [e.study_id for e in events if e.study_id is not None]
    if patients:
        return f"patient-{fingerprint(min(patients))[:16]}"
    if studies:
        return f"study-{fingerprint(min(studies))[:16]}"
    if join_equal_prompts:
        return min(f"prompt-{prompt_key(event.prompt)}" for event in events)
    return f"case-{min(event.case_id for event in events)}"


def held_out_groups(groups: Iterable[str], fraction: float, seed: int) -> frozenset[str]:
    """The groups that are held out, about ``fraction`` of them: a group's fate never changes."""
    return frozenset(group for group in groups if group_fraction(group, seed) < fraction)
