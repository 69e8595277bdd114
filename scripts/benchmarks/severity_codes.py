"""How well the presence of findings, read from report texts, agrees with OpenI's MeSH codes."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from negalign_train.cases.catalogue import finding_of
from negalign_train.severity.reading.facts import extract_facts
from negalign_train.severity.reading.statements import STUDY
from negalign_train.vocabulary.records import Case

CODED_AS = {
    "clavicle_fracture": "rib_fracture",
    "scapula_fracture": "rib_fracture",
    "sternal_fracture": "rib_fracture",
    "humerus_fracture": "rib_fracture",
    "lucency": "bulla",
    "umbilical_line": "central_line",
    "port": "central_line",
}
"""Findings that the scorer tells apart and the catalogue's codes do not: "Fractures, Bone" is any
bone's."""


def raw_texts(path: Path) -> dict[str, str]:
    """Case id to the whole report as it stands in the CSV, masks included."""
    with path.open(encoding="utf-8", newline="") as stream:
        return {
            f"openi-{row['uid']}": f"Findings: {row['findings']} Impression: {row['impression']}"
            for row in csv.DictReader(stream)
        }


def heads_of(path: Path) -> dict[str, list[str]]:
    """Finding id to the MeSH heads that are coded for it in the CSV, most frequent first."""
    counts: dict[str, Counter[str]] = {}
    with path.open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            for code in row["MeSH"].split(";"):
                finding = finding_of(code)
                if finding is not None:
                    head = code.split("/")[0].strip()
                    counts.setdefault(finding.name, Counter())[head] += 1
    return {name: [head for head, _ in heads.most_common()] for name, heads in counts.items()}


def mesh_agreement(
    cases: Sequence[Case], texts: Mapping[str, str], rows: int
) -> dict[str, dict[str, float]]:
    """Precision, recall and F1 of presence for the ``rows`` findings coded most often."""
    tables = {key: Counter[str]() for key in ("coded", "hit", "extra")}
    for case in cases:
        coded = {finding.name for finding in case.findings if finding.present}
        statements = extract_facts(texts[case.case_id]).statements
        asserted = {s.finding for s in statements if s.present and s.finding != STUDY}
        said = {CODED_AS.get(name, name) for name in asserted}
        tables["coded"].update(coded)
        tables["hit"].update(coded & said)
        tables["extra"].update(said - coded)
    result = {}
    for name, n in tables["coded"].most_common(rows):
        hit, extra = tables["hit"][name], tables["extra"][name]
        result[name] = {
            "n": n,
            "precision": hit / max(1, hit + extra),
            "recall": hit / n,
            "f1": 2 * hit / (n + hit + extra),
        }
    return result
