"""The rule scorer as a judge: no torch, no network, thousands of pairs a second."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from negalign_train.resources import data_path
from negalign_train.severity.context import CONTEXT_FILE, in_context
from negalign_train.severity.judges.base import Judgement, ReportPair
from negalign_train.severity.score import explain_unscorable, score_report

_DATA = ("taxonomy.json", "findings.yaml", "lexicon.yaml", CONTEXT_FILE)
# Modules of this room that use scores and do not make them.
_NOT_SCORING = frozenset(
    ["agreement.py", "bootstrap.py", "calibration.py", "calibration_fit.py", "examples.py",
     "reward.py", "trust.py"]
)  # fmt: skip


@cache
def rules_version() -> str:
    """Twelve hex digits of SHA-256 over the scorer's data and source files: a changed word of the
    lexicon is another scorer.
    """
    room = Path(__file__).resolve().parent.parent
    sources = sorted(path for path in room.glob("*.py") if path.name not in _NOT_SCORING)
    digest = hashlib.sha256()
    for path in [*(data_path(name) for name in _DATA), *sources]:
        digest.update(path.name.encode() + b"\0" + path.read_bytes().replace(b"\r\n", b"\n"))
    return digest.hexdigest()[:12]


class RulesJudge:
    """Facts of both reports, compared (``severity.compare``), in the patient's context."""

    name = "rules"

    @property
    def version(self) -> str:
        return rules_version()

    def judge_one(self, pair: ReportPair) -> Judgement:
        score = score_report(pair.reference, pair.candidate)
        if score is None:
            reason = explain_unscorable(pair.reference, pair.candidate)
            return Judgement(self.name, self.version, None, reason)
        adjusted = in_context(score, pair.reference, pair.candidate, pair.context)
        return Judgement(self.name, self.version, adjusted)

    def judge(self, pairs: Sequence[ReportPair]) -> list[Judgement]:
        return [self.judge_one(pair) for pair in pairs]
