"""What ``bench_alone.py`` measures: flags on real reports, and errors that newly raise one."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from benchmarks.severity_material import with_error
from negalign_train.severity.alone.flags import Flag
from negalign_train.severity.alone.score import AloneScore, score_alone
from negalign_train.simulate.injection.reports import OPERATIONS
from negalign_train.vocabulary.records import Case

Damage = Callable[[Case, int], str | None]
"""From a case and a seed to its report with one error; None where it gives no place for it."""

_WRONG_SIZE = re.compile(r"\b\d+(?:\.\d+)? ?(?:mm|cm)\b")


@dataclass(frozen=True)
class RecallRow:
    """How many damaged reports raise a flag that the untouched report did not."""

    name: str
    made: int
    without_prompt: int
    with_prompt: int


def _signatures(score: AloneScore | None) -> Counter[tuple[object, ...]]:
    flags: Sequence[Flag] = () if score is None else score.flags
    return Counter((f.kind, f.category, f.finding, f.detail) for f in flags)


def _is_new(before: AloneScore | None, after: AloneScore | None) -> bool:
    """Whether the damage raises a flag, or makes a report unreadable."""
    return after is None or bool(_signatures(after) - _signatures(before))


def _of_operation(name: str) -> Damage:
    return lambda case, seed: with_error(case, case.reference, name, seed)


def _mask(case: Case, seed: int) -> str | None:
    """A word of the report as a de-identification mask."""
    words = list(re.finditer(r"[A-Za-z]{4,}", case.reference))
    word = random.Random(f"mask:{seed}:{case.case_id}").choice(words)
    return f"{case.reference[: word.start()]}XXXX{case.reference[word.end() :]}"


def _loop(case: Case, seed: int) -> str | None:
    """The last three words go round and round, as a small model's do."""
    words = case.reference.rstrip(".").split()
    return " ".join([*words, *(4 * words[-3:])]) + "." if len(words) > 3 else None


def _chatter(case: Case, seed: int) -> str | None:
    return f"Here is the report: {case.reference} I hope this helps."


def _huge(case: Case, seed: int) -> str | None:
    """A size in the wrong unit twice over: millimetres as decimetres."""
    match = _WRONG_SIZE.search(case.reference)
    if match is None:
        return None
    return case.reference[: match.start()] + "85 cm" + case.reference[match.end() :]


DAMAGES: dict[str, Damage] = {
    **{name: _of_operation(name) for name in OPERATIONS},
    "mask": _mask,
    "loop": _loop,
    "chatter": _chatter,
    "impossible_size": _huge,
}


def false_flags(cases: Sequence[Case], *, with_prompt: bool) -> Counter[str]:
    """Real reports with a flag, by kind, and under ``any``."""
    reports: Counter[str] = Counter()
    for case in cases:
        score = score_alone(case.reference, case.prompt if with_prompt else None)
        kinds = {"unscorable"} if score is None else {flag.kind for flag in score.flags}
        reports.update(kinds)
        reports["any"] += bool(kinds)
    return reports


def recall_rows(cases: Sequence[Case], limit: int, seed: int) -> Iterator[RecallRow]:
    """Each kind of damage on the first ``limit`` reports that give a place for it."""
    for name, damage in DAMAGES.items():
        made = alone = beside = 0
        for case in cases:
            if made == limit:
                break
            text = damage(case, seed)
            if text is None or text == case.reference:
                continue
            made += 1
            alone += _is_new(score_alone(case.reference), score_alone(text))
            beside += _is_new(
                score_alone(case.reference, case.prompt), score_alone(text, case.prompt)
            )
        yield RecallRow(name, made, alone, beside)
