"""FHIR DiagnosticReport: single resources, lists, NDJSON and bundles (JSON).

Two versions of one report are an event (``versions``). Its text stands in ``presentedForm``, in
``text.div`` or in ``conclusion``. Ids of patients, readers and reports become pseudonyms.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from negalign_train.feedback.documents import RawRecord
from negalign_train.feedback.fields import QuarantineError
from negalign_train.feedback.importers.mapping.apply import FieldMapping
from negalign_train.feedback.importers.record import (
    Format,
    ReadingRules,
    Record,
    Sample,
    malformed,
    member,
    object_of,
    record_of,
    undecoded,
)
from negalign_train.feedback.importers.text import html_text, split_report
from negalign_train.feedback.importers.versions import STATUS_RANKS, Version, version_records

_STATUSES = {
    "registered": None, "partial": "preliminary", "preliminary": "preliminary", "final": "final",
    "amended": "amended", "corrected": "corrected", "appended": "appended", "modified": "amended",
    "cancelled": None, "entered-in-error": None, "unknown": None,
}  # fmt: skip
"""DiagnosticReport.status to the status of a version; None: no text that anybody stands for."""
REPORT = "DiagnosticReport"


def _records(items: Iterable[RawRecord], reading: ReadingRules) -> Iterator[Record]:
    """A record for each step between two versions of a report."""
    versions: list[Version] = []
    for item in items:
        if item.problem is not None:
            yield undecoded(item)
            continue
        for resource in _resources(item):
            made = _version(item, resource, reading)
            if isinstance(made, Version):
                versions.append(made)
            else:
                name = {"resource": resource.get("id"), "version": resource.get("meta")}
                yield record_of(item, name, made)
    yield from version_records(versions)


def _resources(item: RawRecord) -> Iterator[Mapping[str, Any]]:
    """The reports of an item. What else a bundle holds is no feedback."""
    resource = object_of(item, "a resource")
    kind = member(item, resource, "resourceType", str, "a resource")
    if kind == REPORT:
        yield resource
    elif kind == "Bundle":
        for entry in member(item, resource, "entry", list, "a Bundle"):
            inner = entry.get("resource") if isinstance(entry, Mapping) else None
            if isinstance(inner, Mapping) and inner.get("resourceType") == REPORT:
                yield inner
    else:
        raise malformed(item, f"resourceType must be {REPORT} or Bundle")


def _version(
    item: RawRecord, resource: Mapping[str, Any], reading: ReadingRules
) -> Version | QuarantineError:
    code = member(item, resource, "status", str, f"a {REPORT}")
    if code not in _STATUSES:
        raise malformed(item, "'status' is none of FHIR's DiagnosticReport statuses")
    status = _STATUSES[code]
    if status is None:
        return QuarantineError("not_submitted", f"the report's status is {code}")
    text = _text(resource)
    if text is None:
        return QuarantineError(
            "no_text", "neither presentedForm (text or HTML), text.div nor conclusion holds text"
        )
    parts = split_report(text)
    key = _key(resource)
    if key is None:
        return QuarantineError("missing_key", "the report has neither id nor identifier")
    meta = resource.get("meta") if isinstance(resource.get("meta"), Mapping) else {}
    assert isinstance(meta, Mapping)
    time = resource.get("issued") or meta.get("lastUpdated") or resource.get("effectiveDateTime")
    patient = _reference(resource.get("subject"))
    reader = _reader(resource)
    assert status in STATUS_RANKS
    return Version(
        item=item,
        key=reading.pseudonym("report", key),
        status=status,
        time=str(time or ""),
        question="\n".join(filter(None, (_examination(resource), parts.question))),
        report=parts.report,
        more={
            "patient": None if patient is None else reading.pseudonym("patient", patient),
            "reader": None if reader is None else reading.pseudonym("reader", reader),
        },
    )


def _text(resource: Mapping[str, Any]) -> str | None:
    for form in resource.get("presentedForm") or []:
        kind = str(form.get("contentType", "text/plain"))
        if not kind.startswith("text/") or not form.get("data"):
            continue
        try:
            raw = base64.b64decode(form["data"], validate=False)
        except (binascii.Error, ValueError, TypeError):
            continue
        charset = re.search(r"charset=([\w-]+)", kind)
        try:
            text = raw.decode(charset[1] if charset else "utf-8")
        except (UnicodeDecodeError, LookupError):
            continue
        text = html_text(text) if "html" in kind else text
        if text.strip():
            return text
    narrative = resource.get("text")
    div = narrative.get("div") if isinstance(narrative, Mapping) else None
    conclusion = resource.get("conclusion")
    texts = [html_text(div) if isinstance(div, str) else "", conclusion or ""]
    best = max(texts, key=len)
    return best if isinstance(best, str) and best.strip() else None


def _key(resource: Mapping[str, Any]) -> str | None:
    """What all versions of a report share: its official identifier, or its id."""
    identifiers = [i for i in resource.get("identifier") or [] if isinstance(i, Mapping)]
    official = [i for i in identifiers if i.get("use") == "official"] or identifiers
    value = official[0].get("value") if official else None
    name = value or resource.get("id")
    return None if name is None else str(name)


def _reference(value: Any) -> str | None:
    if not isinstance(value, Mapping):
        return None
    identifier = value.get("identifier")
    inner = identifier.get("value") if isinstance(identifier, Mapping) else None
    name = value.get("reference") or inner
    return None if name is None else str(name)


def _reader(resource: Mapping[str, Any]) -> str | None:
    for name in ("resultsInterpreter", "performer"):
        for each in resource.get(name) or []:
            actor = each.get("actor", each) if isinstance(each, Mapping) else each  # STU3: actor
            if (found := _reference(actor)) is not None:
                return found
    return None


def _examination(resource: Mapping[str, Any]) -> str:
    code = resource.get("code")
    if not isinstance(code, Mapping):
        return ""
    codings = [c for c in code.get("coding") or [] if isinstance(c, Mapping)]
    name = next((c["display"] for c in codings if c.get("display")), code.get("text"))
    return f"Examination: {name}" if name else ""


def _is_fhir(sample: Sample) -> bool:
    return "resourceType" in sample.keys


FHIR = Format(
    name="fhir",
    title="FHIR DiagnosticReport: preliminary and final versions",
    looks_like=_is_fhir,
    records=_records,
    mapping=FieldMapping(
        fields={
            "event_id": "fhir-{key}-{to}",
            "case_id": "key",
            "study_id": "key",
            "patient_id": "patient",
            "created_at": "time",
            "prompt": "question",
            "completion": "preliminary",
            "edited": "final",
            "edit_type": "edit_type",
            "grade": "grade",
            "reader.id": "reader",
            "source.ref": "{from} to {to}",
        },
        constants={"source.system": "fhir"},
    ),
    joins_files=True,
)
