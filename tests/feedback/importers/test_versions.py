"""Preliminary and final reports: rows of a table, FHIR resources, HL7 messages. The fixtures are
ours, in the documented shape.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from negalign_train.feedback.importers.text import html_text, split_report, unwrapped
from negalign_train.feedback.schema import parse_event
from negalign_train.feedback.store import FeedbackStore
from negalign_train.vocabulary.errors import FeedbackError
from negalign_train.vocabulary.records import Event
from tests.feedback.importing import import_log, pseudonym
from tests.feedback.test_store import counts

PRELIMINARY = "Findings: Small left effusion.\nImpression: Effusion."
FINAL = "Findings: Small right effusion.\nImpression: Effusion."
GENERATOR = "generator.base=radgen-7b"


def by_hand(**overrides: Any) -> Event:
    return parse_event(
        {
            "schema": "negalign.feedback/1",
            "event_id": "",
            "revision": 1,
            "case_id": "",
            "created_at": "2026-11-02T10:00:00+00:00",
            "prompt": "Examination: CHEST 2 VIEWS\nIndication: cough",
            "completion": PRELIMINARY,
            "generator": {"base": "radgen-7b"},
            "grade": "partial",
            "errors": [],
            "edited": FINAL,
            "reader": {"id": pseudonym("reader", "D77")},
            "source": {"system": "hl7"},
        }
        | overrides
    )


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


TABLE = (
    "Accession,Indication,Preliminary report,Final report,Attending,Signed at,Room\n"
    'A1,cough,"Findings: Small left effusion.\nImpression: Effusion.",'
    '"Findings: Small right effusion.\nImpression: Effusion.",r-1,2026-11-02T10:00:00+00:00,3\n'
    "A2,cough,Normal chest.,Normal  chest. ,r-1,2026-11-02T11:00:00+00:00,3\n"
    "A3,cough,Normal chest.,,r-1,2026-11-02T12:00:00+00:00,3\n"
)


def test_a_row_with_two_reports_is_the_event_typed_by_hand(
    log: FeedbackStore, tmp_path: Path
) -> None:
    path = write(tmp_path / "pairs.csv", TABLE)
    report = import_log(log, path, settings=[GENERATOR])
    assert counts(report) == (3, 2, 0, 1, 0)
    assert dict(report.reasons) == {"no_counterpart": 1}
    edited, same = (event for _, event in log.events())
    assert edited.event_id.startswith("pair-A1-")
    assert edited == by_hand(
        event_id=edited.event_id, case_id="A1", prompt="cough", reader={"id": "r-1"},
        source={"system": "report-pairs"},
    )  # fmt: skip
    assert (same.grade, same.edited, same.severities) == ("accept", None, same.severities)
    assert edited.severities is None  # the scorer gives them


def test_pairs_ask_what_wrote_the_drafts(log: FeedbackStore, tmp_path: Path) -> None:
    path = write(tmp_path / "pairs.csv", TABLE)
    with pytest.raises(FeedbackError, match=r"no record gives generator\.base") as caught:
        import_log(log, path)
    assert "Room" in str(caught.value)


def test_a_table_without_a_final_report_is_refused_with_the_column(
    log: FeedbackStore, tmp_path: Path
) -> None:
    path = write(tmp_path / "pairs.csv", TABLE.replace("Final report", "Text"))
    with pytest.raises(FeedbackError, match="no column is named final or the like"):
        import_log(log, path, form="report-pairs", settings=[GENERATOR])


def hl7(status: str, report: str, hour: int, accession: str = "620943129") -> str:
    body = report.replace("\n", "~")
    return (
        f"2026-11-02 {hour:02}:00:00|INFO|Server|\n<SB>\n"
        f"MSH|^~\\&|RIS|HOSP|APP|DEPT|20261102{hour:02}0000+0000|TBD|ORU^R01|1|P|2.4<R>\n"
        "PID|1||MRN4331^^^ABC^MR||DOE^JANE||19450207|F<R>\n"
        f"OBR|1|45^SYS|{accession}|X1^CHEST 2 VIEWS^L|||||||||||||||||||||{status}||||||^cough|"
        "D77^WRIGHT^MELISSA<R>\n"
        f"OBX|1|TX|1||{body}||||||{status[0]}<R>\n"
        "OBX|2|ST|&TCM|1|Patient was cooperative.||||||F<R>\n<EB><R>\n\n"
    )


def test_two_versions_of_an_hl7_report_are_the_event_typed_by_hand(
    log: FeedbackStore, tmp_path: Path
) -> None:
    files = [
        write(tmp_path / "final.log", hl7("Final", FINAL, 10)),
        write(tmp_path / "prelim.log", hl7("Prelim", PRELIMINARY, 9)),
    ]
    report = import_log(log, *files, settings=[GENERATOR])
    assert counts(report) == (1, 1, 0, 0, 0)
    key = pseudonym("report", "620943129")
    (event,) = (event for _, event in log.events())
    assert event == by_hand(
        event_id=f"hl7-{key}-final", case_id=key, study_id=key,
        patient_id=pseudonym("patient", "MRN4331"), source={"system": "hl7",
        "ref": "preliminary to final"},
    )  # fmt: skip
    stored = json.dumps([str(e) for _, e in log.events()])
    for name in ("MRN4331", "DOE", "WRIGHT", "620943129", "cooperative"):
        assert name not in stored


def test_a_report_with_one_version_is_no_feedback(log: FeedbackStore, tmp_path: Path) -> None:
    both = hl7("Prelim", PRELIMINARY, 9) + hl7("Final", FINAL, 10) + hl7("Final", FINAL, 11, "7")
    report = import_log(log, write(tmp_path / "a.log", both), settings=[GENERATOR])
    assert (report.accepted, dict(report.reasons)) == (1, {"no_counterpart": 1})


def test_three_versions_are_two_events_and_a_correction_is_one(
    log: FeedbackStore, tmp_path: Path
) -> None:
    third = FINAL.replace("Small", "Large")
    text = hl7("Wet Read", PRELIMINARY, 9) + hl7("Final", FINAL, 10) + hl7("Corrected", third, 11)
    import_log(log, write(tmp_path / "a.log", text), settings=[GENERATOR])
    first, second = (event for _, event in log.events())
    assert (first.edited, first.edit_type) == (FINAL, None)
    assert (second.completion, second.edited) == (FINAL, third)
    assert second.edit_type == "correction"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("OBR|", "ZZZ|"), "missing_key"),
        (("|620943129|", "||"), "missing_key"),
        (
            (
                "|Final|",
                "||",
            ),
            "unknown_status",
        ),
        (("ORU^R01", "ADT^A08"), "not_a_report"),
        (("OBX|1|TX", "OBX|1|RP"), "no_text"),
    ],
)
def test_a_malformed_message_is_set_aside_with_the_field(
    log: FeedbackStore, tmp_path: Path, change: tuple[str, str], reason: str
) -> None:
    """A log of messages may be cut off at its end: one bad message does not refuse the others."""
    good = hl7("Prelim", PRELIMINARY, 9) + hl7("Final", FINAL, 10)
    bad = hl7("Final", FINAL, 11).replace(*change).replace("||F<R>", "||<R>")
    report = import_log(log, write(tmp_path / "a.log", good + bad), settings=[GENERATOR])
    assert (report.accepted, dict(report.reasons)) == (1, {reason: 1})


def test_times_without_a_zone_ask_for_one(log: FeedbackStore, tmp_path: Path) -> None:
    text = hl7("Prelim", PRELIMINARY, 9) + hl7("Final", FINAL, 10)
    path = write(tmp_path / "a.log", text.replace("+0000", ""))
    with pytest.raises(FeedbackError, match=r"no record gives created_at.*--set time_zone=NAME"):
        import_log(log, path, settings=[GENERATOR])
    import_log(log, path, settings=[GENERATOR, "time_zone=Europe/Berlin"])
    assert log.events()[0][1].created_at == "2026-11-02T10:00:00+01:00"


def test_escapes_of_hl7_are_characters(log: FeedbackStore, tmp_path: Path) -> None:
    escaped = r"Findings: Size 2 \T\ 3 cm\.br\ Angle \X3E\ 30.\.br\Impression: A\S\B."
    text = hl7("Prelim", PRELIMINARY, 9) + hl7("Final", escaped, 10)
    import_log(log, write(tmp_path / "a.log", text), settings=[GENERATOR])
    assert log.events()[0][1].edited == "Findings: Size 2 & 3 cm\nAngle > 30.\nImpression: A^B."


def fhir(status: str, report: str, hour: int, **more: Any) -> dict[str, Any]:
    data = base64.b64encode(report.encode()).decode()
    return {
        "resourceType": "DiagnosticReport",
        "id": "rep-1",
        "status": status,
        "code": {"text": "CHEST 2 VIEWS"},
        "subject": {"reference": "Patient/p-9", "display": "Jane Doe"},
        "issued": f"2026-11-02T{hour:02}:00:00+00:00",
        "resultsInterpreter": [{"reference": "D77", "display": "Dr Wright"}],
        "presentedForm": [{"contentType": "text/plain", "data": data}],
    } | more


REQUEST = "Indication: cough\n"


def test_two_versions_of_a_fhir_report_are_the_event_typed_by_hand(
    log: FeedbackStore, tmp_path: Path
) -> None:
    bundle = {
        "resourceType": "Bundle",
        "entry": [
            {"resource": fhir("preliminary", REQUEST + PRELIMINARY, 9)},
            {"resource": {"resourceType": "Patient", "name": [{"text": "Jane Doe"}]}},
            {"resource": fhir("final", REQUEST + FINAL, 10)},
        ],
    }
    path = write(tmp_path / "bundle.json", json.dumps(bundle, indent=2))
    assert counts(import_log(log, path, settings=[GENERATOR])) == (1, 1, 0, 0, 0)
    key = pseudonym("report", "rep-1")
    assert log.events()[0][1] == by_hand(
        event_id=f"fhir-{key}-final", case_id=key, study_id=key,
        patient_id=pseudonym("patient", "Patient/p-9"),
        source={"system": "fhir", "ref": "preliminary to final"},
    )  # fmt: skip


def test_fhir_text_is_read_from_markup_where_nothing_else_holds_it(
    log: FeedbackStore, tmp_path: Path
) -> None:
    div = "<div><p>Findings: Small right effusion.</p><p>Impression: Effusion.</p></div>"
    final = fhir("amended", "", 10, presentedForm=[], text={"div": div}, conclusion="Effusion.")
    lines = [fhir("preliminary", PRELIMINARY, 9), final]
    path = write(tmp_path / "a.ndjson", "".join(json.dumps(each) + "\n" for each in lines))
    import_log(log, path, settings=[GENERATOR])
    assert log.events()[0][1].edited == FINAL.replace("\n", "\n\n")


@pytest.mark.parametrize(
    ("more", "reason"),
    [({"status": "cancelled"}, "not_submitted"), ({"presentedForm": []}, "no_text")],
)
def test_a_fhir_report_that_says_nothing_is_counted(
    log: FeedbackStore, tmp_path: Path, more: dict[str, Any], reason: str
) -> None:
    reports = [fhir("preliminary", PRELIMINARY, 9), fhir("final", FINAL, 10)]
    other = fhir("final", FINAL, 11, id="rep-2") | more
    path = write(tmp_path / "a.json", json.dumps([*reports, other]))
    report = import_log(log, path, settings=[GENERATOR])
    assert (report.accepted, dict(report.reasons)) == (1, {reason: 1})


@pytest.mark.parametrize(
    ("resource", "said"),
    [
        ({"resourceType": "Observation"}, "resourceType must be DiagnosticReport or Bundle"),
        ({"resourceType": "Bundle"}, "a Bundle lacks 'entry'"),
        ({"resourceType": "DiagnosticReport", "id": "x"}, "a DiagnosticReport lacks 'status'"),
        (fhir("done", FINAL, 10), "'status' is none of FHIR's"),
    ],
)
def test_a_malformed_fhir_resource_is_refused_with_the_field(
    log: FeedbackStore, tmp_path: Path, resource: dict[str, Any], said: str
) -> None:
    path = write(tmp_path / "a.json", json.dumps([fhir("preliminary", PRELIMINARY, 9), resource]))
    with pytest.raises(FeedbackError) as caught:
        import_log(log, path, settings=[GENERATOR])
    assert f"record 2: {said}" in str(caught.value)


def test_lines_that_the_margin_broke_are_joined_and_no_others() -> None:
    wrapped = (
        "FINDINGS:\nThe lungs are clear and the heart is of normal size\nwithout effusion.\n"
        "1. No pneumothorax is seen on either side at all\n2. Normal bones.\n\nIMPRESSION: Normal."
    )
    assert unwrapped(wrapped) == (
        "FINDINGS:\nThe lungs are clear and the heart is of normal size without effusion.\n"
        "1. No pneumothorax is seen on either side at all\n2. Normal bones.\n\nIMPRESSION: Normal."
    )


def test_letterheads_and_signatures_are_no_part_of_a_report() -> None:
    text = (
        "JOE MEDRANO, M.D.\n\n********Final Report********\nACC# 779\nEXAMINATION:\nBrain MRI\n"
        "FINDINGS:\nNormal.\nDictated By: Joe Medrano, M.D. on Jul 15\n"
        "This document has been electronically signed by: Joe Medrano, M.D. on\nJul 15 1994"
    )
    parts = split_report(text)
    assert (parts.question, parts.report) == ("EXAMINATION:\nBrain MRI", "FINDINGS:\nNormal.")


def test_markup_becomes_lines_and_entities_characters() -> None:
    markup = "<div><h2>CT</h2><table><tr><td>A</td><td>&lt;3</td></tr></table><p>x\n y</p></div>"
    assert html_text(markup) == "CT\n\nA  <3\n\nx y"
