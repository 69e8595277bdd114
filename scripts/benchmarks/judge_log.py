"""The log of ``judge_ablation.py``: drafts of the embedded generator, read by simulated readers.

Every judge gets the same events, their severities hidden; grades and edits stay. The drafts of one
further cycle are read with severities: readers of an earlier time, from whom the fine-tuned judge
learns.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from benchmarks import severity_encoder as encoders
from negalign_train.cases.source import feedback_cases
from negalign_train.cases.synthetic import synthetic_cases
from negalign_train.feedback.schema import event_to_dict
from negalign_train.generation.reports import Sampling, generate_reports
from negalign_train.preferences.case_groups import case_groups
from negalign_train.recipe.cycle import CycleRecipe
from negalign_train.severity.judges.examples import graded_examples
from negalign_train.severity.judges.training import JudgeTraining, train_judge
from negalign_train.simulate.panel import truth_for
from negalign_train.simulate.readers import Draft, PanelSession, read_drafts
from negalign_train.storage.workspace import replacing
from negalign_train.training.policy.loading import load_for_inference, load_tokenizer
from negalign_train.vocabulary.records import Case, Event, Generator
from negalign_train.vocabulary.resources import data_path

START = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)
_TRAINING_CASES_SEED = -7
_VOCABULARY = 3000


def hidden(event: Event) -> Event:
    """The event without what its reader said of severity. An accepted report has none to hide."""
    if event.grade == "accept":
        return event
    return replace(event, errors=(), severities=None, severity_source=None)


def _write(path: Path, events: Sequence[Event]) -> None:
    lines = [json.dumps(event_to_dict(event), ensure_ascii=False) + "\n" for event in events]
    with replacing(path) as temporary:
        temporary.write_text("".join(lines), encoding="utf-8")


def _events(recipe: CycleRecipe, cycle: int, seed: int) -> list[Event]:
    """What the panel says of the bare embedded generator's drafts of one cycle's cases."""
    cases: list[Case] = feedback_cases(recipe.cases, cycle, seed)
    folder = data_path("embedded")
    reports = generate_reports(
        load_for_inference(folder, None),
        load_tokenizer(folder),
        [case.prompt for case in cases],
        recipe.model.max_new_tokens,
        recipe.evaluation.batch_size,
        Sampling(recipe.feedback.draft_temperature, seed * 1000 + cycle),
    )
    drafts = [
        Draft(case, report.text, Generator("negalign-embedded"))
        for case, report in zip(cases, reports, strict=True)
        if report.text.strip()
    ]
    session = PanelSession(
        panel=recipe.feedback.readers,
        truth=truth_for("synthetic"),
        cycle=cycle,
        seed=seed,
        clock=lambda number: (START + timedelta(days=cycle, minutes=number)).isoformat(),
    )
    return read_drafts(drafts, session)


def write_logs(
    folder: Path, recipe: CycleRecipe, cycles: int, seed: int, say: Callable[[str], None]
) -> None:
    """``hidden-N.jsonl`` and ``graded-N.jsonl`` for each cycle N, and ``graded-N.jsonl`` for one
    more. What is there stays.
    """
    for cycle in range(1, cycles + 2):
        graded = folder / f"graded-{cycle}.jsonl"
        if graded.is_file():
            continue
        say(f"seed {seed}: drafting and reading the log of cycle {cycle}")
        events = _events(recipe, cycle, seed)
        _write(folder / f"hidden-{cycle}.jsonl", [hidden(event) for event in events])
        _write(graded, events)


def train_finetuned(
    folder: Path,
    events: Sequence[Event],
    num_injected: int,
    encoder_dir: Path | None,
    say: Callable[[str], None],
) -> Path:
    """A judge of nine heads, trained on readers' severities of other cases and on injected errors:
    one for all seeds. One that is there stays.

    Args:
        encoder_dir: what the heads sit on; None is a small random encoder.
    """
    out, seed = folder / "finetuned", 1
    if out.is_dir():
        return out
    say("training the fine-tuned judge")
    graded, _ = graded_examples(list(events), case_groups(events, {}))
    cases = synthetic_cases(0, max(1, num_injected // 4), _TRAINING_CASES_SEED - seed)
    examples = [*graded, *encoders.training_examples(cases, num_injected, seed)]
    texts = [text for each in examples for text in (each.reference, each.candidate)]
    settings = JudgeTraining(num_train_epochs=4, held_out_fraction=0.0, seed=seed)
    if encoder_dir is None:
        tokenizer = encoders.pair_tokenizer(texts, _VOCABULARY)
        encoder_dir = encoders.write_encoder(folder / "encoder", tokenizer, seed)
        settings = replace(settings, learning_rate=3.0e-4, num_train_epochs=8)
    train_judge(encoder_dir, examples, out, settings, {"purpose": "judge_ablation"}, say)
    return out
