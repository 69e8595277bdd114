"""The table of formats, and which one a file is of."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from negalign_train.feedback.importers.argilla import ARGILLA
from negalign_train.feedback.importers.fhir import FHIR
from negalign_train.feedback.importers.hl7 import HL7
from negalign_train.feedback.importers.label_studio import LABEL_STUDIO
from negalign_train.feedback.importers.native import NATIVE
from negalign_train.feedback.importers.prodigy import PRODIGY
from negalign_train.feedback.importers.radpeer import RADPEER
from negalign_train.feedback.importers.record import Format, Sample
from negalign_train.feedback.importers.report_pairs import REPORT_PAIRS
from negalign_train.feedback.importers.trl import TRL_KTO, TRL_PREFERENCE
from negalign_train.vocabulary.errors import FeedbackError

FORMATS: Mapping[str, Format] = {
    each.name: each
    for each in (
        NATIVE,
        LABEL_STUDIO,
        ARGILLA,
        RADPEER,
        REPORT_PAIRS,
        FHIR,
        HL7,
        TRL_PREFERENCE,
        TRL_KTO,
        PRODIGY,
    )
}
AUTO = "auto"
_SHOWN_KEYS = 12


def detected(samples: Sequence[Sample], name: str, has_mapping: bool) -> Format:
    """The format of a file by what its first records hold.

    Raises:
        FeedbackError: no format fits, or several do.
    """
    fitting: list[Format] = []
    for sample in samples:
        fitting = [each for each in FORMATS.values() if each.looks_like(sample)]
        if fitting:
            break
    if len(fitting) == 1:
        return fitting[0]
    # A log whose lines are all broken is still a log if they look like JSON; so is any file with a
    # mapping to read it.
    lines_only = all(sample.shape == "lines" and not sample.keys for sample in samples)
    start = samples[0].head.lstrip()[:1]
    if not fitting and (has_mapping or (lines_only and start in ("", "{", "["))):
        return NATIVE
    choices = ", ".join(each.name for each in fitting or FORMATS.values())
    keys = [key for key in sorted(samples[0].keys) if re.fullmatch(r"[\w .:-]{1,40}", key)]
    held = ", ".join(keys[:_SHOWN_KEYS]) or "nothing that has a name (no JSON object, no table)"
    raise FeedbackError(
        f"{name}: {'several formats fit' if fitting else 'no format is recognised'}; its first "
        f"record holds {held}. Give --format ({choices}), or say in --map which field is which "
        "(docs/importing.md). Nothing was imported"
    )
