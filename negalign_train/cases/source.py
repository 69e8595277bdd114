"""Which cases a cycle drafts and on which it is evaluated, for every source."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from negalign_train.cases.jsonl import read_cases
from negalign_train.cases.openi import load_openi
from negalign_train.cases.splits import group_fraction
from negalign_train.cases.synthetic import synthetic_cases
from negalign_train.recipe.cycle import CasesSettings
from negalign_train.vocabulary.errors import DataError
from negalign_train.vocabulary.records import Case

EVALUATION_SHARE = 0.2
FEEDBACK_SHARE = 0.3
"""Shares of case groups of a file kept for evaluation and for feedback; the rest may train a
generator (``negalign sft``)."""
SYNTHETIC_CASES = 2000
"""Of the grammar for a generator, unless a number is given."""
_EVALUATION_STREAM, _FEEDBACK_STREAM, _GENERATOR_STREAM = 1, 2, 3


def _stream(seed: int, stream: int) -> int:
    return seed * 10 + stream


def split_of(group: str) -> str:
    """``evaluation``, ``feedback`` or ``generator``: where a case group belongs, in every cycle."""
    fraction = group_fraction(group, seed=0)
    if fraction < EVALUATION_SHARE:
        return "evaluation"
    return "feedback" if fraction < EVALUATION_SHARE + FEEDBACK_SHARE else "generator"


def file_cases(settings: CasesSettings) -> tuple[Case, ...]:
    """All cases of a file source, in the file's order. A file is parsed again only once it changed:
    a cycle asks for its cases at every step.

    Raises:
        DataError: the file cannot be read, or holds no cases of its kind.
    """
    assert settings.path is not None  # CasesSettings checks it
    try:
        status = settings.path.stat()
    except OSError:
        return _parse(settings.source, settings.path)  # which says what is wrong with it
    return _parsed(settings.source, settings.path.resolve(), status.st_mtime_ns, status.st_size)


def _parse(source: str, path: Path) -> tuple[Case, ...]:
    return tuple(load_openi(path) if source == "openi" else read_cases(path))


@lru_cache(maxsize=1)
def _parsed(source: str, path: Path, mtime_ns: int, size: int) -> tuple[Case, ...]:
    """The cases of a file whose time of change and size stand for its content."""
    return _parse(source, path)


def evaluation_cases(settings: CasesSettings, seed: int) -> list[Case]:
    """The frozen evaluation cases: the same in every cycle of one seed; no two with one prompt,
    where equal prompts are one case.
    """
    count = settings.num_evaluation_cases
    if count == 0:
        return []
    if settings.source == "synthetic":
        return synthetic_cases(0, count, _stream(seed, _EVALUATION_STREAM))
    cases = [case for case in file_cases(settings) if split_of(case.group) == "evaluation"]
    cases = _seeded(cases, seed)
    if settings.joins_equal_prompts:
        cases = list({str(case.prompt): case for case in reversed(cases)}.values())[::-1]
    _check_enough(len(cases), count, "evaluation", settings)
    return cases[:count]


def feedback_cases(settings: CasesSettings, cycle: int, seed: int) -> list[Case]:
    """The cases that cycle ``cycle`` drafts; none shares its group with an evaluation case.

    Raises:
        DataError: a file source has too few cases left for this cycle.
    """
    count = settings.num_feedback_cases
    if count == 0:
        return []
    if settings.source == "synthetic":
        cases = synthetic_cases((cycle - 1) * count, count, _stream(seed, _FEEDBACK_STREAM))
        return without_evaluation(cases, settings, seed)
    cases = [case for case in file_cases(settings) if split_of(case.group) == "feedback"]
    cases = _seeded(without_evaluation(cases, settings, seed), seed)
    _check_enough(len(cases), cycle * count, "feedback", settings)
    return cases[(cycle - 1) * count : cycle * count]


def generator_cases(settings: CasesSettings, seed: int, count: int | None = None) -> list[Case]:
    """The cases that may train a generator: neither drafted for readers nor evaluated on;
    ``count`` of them drawn by the seed, or all, in the file's order.

    Raises:
        DataError: the source has none.
    """
    if settings.source == "log":
        raise DataError(
            "cases.source log has no reports beside the log's; a candidate with method: sft trains "
            "on what readers approved of"
        )
    if settings.source == "synthetic":
        drawn = synthetic_cases(0, count or SYNTHETIC_CASES, _stream(seed, _GENERATOR_STREAM))
        return without_evaluation(drawn, settings, seed)
    cases = [case for case in file_cases(settings) if split_of(case.group) == "generator"]
    cases = without_evaluation(cases, settings, seed)
    if not cases:
        raise DataError(
            f"{settings.path}: no case is left to train a generator on, all are kept for readers "
            "and evaluation; give more cases"
        )
    drawn_ids = {case.case_id for case in _seeded(cases, seed)[:count]}
    return [case for case in cases if case.case_id in drawn_ids]


def without_evaluation(cases: list[Case], settings: CasesSettings, seed: int) -> list[Case]:
    """``cases`` less those that share a group with a frozen evaluation case, or a prompt where
    equal prompts are one case.
    """
    frozen = evaluation_cases(settings, seed)
    groups = {case.group for case in frozen}
    prompts = {str(case.prompt) for case in frozen} if settings.joins_equal_prompts else set()
    return [case for case in cases if case.group not in groups and str(case.prompt) not in prompts]


def _check_enough(available: int, wanted: int, what: str, settings: CasesSettings) -> None:
    if available < wanted:
        raise DataError(
            f"{settings.path}: {wanted} {what} cases are needed, {available} are there; lower "
            f"cases.num_{what}_cases or run fewer cycles"
        )


def _seeded(cases: list[Case], seed: int) -> list[Case]:
    return sorted(cases, key=lambda case: (group_fraction(case.case_id, seed + 1), case.case_id))
