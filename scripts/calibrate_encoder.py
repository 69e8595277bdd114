"""Measure what the judge `encoder` reads at each threshold; data/encoder.yaml holds the one chosen.

A sentence with one known finding is read with its telling word taken out of the lexicon: the right
answer is known, and the encoder has to find it by other phrases. Beside that, the sentences without
a statement of reports that are coded normal: what is read there is a false alarm. The threshold is
chosen on the development half of OpenI; the test half says what it is worth.

    python scripts/calibrate_encoder.py --openi indiana_reports.csv --part development
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from negalign_train.cases.openi import load_openi, part_of
from negalign_train.quiet import quieten
from negalign_train.severity.judges.encoder.catalogue import (
    Catalogue,
    Nearest,
    catalogue,
    nearest_findings,
)
from negalign_train.severity.judges.encoder.glosses import phrase_of, unread_sentences
from negalign_train.severity.reading.statements import read_sentence
from negalign_train.severity.text.sentences import sentences
from negalign_train.severity.text.tokens import words_and_marks
from negalign_train.vocabulary.records import Case
from negalign_train.vocabulary.taxonomy import finding_types

THRESHOLDS = (0.55, 0.6, 0.65, 0.7, 0.75, 0.8)


@dataclass(frozen=True)
class Known:
    """A phrase whose finding is known, and the word of it that the lexicon goes without."""

    phrase: str
    finding: str
    word: str


def telling_word(words: Sequence[str], finding: str, entries: Catalogue) -> str | None:
    """The word that the largest share of its phrases gives to this finding; None where the finding
    has no phrase without it.
    """
    phrases = list(zip((p.split() for p in entries.phrases), entries.findings, strict=True))
    shares = {}
    for word in words:
        owners = [name for phrase, name in phrases if word in phrase]
        others = any(name == finding and word not in phrase for phrase, name in phrases)
        if finding in owners and others:
            shares[word] = owners.count(finding) / len(owners)
    return max(shares, key=lambda word: (shares[word], len(word))) if shares else None


def known_phrases(cases: Sequence[Case], entries: Catalogue) -> Iterator[Known]:
    """Each distinct sentence that asserts one finding in so many words, and nothing else."""
    texts = (s.text for c in cases for s in sentences(c.reference) if s.section != "aside")
    for text in dict.fromkeys(texts):
        statements = read_sentence(text).statements
        if len(statements) != 1 or not statements[0].present or statements[0].implied:
            continue
        said = statements[0]
        start, end = said.span
        words = [token.text for token in words_and_marks(text[start:end])]
        word = telling_word(words, said.finding, entries)
        if word is not None:
            yield Known(phrase_of(text), said.finding, word)


def rows(known: Sequence[Known], read: Sequence[Nearest], quiet: Sequence[Nearest]) -> list[Any]:
    """What each threshold gives."""
    weight = {name: entry.weight for name, entry in finding_types().items()}
    table = []
    for threshold in THRESHOLDS:
        kept = [(k, n) for k, n in zip(known, read, strict=True) if n.is_read(threshold)]
        right = sum(k.finding == n.finding for k, n in kept)
        near = sum(abs(weight[k.finding] - weight[n.finding]) <= 0.25 for k, n in kept)
        alarms = [n for n in quiet if n.is_read(threshold) and weight[n.finding] > 0]
        table.append(
            {
                "threshold": threshold,
                "read": len(kept) / len(known),
                "right_finding": right / max(1, len(kept)),
                "price_within_a_class": near / max(1, len(kept)),
                "alarms": len(alarms),
            }
        )
    return table


def measure(args: argparse.Namespace) -> dict[str, Any]:
    # Heavy: torch.
    from negalign_train.severity.judges.encoder.sentence_encoder import (
        SentenceEncoder,
        installed_encoder,
    )

    cases = [case for case in load_openi(args.openi) if part_of(case.group) == args.part]
    entries = catalogue()
    encoder = SentenceEncoder(args.encoder or installed_encoder(), "cpu")
    vectors = encoder.vectors(entries.texts)
    known = list(known_phrases(cases, entries))
    asked = encoder.vectors([one.phrase for one in known])
    read = nearest_findings(asked, vectors, entries, [one.word for one in known])
    normal = [case for case in cases if not any(f.present for f in case.findings)]
    unread = [s.phrase for case in normal for s in unread_sentences(case.reference)]
    quiet = nearest_findings(encoder.vectors(unread), vectors, entries)
    return {
        "part": args.part,
        "known_phrases": len(known),
        "normal_reports": len(normal),
        "unread_in_normal_reports": len(unread),
        "rows": rows(known, read, quiet),
    }


def show(result: dict[str, Any]) -> None:
    print(
        f"{result['part']}: {result['known_phrases']} known phrases; "
        f"{result['unread_in_normal_reports']} unread sentences in {result['normal_reports']} "
        "reports coded normal\n"
    )
    print("| threshold | read | right finding | price within a class | alarms in normal reports |")
    print("|---|---|---|---|---|")
    for row in result["rows"]:
        print(
            f"| {row['threshold']:.2f} | {row['read']:.3f} | {row['right_finding']:.3f} "
            f"| {row['price_within_a_class']:.3f} | {row['alarms']} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--openi", type=Path, required=True, help="the OpenI CSV")
    parser.add_argument("--part", choices=("development", "reserve", "test"), default="development")
    parser.add_argument("--encoder", type=Path, default=None, help="folder of another encoder")
    parser.add_argument("--out", type=Path, default=None, help="also write the figures as JSON")
    args = parser.parse_args()
    quieten()
    result = measure(args)
    if args.out is not None:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    show(result)


if __name__ == "__main__":
    main()
