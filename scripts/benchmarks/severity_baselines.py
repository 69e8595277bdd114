"""What the severity judges are measured against: word overlap and a plain count of findings.

A baseline gives S only: one number per pair, larger is worse.
"""

from __future__ import annotations

import importlib

from benchmarks.severity_figures import Judge, Verdict
from negalign_train.severity.pricing.score import score_report
from negalign_train.simulate.mesh_text import patterns


def rules(reference: str, candidate: str) -> Verdict | None:
    """The package's own scorer."""
    score = score_report(reference, candidate)
    return None if score is None else Verdict(score.total, score.severities)


def finding_count(reference: str, candidate: str) -> Verdict:
    """How many findings one of the two names and the other does not; negation is not read."""
    names = [
        {name for name, pattern in patterns().findings.items() if pattern.search(text.lower())}
        for text in (reference, candidate)
    ]
    return Verdict(float(len(names[0] ^ names[1])))


def bleu() -> Judge:
    """100 minus sentence BLEU (sacrebleu, effective order)."""
    metric = importlib.import_module("sacrebleu").BLEU(effective_order=True)
    return lambda reference, candidate: Verdict(
        100.0 - metric.sentence_score(candidate, [reference]).score
    )


def rouge_l() -> Judge:
    """1 minus ROUGE-L F1 (rouge-score)."""
    module = importlib.import_module("rouge_score.rouge_scorer")
    scorer = module.RougeScorer(["rougeL"])
    return lambda reference, candidate: Verdict(
        1.0 - scorer.score(reference, candidate)["rougeL"].fmeasure
    )
