"""What of a cycle's data a person should know, in sentences for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def data_notes(data: Mapping[str, Any]) -> list[str]:
    """One sentence for each thing that is out of the ordinary; none for a usual cycle.

    Args:
        data: the ``data`` section of a cycle's summary.
    """
    notes = []
    if empty := data.get("drafts_empty", 0):
        notes.append(
            f"{empty} of {data['drafts']} drafts were empty: the generator failed there, and no "
            "reader could grade it"
        )
    return notes
