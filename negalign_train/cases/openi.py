"""Cases of the OpenI (Indiana University) chest radiograph collection, from its CSV.

Traps of that file, handled here: ``XXXX`` stands for removed words (a sentence with it is
dropped, in the indication it is cut out), many reports share their text (one group), and some
have no findings, no impression or no codes (no case).
"""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Literal, TextIO

from negalign_train.cases.catalogue import findings_of, readable
from negalign_train.cases.splits import group_fraction
from negalign_train.vocabulary.errors import DataError
from negalign_train.vocabulary.records import Case

Part = Literal["development", "reserve", "test"]
_PART_SEED = 20
_RESERVE_SEED = 21
_COLUMNS = ("uid", "MeSH", "indication", "comparison", "findings", "impression")
_MASK = "XXXX"
_STOP = re.compile(r"(?<=[.!?])\s+|(?<=[a-z]\.)(?=[A-Z][a-z])")
_ENUMERATION = re.compile(r"^(?:\d{1,2}[.)]\s*)+")
_NO_PRIOR = re.compile(r"^(?:none|no\b|not available|unavailable|n/a|nil)", re.IGNORECASE)
_NO_CODES = frozenset({"", "no indexing"})
_UNCODED = frozenset({"normal", "no indexing", ""})


def _tidy(sentence: str) -> str | None:
    """One sentence with a capital and one stop; None for masked ones and for scraps."""
    text = _ENUMERATION.sub("", sentence.strip()).strip(" .,;")
    words = re.findall(r"[A-Za-z]{2,}", text)
    if _MASK in text.upper() or not words or (len(words) < 2 and len(words[0]) < 6):
        return None
    return text[0].upper() + text[1:] + "."


def clean_sentences(text: str) -> list[str]:
    """The usable sentences of a findings or impression field, in order."""
    tidied = (_tidy(sentence) for sentence in _STOP.split(text))
    return [sentence for sentence in tidied if sentence is not None]


def clean_indication(text: str) -> str:
    """An indication without masks: "XXXX-year-old female, chest pain" is "adult female, ..."."""
    text = re.sub(r"\bXXXX[- ]?(?:years?|yrs?)?[- ]?olds?\b", "adult", text, flags=re.IGNORECASE)
    text = re.sub(r"\w*XXXX\w*\s*", "", text, flags=re.IGNORECASE)
    text = re.sub(r"\s+([,.;])", r"\1", " ".join(text.split()))
    text = re.sub(r"[,;](?=[,.;])", "", text).strip(" .,;-")
    return text if re.search(r"[A-Za-z]{2}", text) else "not given"


def group_of(findings: list[str]) -> str:
    """The duplicate group of a findings text: equal words in equal order, whatever the case."""
    words = re.findall(r"[a-z0-9]+", " ".join(findings).lower())
    return "openi-" + hashlib.sha256(" ".join(words).encode()).hexdigest()[:16]


def part_of(group: str) -> Part:
    """The part of OpenI that a duplicate group belongs to, by its hash alone.

    Whoever extends the lexicon or a rule reads reports of the development part only; figures are
    reported on the test half, which never was read. The reserve is a third of the other half; it
    was read until 2026-11-25 (lexicon 5) and is not to be read again, so that it shows what later
    changes do on reports that they were not made from. Equal findings texts share a group, hence a
    part.
    """
    if group_fraction(group, _PART_SEED) >= 0.5:
        return "test"
    return "reserve" if group_fraction(group, _RESERVE_SEED) < 1 / 3 else "development"


def _prompt(indication: str, has_prior: bool, codes: list[str]) -> str:
    coded = [readable(code) for code in codes if code.strip().lower() not in _UNCODED]
    observations = "; ".join(dict.fromkeys(coded)) or "none"
    comparison = "prior study" if has_prior else "none"
    return (
        f"Indication: {clean_indication(indication)}. Comparison: {comparison}. "
        f"Observations: {observations}."
    )


def _case(row: Mapping[str, str]) -> Case | None:
    """The case of one row; None where text or codes are missing."""
    findings, impression = clean_sentences(row["findings"]), clean_sentences(row["impression"])
    codes = [code.strip() for code in row["MeSH"].split(";")]
    if not findings or not impression or all(code.lower() in _NO_CODES for code in codes):
        return None
    comparison = row["comparison"].strip()
    has_prior = bool(comparison) and not _NO_PRIOR.match(comparison)
    return Case(
        case_id=f"openi-{row['uid']}",
        group=group_of(findings),
        prompt=_prompt(row["indication"], has_prior, codes),
        reference=f"Findings: {' '.join(findings)} Impression: {' '.join(impression)}",
        findings=findings_of(codes),
        has_prior=has_prior,
        source="openi",
    )


def is_openi(columns: Collection[str]) -> bool:
    """Whether a table with these columns is the OpenI CSV."""
    return set(_COLUMNS) <= set(columns)


def read_openi(stream: TextIO, name: str) -> Iterator[Case | None]:
    """The case of each row of the CSV, in its order; None where text or codes are missing.

    Raises:
        DataError: it lacks a column, or is not a UTF-8 CSV.
    """
    try:
        reader = csv.DictReader(stream)
        missing = [column for column in _COLUMNS if column not in (reader.fieldnames or ())]
        if missing:
            raise DataError(
                f"{name}: columns {', '.join(missing)} are missing; give the OpenI CSV with "
                f"{', '.join(_COLUMNS)}"
            )
        for row in reader:
            yield _case({column: row[column] or "" for column in _COLUMNS})
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"{name}: cannot be read as a UTF-8 CSV ({type(error).__name__}); check path and file"
        ) from error


def load_openi(path: Path) -> list[Case]:
    """The usable cases of the CSV, in its order. Reports of one text share their group.

    Raises:
        DataError: the file cannot be read, lacks a column, repeats a uid, or gives no case.
    """
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            rows = list(read_openi(stream, str(path)))
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read as a UTF-8 CSV ({type(error).__name__}); check path and file"
        ) from error
    cases = [case for case in rows if case is not None]
    ids = [case.case_id for case in cases]
    if len(set(ids)) != len(ids):
        raise DataError(f"{path}: {len(ids) - len(set(ids))} uids are repeated; remove them")
    if not cases:
        raise DataError(f"{path}: none of {len(rows)} rows has findings, impression and codes")
    return cases
