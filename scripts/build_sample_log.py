"""Write the sample feedback log: synthetic reports of the careless writer, read by the panel.

Every tenth corrected report comes without severities, as some readers leave them: the scorer fills
them in. No model is needed.

    python scripts/build_sample_log.py --out data/sample_feedback.jsonl
"""

from __future__ import annotations

import argparse
import json
import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from negalign_train.cases.synthetic import synthetic_cases
from negalign_train.feedback.schema import event_to_dict
from negalign_train.recipe.cycle import ReaderPanel
from negalign_train.simulate.habits import Habits, careless_report
from negalign_train.simulate.readers import Draft, GrammarTruth, PanelSession, read_drafts
from negalign_train.vocabulary.records import Event, Generator

START = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)


def sample_events(count: int, seed: int) -> list[Event]:
    """Events on ``count`` cases; the same two numbers give the same events."""
    habits = Habits().scaled(1.5)
    drafts = [
        Draft(
            case,
            careless_report(case, habits, random.Random(case.case_id)),
            Generator("negalign-embedded"),
        )
        for case in synthetic_cases(0, count, -seed - 1)
    ]
    session = PanelSession(
        panel=ReaderPanel(miss_rate=0.1, severity_noise=0.1, thread_rate=0.15),
        truth=GrammarTruth(),
        cycle=0,
        seed=seed,
        clock=lambda number: (START + timedelta(minutes=3 * number)).isoformat(),
    )
    events = read_drafts(drafts, session)
    return [
        replace(event, errors=(), severities=None, severity_source=None)
        if index % 10 == 0 and event.edited
        else event
        for index, event in enumerate(events)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], allow_abbrev=False)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cases", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    lines = [
        json.dumps(event_to_dict(event), ensure_ascii=False) + "\n"
        for event in sample_events(args.cases, args.seed)
    ]
    args.out.write_text("".join(lines), encoding="utf-8")
    print(f"{len(lines)} events")


if __name__ == "__main__":
    main()
