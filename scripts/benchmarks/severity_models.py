"""The judges with a model for ``bench_severity.py``: one is trained here, one is left to chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from benchmarks import severity_encoder as encoders
from benchmarks.severity_entries import Entry, Settings, answer_of
from negalign_train.severity.judges.ensemble import EnsembleJudge, equal_weights
from negalign_train.severity.judges.opening import JudgeSetup, open_judge
from negalign_train.severity.judges.training import JudgeTraining, train_judge
from negalign_train.training.policy.judge_setup import judge_setup
from negalign_train.vocabulary.errors import DataError
from negalign_train.vocabulary.records import Case


def _trained(settings: Settings, learn_from: Sequence[Case], report: dict[str, Any]) -> Path:
    """The folder of a judge trained on errors injected into ``learn_from``."""
    examples = encoders.training_examples(learn_from, settings.training_examples, settings.seed)
    texts = [text for example in examples for text in (example.reference, example.candidate)]
    encoder = settings.encoder_dir or encoders.write_encoder(
        settings.work_dir / "encoder", encoders.pair_tokenizer(texts, 3000), settings.seed
    )
    # The measured half is held out as a whole, so that nothing of this one has to be.
    training = JudgeTraining(
        learning_rate=settings.learning_rate,
        num_train_epochs=settings.training_epochs,
        held_out_fraction=0.0,
        seed=settings.seed,
    )
    out = settings.work_dir / "finetuned"
    trained = train_judge(encoder, examples, out, training, {"purpose": "bench_severity"}, print)
    report["training"] = asdict(trained) | {"encoder": encoder.name}
    return out


def _random_nli(settings: Settings, learn_from: Sequence[Case]) -> Path:
    tokenizer = encoders.pair_tokenizer((case.reference for case in learn_from), 3000)
    return encoders.write_random_nli(settings.work_dir / "nli", tokenizer, settings.seed)


def _encoder(settings: Settings, setup: JudgeSetup, report: dict[str, Any]) -> list[Entry]:
    """The rules with the sentence encoder; none where its package is not installed."""
    place = f":{settings.encoder_dir}" if settings.encoder_dir else ""
    try:
        judge = open_judge(f"encoder{place}", setup)
    except DataError:
        report["missing"].append("encoder")
        return []
    return [Entry("encoder", answer_of(judge), settings.finetuned_reports, 200)]


def model_entries(
    settings: Settings, learn_from: Sequence[Case], report: dict[str, Any]
) -> list[Entry]:
    """The judges with a model that are asked for, on one thread; what is to be trained is trained.

    ``report`` takes what the training came to.
    """
    wanted, setup = set(settings.only), judge_setup()
    torch.set_num_threads(1)
    entries: list[Entry] = []
    if "encoder" in wanted:
        entries += _encoder(settings, setup, report)
    if wanted & {"finetuned", "ensemble"}:
        finetuned = open_judge(f"finetuned:{_trained(settings, learn_from, report)}", setup)
        members = [open_judge("rules", setup), finetuned]
        both = EnsembleJudge(members, "mean", equal_weights(len(members)))
        for key, name, judge in (
            ("finetuned", "finetuned, trained here", finetuned),
            ("ensemble", "ensemble of rules and finetuned, mean", both),
        ):
            if key in wanted:
                answer = answer_of(judge)
                entries.append(Entry(name, answer, settings.finetuned_reports, 200))
    if "nli" in wanted:
        folder = settings.nli_dir or _random_nli(settings, learn_from)
        name = f"nli, {folder.name}" if settings.nli_dir else "nli, random weights"
        judge = open_judge(f"nli:{folder}", setup)
        entries.append(Entry(name, answer_of(judge), settings.slow_reports, 20))
    if "self" in wanted:
        judge = open_judge("self:embedded", setup)
        name = "self, embedded generator"
        entries.append(Entry(name, answer_of(judge), settings.slow_reports, 20))
    return entries
