"""Gate records as JSON, chained by fingerprint, and the choice among candidates that passed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from negalign_train.evaluation.gate_terms import Criterion, GateRecord
from negalign_train.storage.fingerprint import fingerprint
from negalign_train.vocabulary.errors import GateError

SCHEMA = "negalign.gate/2"


def choose(records: Sequence[GateRecord]) -> GateRecord | None:
    """Of the candidates that passed, the one whose mean S fell most (ties by name), or None."""
    passed = [record for record in records if record.outcome == "promoted"]
    return min(passed, key=change_rank, default=None)


def change_rank(record: GateRecord) -> tuple[bool, float, str]:
    """Sorts records by their change of mean S against the parent, each on the cases scored for both
    sides; a candidate that could not be compared comes last.
    """
    difference = record.evidence.comparison
    return (
        difference is None,
        0.0 if difference is None else difference.total.estimate,
        record.evidence.candidate,
    )


def keep_the_best(records: Sequence[GateRecord]) -> tuple[GateRecord, ...]:
    """At most one stays ``promoted``: a candidate that passed but was beaten is rejected for that.

    The order is kept.
    """
    best = choose(records)
    return tuple(
        record
        if best is None or record is best or record.outcome != "promoted"
        else replace(
            record,
            outcome="rejected",
            reasons=(
                "passed every criterion, but candidate "
                f"{best.evidence.candidate} passed with a larger fall of mean S",
            ),
        )
        for record in records
    )


def seal(records: Sequence[GateRecord], previous: str | None) -> list[dict[str, Any]]:
    """Records as JSON objects, each holding the fingerprint of the one before it.

    Args:
        previous: fingerprint of the last record sealed before these, None for the first ever.
    """
    sealed: list[dict[str, Any]] = []
    for record in records:
        data = gate_record_to_dict(record) | {"previous": previous}
        previous = fingerprint(data)
        sealed.append(data | {"fingerprint": previous})
    return sealed


def verify_chain(sealed: Sequence[Mapping[str, Any]], previous: str | None = None) -> None:
    """Checks that no record was changed, left out or put in another order.

    Raises:
        GateError: a record does not match its fingerprint, or does not follow the one before.
    """
    for index, record in enumerate(sealed):
        body = {key: value for key, value in record.items() if key != "fingerprint"}
        if record.get("previous") != previous or record.get("fingerprint") != fingerprint(body):
            raise GateError(
                f"gate record {index} (cycle {record.get('cycle')}, candidate "
                f"{record.get('candidate')}) was changed or does not follow the one before it; "
                "restore gate_record.json from a backup"
            )
        previous = record["fingerprint"]


def gate_record_to_dict(record: GateRecord) -> dict[str, Any]:
    """A record as a JSON object of schema ``negalign.gate/2``; it holds no report text."""
    evidence = asdict(record.evidence)
    identity = {
        name: evidence.pop(name)
        for name in ("cycle", "candidate", "parent_adapter", "candidate_adapter")
    }
    evidence["retention"] = {str(cycle): value for cycle, value in evidence["retention"].items()}
    return {
        "schema": SCHEMA,
        **identity,
        "outcome": record.outcome,
        "reasons": list(record.reasons),
        "warnings": list(record.warnings),
        "criteria_digest": record.criteria_digest,
        "num_candidates": evidence.pop("num_candidates"),
        "level": record.level,
        "criteria": [_criterion(each) for each in record.criteria],
        "evidence": evidence,
    }


def _criterion(criterion: Criterion) -> dict[str, Any]:
    value = asdict(criterion) | {"limit": list(criterion.limit)}
    if criterion.interval is not None:
        value["interval"] = list(criterion.interval)
    return value
