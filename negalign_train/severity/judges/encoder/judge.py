"""The rules with an encoder at their side: what they cannot read is read as the nearest finding.

R3 and R9 stay the rules' own: they look at the candidate's words alone; a guess is none of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

from negalign_train.severity.judges.base import Judgement, ReportPair
from negalign_train.severity.judges.encoder import catalogue as catalogues
from negalign_train.severity.judges.encoder import glosses
from negalign_train.severity.judges.encoder.catalogue import (
    Nearest,
    TextEncoder,
    Vectors,
    catalogue,
    nearest_findings,
)
from negalign_train.severity.judges.encoder.glosses import (
    GlossedReport,
    glossed_report,
    unread_sentences,
)
from negalign_train.severity.judges.rules import RulesJudge, rules_version
from negalign_train.severity.pricing.compare import priced_score
from negalign_train.severity.version import scorer_version
from negalign_train.storage.fingerprint import fingerprint
from negalign_train.vocabulary.records import Evidence, SeverityScore

_VERSION = "1"
"""Raised with how phrases are compared or scores are joined, here and in ``sentence_encoder``."""
_ALONE = frozenset(["contradictory_diagnosis", "report_integrity"])
_GLOSSABLE = frozenset(["no_statement_in_reference", "unreadable_candidate"])
"""Reasons of the rules that an encoder may lift."""


class EncoderJudge:
    """Rules, helped by ``encoder``. A report without an unread sentence is scored as by the rules
    alone, and costs no more.
    """

    name = "encoder"

    def __init__(self, encoder: TextEncoder) -> None:
        self._encoder, self._rules = encoder, RulesJudge()

    @cached_property
    def version(self) -> str:
        read = [scorer_version(module) for module in (glosses.__name__, catalogues.__name__)]
        return fingerprint([_VERSION, rules_version(), *read, self._encoder.digest])[:12]

    def judge(self, pairs: Sequence[ReportPair]) -> list[Judgement]:
        reports = dict.fromkeys(text for pair in pairs for text in (pair.reference, pair.candidate))
        read = self._read([text for text in reports if text.strip()])
        return [self._judge(pair, read) for pair in pairs]

    @cached_property
    def _known(self) -> Vectors:
        return self._encoder.vectors(catalogue().texts)

    def nearest(self, phrases: Sequence[str]) -> list[Nearest]:
        """The catalogued finding nearest to each phrase."""
        if not phrases:
            return []
        return nearest_findings(self._encoder.vectors(phrases), self._known, catalogue())

    def _read(self, reports: Sequence[str]) -> dict[str, GlossedReport]:
        """The reports of which a sentence is read anew, with their glosses."""
        unread = {report: unread_sentences(report) for report in reports}
        phrases = list(dict.fromkeys(s.phrase for found in unread.values() for s in found))
        near = dict(zip(phrases, self.nearest(phrases), strict=True))
        threshold = catalogue().threshold
        anew = {}
        for report, found in unread.items():
            findings = {
                s.start: near[s.phrase].finding for s in found if near[s.phrase].is_read(threshold)
            }
            if findings:
                anew[report] = glossed_report(report, findings)
        return anew

    def _judge(self, pair: ReportPair, read: dict[str, GlossedReport]) -> Judgement:
        plain = self._rules.judge_one(pair)
        expected = read.get(pair.reference, GlossedReport(pair.reference, ()))
        said = read.get(pair.candidate, GlossedReport(pair.candidate, ()))
        changed = expected.moves or said.moves
        if not changed or (plain.score is None and plain.reason not in _GLOSSABLE):
            return Judgement(self.name, self.version, plain.score, plain.reason)
        helped = self._rules.judge_one(ReportPair(expected.text, said.text, pair.context))
        if helped.score is None:
            return Judgement(self.name, self.version, plain.score, plain.reason)
        score = _joined(plain.score, helped.score, expected, said)
        return Judgement(self.name, self.version, score)


def _joined(
    plain: SeverityScore | None,
    helped: SeverityScore,
    expected: GlossedReport,
    said: GlossedReport,
) -> SeverityScore:
    """The errors of the glossed reports at their places in the originals; R3 and R9 as the rules
    found them, where they could score at all.
    """
    evidence = [
        _placed(item, expected, said)
        for item in helped.evidence
        if plain is None or item.category not in _ALONE
    ]
    if plain is not None:
        evidence += [item for item in plain.evidence if item.category in _ALONE]
    assert helped.correct_weight is not None  # the rules know what is right
    return priced_score(evidence, helped.correct_weight)


def _placed(item: Evidence, expected: GlossedReport, said: GlossedReport) -> Evidence:
    guessed = said.is_gloss(item.span) or expected.is_gloss(item.reference_span)
    detail = f"{item.detail}; unknown words, probably this finding" if guessed else item.detail
    return replace(
        item,
        detail=detail,
        span=said.original(item.span),
        reference_span=expected.original(item.reference_span),
        conflict_span=said.original(item.conflict_span),
    )
