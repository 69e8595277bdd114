"""Importing files in tests, as the command does it."""

from __future__ import annotations

from functools import reduce
from pathlib import Path

from negalign_train.feedback.entries import ImportReport
from negalign_train.feedback.importers.formats import AUTO
from negalign_train.feedback.importers.mapping.apply import FieldMapping
from negalign_train.feedback.importers.mapping.file import set_mapping
from negalign_train.feedback.importers.run import Export, open_exports
from negalign_train.feedback.store import FeedbackStore
from negalign_train.storage.pseudonyms import pseudonyms

pseudonym = pseudonyms(bytes(32))


def exports_of(
    *paths: Path, form: str = AUTO, settings: list[str] | None = None,
    mapping: FieldMapping | None = None,
) -> list[Export]:  # fmt: skip
    changes = (mapping or FieldMapping()).changed_by(set_mapping(settings or []))
    return open_exports(paths, form, changes, pseudonym)


def import_log(
    log: FeedbackStore, *paths: Path, form: str = AUTO, settings: list[str] | None = None,
    mapping: FieldMapping | None = None,
) -> ImportReport:  # fmt: skip
    """Surveys and imports; what every file of the call came to."""
    report = ImportReport()
    for export in exports_of(*paths, form=form, settings=settings, mapping=mapping):
        export.survey()
        parts = log.import_entries(export.entries(), export.name, export.origins)
        report = reduce(ImportReport.plus, parts, report)
    return report
