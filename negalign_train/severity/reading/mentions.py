"""All statements of a report on one finding, joined into one mention."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from negalign_train.severity.reading.facts import ReportFacts
from negalign_train.severity.reading.statements import Statement
from negalign_train.severity.words.lexicon import lexicon

Site = tuple[str | None, str | None]
"""A side and a place of it; None where that is not said."""


class Mention(NamedTuple):
    """What a report says of one finding over all its sentences.

    ``present``: asserted somewhere, and then the attributes are those of the asserting
    statements. ``denied``: denied in so many words (not by "lungs are clear"), ``partly`` if
    every denial leaves something possible; ``denied_side``: the sides it is denied on.
    ``probable``: not certain, but rather yes. ``chronic``: called old throughout. ``asserted``: the
    asserting statements, where there are several.
    """

    finding: str
    present: bool
    certain: bool
    denied: bool
    side: frozenset[str]
    location: frozenset[str]
    degree: frozenset[str]
    change: frozenset[str]
    sizes_mm: frozenset[float]
    chronic: bool
    span: tuple[int, int]
    asserted: tuple[Statement, ...] = ()
    probable: bool = False
    partly: bool = False
    denied_side: frozenset[str] = frozenset()
    subtypes: frozenset[str] = frozenset()
    numbers: frozenset[str] = frozenset()
    counts: frozenset[int] = frozenset()

    @property
    def is_doubtful(self) -> bool:
        """Possible at most: not even called likely."""
        return not (self.certain or self.probable)

    @property
    def sites(self) -> frozenset[Site]:
        """Every place it is said to lie in, without what a more exact one says better, and without
        where it lies anyway (shared from its sign: "perihilar haze from edema")."""
        where: list[tuple[Iterable[str], Iterable[str]]]
        where = [(s.side, s.location) for s in self.asserted] or [(self.side, self.location)]
        natural = lexicon().natural_places
        places = frozenset(
            site
            for sides, zones in where
            for site in _sites(sides, (z for z in zones if (self.finding, z) not in natural))
        )
        return frozenset(p for p in places if not any(_is_part(o, p) for o in places if o != p))


def _sites(sides: Iterable[str], zones: Iterable[str]) -> frozenset[Site]:
    named_sides: list[str | None] = list(sides) or [None]
    named_zones: list[str | None] = list(zones) or [None]
    return frozenset((side, zone) for side in named_sides for zone in named_zones)


def _is_part(site: Site, whole: Site) -> bool:
    return all(w is None or w == s for s, w in zip(site, whole, strict=True))


_NONE: frozenset[str] = frozenset()
_NO_SIZE: frozenset[float] = frozenset()
_NO_COUNT: frozenset[int] = frozenset()


def _set(values: tuple[str, ...]) -> frozenset[str]:
    return frozenset(values) if values else _NONE


def _single(s: Statement) -> Mention:
    denied = not (s.present or s.implied)
    return Mention(
        s.finding, s.present, s.present and s.certain, denied,
        _set(s.side), _set(s.location),
        frozenset((s.degree,)) if s.degree else _NONE,
        frozenset((s.change,)) if s.change else _NONE,
        frozenset((s.size_mm,)) if s.size_mm else _NO_SIZE, s.chronic, s.span, (),
        s.present and s.probable, denied and s.partial, _set(s.side) if denied else _NONE,
        _set(s.subtypes), _set(s.numbers),
        _NO_COUNT if s.how_many is None else frozenset((s.how_many,)),
    )  # fmt: skip


def _joined(finding: str, statements: list[Statement]) -> Mention:
    if len(statements) == 1:
        return _single(statements[0])
    denials = [s for s in statements if not s.present and not s.implied]
    partly = bool(denials) and all(s.partial for s in denials)
    denied_side = frozenset(side for s in denials for side in s.side)
    source = [s for s in statements if s.present]
    if not source:  # what is nowhere asserted has no attributes but what changed
        changes = frozenset(s.change for s in statements if s.change)
        where = statements[0].span
        return Mention(
            finding, False, False, bool(denials), _NONE, _NONE, _NONE, changes, _NO_SIZE, False,
            where, partly=partly, denied_side=denied_side,
        )  # fmt: skip
    return Mention(
        finding=finding,
        present=True,
        certain=any(s.certain for s in source),
        denied=bool(denials),
        side=frozenset(side for s in source for side in s.side),
        location=frozenset(place for s in source for place in s.location),
        degree=frozenset(s.degree for s in source if s.degree),
        change=frozenset(s.change for s in source if s.change),
        sizes_mm=frozenset(s.size_mm for s in source if s.size_mm),
        chronic=all(s.chronic for s in source),
        span=source[0].span,
        asserted=tuple(source),
        probable=any(s.probable for s in source),
        partly=partly,
        denied_side=denied_side,
        subtypes=frozenset(each for s in source for each in s.subtypes),
        numbers=frozenset(each for s in source for each in s.numbers),
        counts=frozenset(s.how_many for s in source if s.how_many is not None),
    )


def _of_side(mention: Mention, side: str) -> Mention:
    """The mention as made by its statements on one side, or on none."""
    fitting = [s for s in mention.asserted if not s.side or side in s.side]
    return _joined(mention.finding, fitting) if fitting else mention


def by_side(reference: Mention, candidate: Mention) -> list[tuple[Mention, Mention]]:
    """The two mentions, once per side where one of them says different things of both sides."""
    shared = sorted(reference.side & candidate.side)
    differ = any(len({s.side for s in m.asserted}) > 1 for m in (reference, candidate))
    if len(shared) < 2 or not differ:
        return [(reference, candidate)]
    return [(_of_side(reference, side), _of_side(candidate, side)) for side in shared]


class Mentions(Mapping[str, Mention]):
    """One mention per finding named, in order of first statement.

    Each is joined when it is first asked for: of the many denials of a report few ever are.
    ``asserted``: the names of those that are present; ``gone``: of those that are not, but of which
    a change is said ("has resolved").
    """

    __slots__ = ("_grouped", "_joined", "asserted", "gone")

    def __init__(self, statements: Iterable[Statement]) -> None:
        grouped: dict[str, list[Statement]] = {}
        asserted: set[str] = set()
        changed: set[str] = set()
        for statement in statements:
            finding = statement[0]
            if finding in grouped:
                grouped[finding].append(statement)
            else:
                grouped[finding] = [statement]
            if statement[1]:
                asserted.add(finding)
            elif statement.change:
                changed.add(finding)
        self._grouped = grouped
        self._joined: dict[str, Mention] = {}
        self.asserted = [finding for finding in grouped if finding in asserted]
        self.gone = [finding for finding in grouped if finding in changed - asserted]

    def __getitem__(self, finding: str) -> Mention:
        if finding not in self._joined:
            self._joined[finding] = _joined(finding, self._grouped[finding])
        return self._joined[finding]

    def __contains__(self, finding: object) -> bool:
        return finding in self._grouped

    def __iter__(self) -> Iterator[str]:
        return iter(self._grouped)

    def __len__(self) -> int:
        return len(self._grouped)


def mentions_of(facts: ReportFacts) -> Mentions:
    return Mentions(facts.statements)


_EXCEPTIONS = frozenset(["nodule", "opacity", "atelectasis", "scarring", "interstitial_opacities"])
"""Reports name one of these, with its place or size, beside lungs that are clear."""


def _compounds(statements: Iterable[Statement]) -> frozenset[tuple[int, int]]:
    """Where one word denies two findings ("no hydropneumothorax"): neither is denied by itself."""
    spans: dict[tuple[int, int], str] = {}
    shared = set()
    for s in statements:
        if not (s.present or s.implied) and spans.setdefault(s.span, s.finding) != s.finding:
            shared.add(s.span)
    return frozenset(shared)


def _excludes(denial: Statement, statement: Statement) -> bool:
    """Whether a denial leaves no room for an assertion of the same finding.

    A denial in so many words leaves none, but "no focal opacity" leaves one that is known, on both
    sides or measured: the word is general. "The lungs are clear" leaves what is mild or nothing
    new, a lesser finding that is given a place or a size, and what lies at the hila; "no acute
    abnormality" leaves most findings unless they are marked or new.
    """
    if not denial.implied:
        other = statement.chronic or statement.size_mm or len(statement.side) > 1
        return statement.finding != "opacity" or not (other or statement.change == "stable")
    if "central" in statement.location or (
        statement.finding in _EXCEPTIONS and (statement.location or statement.size_mm)
    ):
        return statement.degree in ("moderate", "severe") and not denial.only_marked
    known = statement.change in ("stable", "improved") and statement.degree != "severe"
    if known or statement.degree in ("trace", "mild"):
        return False
    marked = statement.degree in ("moderate", "severe") or statement.change in ("new", "worse")
    return marked or not denial.only_marked


def contradictions(facts: ReportFacts) -> Iterable[tuple[Statement, Statement]]:
    """Pairs (assertion, denial) of one finding that exclude each other within one report.

    Left aside: assertions that are only possible, denials in part ("no large effusion", one side
    only, "otherwise clear") and two statements of the same words.
    """
    asserted = {s.finding for s in facts.statements if s.present and s.certain}
    denials: dict[str, list[Statement]] = {}
    for statement in facts.statements:
        if statement.finding in asserted and not (statement.present or statement.partial):
            denials.setdefault(statement.finding, []).append(statement)
    if not denials:
        return
    compounds = _compounds(facts.statements)
    seen: set[str] = set()
    for statement in facts.statements:
        if not (statement.present and statement.certain) or statement.finding in seen:
            continue
        for denial in denials.get(statement.finding, ()):
            if denial.span not in compounds and _excludes(denial, statement):
                seen.add(statement.finding)
                yield statement, denial
                break


def side_conflicts(facts: ReportFacts) -> Iterable[tuple[Statement, Statement]]:
    """Impression statements that put a finding on the other side than the findings section,
    each with the statement of that section; none where the impression names that side as well."""
    before: dict[str, list[Statement]] = {}
    concluded: dict[str, list[Statement]] = {}
    for statement in facts.statements:
        if statement.present and statement.side:
            part = concluded if statement.section == "impression" else before
            part.setdefault(statement.finding, []).append(statement)
    for finding, statements in concluded.items():
        others = before.get(finding, [])
        known = {side for other in others for side in other.side}
        if others and not any(known & set(s.side) for s in statements):
            yield from ((statement, others[0]) for statement in statements)
