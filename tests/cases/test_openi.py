"""OpenI cases: masks, duplicates and codes. Tests on the real file skip where it is missing."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import pytest

from negalign_train.cases.catalogue import finding_of, findings_of, readable
from negalign_train.cases.openi import clean_indication, clean_sentences, load_openi, part_of
from negalign_train.severity.pricing.score import score_report
from negalign_train.vocabulary.errors import DataError
from negalign_train.vocabulary.records import Case, Finding

COLUMNS = ("uid", "MeSH", "indication", "comparison", "findings", "impression")
DATA = Path(
    os.environ.get("NEGALIGN_SHARED_DATA", Path(__file__).resolve().parents[3] / "shared" / "data")
)
OPENI = DATA / "openi" / "indiana_reports.csv"
needs_openi = pytest.mark.skipif(
    not OPENI.is_file(), reason="the OpenI CSV is not here; set NEGALIGN_SHARED_DATA"
)


def write_csv(path: Path, *rows: dict[str, str]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS)
        writer.writeheader()
        writer.writerows({column: row.get(column, "") for column in COLUMNS} for row in rows)
    return path


def test_a_row_becomes_a_case(tmp_path: Path) -> None:
    row = {
        "uid": "7",
        "MeSH": "Opacity/lung/base/left;Pleural Effusion/right/small",
        "indication": "XXXX-year-old female, XXXX pain",
        "comparison": "XXXX",
        "findings": "Left base opacity. XXXX effusion on the right.Heart size normal",
        "impression": "1. Left base opacity. 2. XXXX.",
    }
    assert load_openi(write_csv(tmp_path / "o.csv", row)) == [
        Case(
            case_id="openi-7",
            group=load_openi(tmp_path / "o.csv")[0].group,
            prompt="Indication: adult female, pain. Comparison: prior study. Observations: "
            "opacity, lung, base, left; pleural effusion, right, small.",
            reference="Findings: Left base opacity. Heart size normal. "
            "Impression: Left base opacity.",
            findings=(
                Finding("opacity", side="left", location="base"),
                Finding("pleural_effusion", side="right", degree="mild"),
            ),
            has_prior=True,
            source="openi",
        )
    ]


def test_equal_findings_share_a_group_and_unusable_rows_give_no_case(tmp_path: Path) -> None:
    good = {"MeSH": "normal", "findings": "Lungs are clear.", "impression": "No acute disease."}
    cases = load_openi(
        write_csv(
            tmp_path / "o.csv",
            good | {"uid": "1"},
            good | {"uid": "2", "findings": "lungs are CLEAR", "impression": "Negative chest."},
            good | {"uid": "3", "findings": "Lungs are hyperexpanded."},
            good | {"uid": "4", "findings": ""},
            good | {"uid": "5", "impression": "XXXX."},
            good | {"uid": "6", "MeSH": "No Indexing"},
        )
    )
    assert [case.case_id for case in cases] == ["openi-1", "openi-2", "openi-3"]
    assert cases[0].group == cases[1].group != cases[2].group
    assert cases[0].findings == ()
    assert str(cases[0].prompt).endswith("Comparison: none. Observations: none.")


def test_a_wrong_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "o.csv").write_text("uid,text\n1,a\n", encoding="utf-8")
    with pytest.raises(DataError, match="columns MeSH, indication"):
        load_openi(tmp_path / "o.csv")
    with pytest.raises(DataError, match="check path and file"):
        load_openi(tmp_path / "none.csv")
    row = {"uid": "1", "MeSH": "normal", "findings": "Lungs clear.", "impression": "No disease."}
    with pytest.raises(DataError, match="1 uids are repeated"):
        load_openi(write_csv(tmp_path / "twice.csv", row, row))


def test_codes_become_findings() -> None:
    assert finding_of("Lung/hypoinflation") == Finding("hypoinflation")
    assert finding_of("Lung/azygos lobe") is None
    assert finding_of("Markings/lung/interstitial") == Finding("interstitial_opacities")
    assert findings_of(["Nodule/lung/left", "Nodule/lung/right/small"]) == (
        Finding("nodule", side="bilateral"),
    )
    assert readable("Pulmonary Disease, Chronic Obstructive/severe") == (
        "chronic obstructive pulmonary disease, severe"
    )


def test_masks_and_scraps_do_not_survive() -> None:
    assert clean_sentences("1. Heart is XXXX. 2. Lungs clear.. . Dr. XXXX") == ["Lungs clear."]
    assert clean_indication("XXXX") == "not given"


@needs_openi
def test_the_real_file_loads_without_masks_and_scores_zero_against_itself() -> None:
    cases = load_openi(OPENI)
    assert len(cases) > 2300
    assert 0.6 < len({case.group for case in cases}) / len(cases) < 0.9
    assert not any("xxxx" in (case.reference + str(case.prompt)).lower() for case in cases)
    zero = 0
    for case in cases:
        score = score_report(case.reference, case.reference)
        assert score is not None
        zero += score.total == 0
    assert zero / len(cases) >= 0.95


def test_the_parts_are_decided_by_the_group() -> None:
    """One half is the test's; of the other, a third is the reserve."""
    parts = [part_of(f"openi-{number}") for number in range(3000)]
    assert part_of("openi-7") == parts[7]
    assert 1420 < parts.count("test") < 1580
    assert 450 < parts.count("reserve") < 550
    assert parts.count("development") == 3000 - parts.count("test") - parts.count("reserve")
