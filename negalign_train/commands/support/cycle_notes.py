"""What of a cycle's data a person should know, in sentences for the terminal."""

from __future__ import annotations

from negalign_train.report.result import CycleData


def data_notes(data: CycleData) -> list[str]:
    """One sentence for each thing that is out of the ordinary; none for a usual cycle."""
    notes = []
    if data.drafts_empty:
        notes.append(
            f"{data.drafts_empty} of {data.drafts} drafts were empty: the generator failed there, "
            "and no reader could grade it"
        )
    others = data.other_generators
    if others.setting == "warn" and others.events:
        ordered = sorted(others.events.items(), key=lambda item: (-item[1], item[0]))
        named = ", ".join(f"{base} {count}" for base, count in ordered)
        notes.append(
            f"{sum(others.events.values())} of {data.events} events grade reports of another "
            f"model than {others.base}: {named} (feedback.other_generators)"
        )
    return notes
