"""Several errors in one report, none of which undoes, hides or repeats another one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from negalign_train.simulate.injection.reports import (
    OPERATIONS,
    Injection,
    apply_edits,
    draw_alteration,
)
from negalign_train.simulate.injection.tables import Alteration, Replace, view

_Span = tuple[int, int]


@dataclass(frozen=True)
class _State:
    """A report with some errors: ``closed`` are characters that no further error may change."""

    text: str
    errors: tuple[Injection, ...] = ()
    closed: tuple[_Span, ...] = ()

    def allows(self, alteration: Alteration) -> bool:
        """An error about another finding than the others, and in other sentences."""
        names = {error.finding for error in self.errors if error.finding is not None}
        return alteration.finding not in names and not any(
            (edit.start < end and start < edit.end) or start < edit.start < end
            for edit in alteration.edits
            for start, end in self.closed
        )


def inject_several(
    report: str,
    operations: Iterable[str],
    count: int,
    seed: int | str,
    *,
    true_findings: Sequence[str] | None = None,
) -> tuple[Injection, ...]:
    """At most ``count`` errors, each of another operation, tried in the order of ``operations``.

    The ``text`` of every one is the report with all of them, and so are their spans.

    Raises:
        DataError: there is no such operation.
    """
    state = _State(report)
    for name in operations:
        if len(state.errors) == count:
            break
        place = len(state.errors)
        drawn = draw_alteration(
            state.text, name, f"{seed}:{place}" if place else seed, true_findings, state.allows
        )
        if drawn is not None:
            state = _with(state, name, drawn)
    return state.errors


def _with(state: _State, operation: str, alteration: Alteration) -> _State:
    text, span = apply_edits(state.text, alteration.edits)
    if text == state.text:
        return state
    edits = alteration.edits
    errors = [replace(error, text=text, span=_shifted(error.span, edits)) for error in state.errors]
    category = OPERATIONS[operation].category
    errors.append(
        Injection(text, operation, category, alteration.finding, span, alteration.severity)
    )
    closed = [_shifted(each, edits) for each in state.closed]
    return _State(text, tuple(errors), (*closed, *_touched(text, edits)))


def _delta(edit: Replace) -> int:
    return len(edit.text) - (edit.end - edit.start)


def _shifted(span: _Span, edits: Sequence[Replace]) -> _Span:
    """Where a span stands after edits that do not reach into it."""
    start = span[0] + sum(_delta(e) for e in edits if e.end <= span[0])
    end = span[1] + sum(_delta(e) for e in edits if e.end <= span[1] and e.start < span[1])
    return start, max(start, end)


def _touched(text: str, edits: Sequence[Replace]) -> list[_Span]:
    """The sentences of ``text`` that the edits made or changed, and for a sentence that was added
    the one before it as well: a repetition lives by both.
    """
    spans = []
    for edit in edits:
        start = edit.start + sum(_delta(e) for e in edits if e is not edit and e.end <= edit.start)
        end = start + len(edit.text)
        sentences = view(text, None).sentences
        inside = [s for s in sentences if s.start < end and start <= s.end]
        if inside and edit.text:
            start, end = min(start, inside[0].start), max(end, inside[-1].end)
        spans.append((start, end))
    return spans
