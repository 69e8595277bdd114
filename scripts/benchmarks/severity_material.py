"""The pairs of texts of ``bench_severity.py``, made once for all judges."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from random import Random

from negalign_train.simulate.injection.reports import OPERATIONS, inject
from negalign_train.simulate.paraphrase import paraphrase
from negalign_train.vocabulary.records import Case

TextPair = tuple[str, str]
"""Reference and candidate."""

TRAPS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("Mild cardiomegaly.", "The cardiac silhouette is mildly enlarged.", ()),
    ("No pleural effusion.", "Pleural effusion.", ("false_positive",)),
    ("Mild pulmonary edema.", "Severe pulmonary edema.", ("wrong_severity",)),
    (
        "Stable bibasilar atelectasis without consolidation.",
        "New right lower lobe consolidation.",
        ("false_positive", "false_negative", "temporal_error"),
    ),
)
"""Four known traps, each with the categories that must be above 0; none: S = 0."""

_RANKED = (
    "false_negation", "false_prediction", "change_severity", "change_location",
    "add_device", "omission", "temporal_error", "overinterpretation",
)  # fmt: skip


@dataclass(frozen=True)
class Material:
    """``untouched``: each report against itself; ``reworded``: against other words of the same
    meaning, those that no rule changes left out; ``chains``: a reference and its rewording with 0,
    1, ... errors; ``injected``: by operation, a report against itself with one error.
    """

    untouched: tuple[TextPair, ...]
    reworded: tuple[TextPair, ...]
    chains: tuple[tuple[str, tuple[str, ...]], ...]
    injected: Mapping[str, tuple[TextPair, ...]]

    def pairs(self) -> list[TextPair]:
        """Every pair to be judged, traps included, each once."""
        chained = [(reference, text) for reference, texts in self.chains for text in texts]
        errors = [pair for pairs in self.injected.values() for pair in pairs]
        traps = [(reference, candidate) for reference, candidate, _ in TRAPS]
        return list(dict.fromkeys([*traps, *self.untouched, *self.reworded, *chained, *errors]))


def one_per_group(cases: Sequence[Case]) -> list[Case]:
    """The first case of each duplicate group."""
    return list({case.group: case for case in reversed(cases)}.values())[::-1]


def with_error(case: Case, text: str, operation: str, seed: int) -> str | None:
    """``text``, a report on ``case``, with one error; None where it gives no place for it."""
    truth = [finding.name for finding in case.findings]
    injection = inject(text, operation, seed, true_findings=truth)
    return None if injection is None else injection.text


def error_chain(case: Case, seed: int, length: int) -> list[str]:
    """The reworded report with 0, 1, ... errors in it, each on top of the last."""
    order = list(_RANKED)
    Random(f"chain:{seed}:{case.case_id}").shuffle(order)
    texts = [paraphrase(case.reference, seed)]
    for name in order:
        if len(texts) > length:
            break
        text = with_error(case, texts[-1], name, seed)
        if text is not None:
            texts.append(text)
    return texts


def _injected(cases: Sequence[Case], limit: int, seed: int) -> dict[str, tuple[TextPair, ...]]:
    """At most ``limit`` reports per operation, in the order of ``cases``."""
    table: dict[str, tuple[TextPair, ...]] = {}
    for name in OPERATIONS:
        pairs: list[TextPair] = []
        for case in cases:
            if len(pairs) == limit:
                break
            text = with_error(case, case.reference, name, seed)
            if text is not None:
                pairs.append((case.reference, text))
        table[name] = tuple(pairs)
    return table


def make_material(cases: Sequence[Case], limit: int, chains: int, seed: int) -> Material:
    """The material of ``cases``: ``chains`` of them ranked, ``limit`` per operation."""
    reworded = ((case.reference, paraphrase(case.reference, seed)) for case in cases)
    return Material(
        tuple((case.reference, case.reference) for case in cases),
        tuple(pair for pair in reworded if pair[0] != pair[1]),
        tuple((case.reference, tuple(error_chain(case, seed, 4))) for case in cases[:chains]),
        _injected(cases, limit, seed),
    )


def distinct_pairs(cases: Sequence[Case], first: int = 0) -> Iterator[TextPair]:
    """Endless pairs of report and reworded report, no text twice; ``first`` numbers the first."""
    for number in count(first):
        reference, tail = cases[number % len(cases)].reference, f" Film number {number}."
        yield reference + tail, paraphrase(reference, number) + tail
