"""Trains the ``finetuned`` judge: nine sigmoid heads on any encoder, on readers' severities.

A hash of the case group decides what is held out, so that every later comparison can leave out
what the judge was trained on.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import binary_cross_entropy_with_logits
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from negalign_train.cases.splits import group_fraction
from negalign_train.severity.judges.classifier import (
    load_pair_tokenizer,
    max_tokens,
    pad_batch,
    to_device,
)
from negalign_train.severity.judges.examples import GradedExample
from negalign_train.severity.judges.finetuned import JUDGE_SCHEMA
from negalign_train.storage.fingerprint import base_digest, file_sha256, fingerprint
from negalign_train.storage.workspace import MANIFEST, publishing, write_json
from negalign_train.vocabulary.errors import DataError
from negalign_train.vocabulary.records import CATEGORIES

MIN_EXAMPLES = 20
_VALIDATION_SALT = "validation"


@dataclass(frozen=True)
class JudgeTraining:
    """How a judge is trained. ``held_out_fraction`` of the case groups is never seen;
    ``validation_fraction`` of the others picks the best epoch.
    """

    learning_rate: float = 2.0e-5
    num_train_epochs: int = 4
    batch_size: int = 16
    weight_decay: float = 0.01
    held_out_fraction: float = 0.2
    validation_fraction: float = 0.1
    seed: int = 1


@dataclass(frozen=True)
class TrainedJudge:
    """The result of a training. ``losses``: mean validation loss after each epoch."""

    num_train: int
    num_validation: int
    num_held_out: int
    too_long: int
    losses: tuple[float, ...]
    best_epoch: int


@dataclass(frozen=True)
class _Row:
    ids: dict[str, list[int]]
    target: tuple[float, ...]


def split_examples(
    examples: Sequence[GradedExample], settings: JudgeTraining
) -> tuple[list[GradedExample], list[GradedExample], list[GradedExample]]:
    """(train, validation, held out); no case group is in two of them."""
    train: list[GradedExample] = []
    validation: list[GradedExample] = []
    held_out: list[GradedExample] = []
    for example in examples:
        salted = f"{_VALIDATION_SALT} {example.group}"
        if group_fraction(example.group, settings.seed) < settings.held_out_fraction:
            held_out.append(example)
        elif group_fraction(salted, settings.seed) < settings.validation_fraction:
            validation.append(example)
        else:
            train.append(example)
    return train, validation, held_out


def _texts(examples: Sequence[GradedExample]) -> list[tuple[str, str, tuple[float, ...]]]:
    """Both texts and nine targets; each right report also against itself, where all are 0."""
    zeros = (0.0,) * len(CATEGORIES)
    graded = [(e.reference, e.candidate, e.row) for e in examples]
    right = [(text, text, zeros) for text in dict.fromkeys(e.reference for e in examples)]
    return graded + right


def _load_encoder(encoder_dir: Path, seed: int) -> PreTrainedModel:
    """An encoder with nine new heads, drawn from ``seed``."""
    if not encoder_dir.is_dir():
        raise DataError(
            f"encoder folder {encoder_dir} does not exist; download an encoder first and give its "
            "folder"
        )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = AutoModelForSequenceClassification.from_pretrained(
            encoder_dir,
            num_labels=len(CATEGORIES),
            id2label=dict(enumerate(CATEGORIES)),
            label2id={name: index for index, name in enumerate(CATEGORIES)},
            problem_type="multi_label_classification",
            # A head for other labels is replaced.
            ignore_mismatched_sizes=True,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            dtype=torch.float32,
        )
    assert isinstance(model, PreTrainedModel)
    return model


class _Trainer:
    """One model, its tokenizer, and rows of tokens."""

    def __init__(self, encoder_dir: Path, settings: JudgeTraining) -> None:
        self.settings = settings
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model = _load_encoder(encoder_dir, settings.seed)
        to_device(self.model, self.device)
        self.tokenizer = load_pair_tokenizer(encoder_dir)
        self.limit = max_tokens(self.model, self.tokenizer)

    def rows(self, examples: Sequence[GradedExample]) -> tuple[list[_Row], int]:
        """Rows that fit the encoder, and how many do not."""
        rows = [_Row(dict(self.tokenizer(a, b)), target) for a, b, target in _texts(examples)]
        fitting = [row for row in rows if len(row.ids["input_ids"]) <= self.limit]
        return fitting, len(rows) - len(fitting)

    def loss(self, rows: Sequence[_Row]) -> torch.Tensor:
        """Mean binary cross-entropy against severities in [0, 1] as soft targets."""
        tensors = pad_batch(self.tokenizer, [row.ids for row in rows], self.device)
        targets = torch.tensor([row.target for row in rows], device=self.device)
        logits = self.model(**tensors).logits.float()
        return binary_cross_entropy_with_logits(logits, targets)

    def mean_loss(self, rows: Sequence[_Row]) -> float:
        self.model.train(False)
        size = self.settings.batch_size
        batches = [rows[i : i + size] for i in range(0, len(rows), size)]
        with torch.inference_mode():
            return sum(float(self.loss(b)) * len(b) for b in batches) / len(rows)

    def fit(
        self, train: list[_Row], validation: list[_Row], progress: Callable[[str], None]
    ) -> tuple[list[float], int]:
        """Validation losses by epoch, and the epoch whose weights the model then has."""
        s = self.settings
        optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=s.learning_rate, weight_decay=s.weight_decay
        )
        steps = s.num_train_epochs * -(-len(train) // s.batch_size)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
        order, losses, best = random.Random(s.seed), list[float](), 0
        weights = copy.deepcopy(self.model.state_dict())
        for epoch in range(s.num_train_epochs):
            self._epoch(order.sample(train, len(train)), optimizer, schedule)
            losses.append(self.mean_loss(validation))
            progress(f"epoch {epoch + 1}: validation loss {losses[-1]:.4f}")
            if losses[-1] <= min(losses):
                best, weights = epoch + 1, copy.deepcopy(self.model.state_dict())
        self.model.load_state_dict(weights)
        self.model.train(False)
        return losses, best

    def _epoch(self, rows: list[_Row], optimizer: Any, schedule: Any) -> None:
        self.model.train(True)
        for first in range(0, len(rows), self.settings.batch_size):
            loss = self.loss(rows[first : first + self.settings.batch_size])
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()


def train_judge(
    encoder_dir: Path,
    examples: Sequence[GradedExample],
    out: Path,
    settings: JudgeTraining,
    provenance: dict[str, Any],
    progress: Callable[[str], None] = lambda _: None,
) -> TrainedJudge:
    """Trains a judge and publishes it as folder ``out``, manifest last, whole or not at all.

    Args:
        provenance: what else the manifest records: versions, commit, time.

    Raises:
        DataError: the encoder is missing, there are too few examples, or ``out`` exists.
    """
    if out.exists():
        raise DataError(f"{out} exists; a trained judge is never overwritten, name a new folder")
    train, validation, held_out = split_examples(examples, settings)
    if len(train) < MIN_EXAMPLES or not validation:
        raise DataError(
            f"{len(train)} training and {len(validation)} validation examples: a judge needs at "
            f"least {MIN_EXAMPLES} and 1; import more feedback with severities and edits"
        )
    with torch.random.fork_rng():
        torch.manual_seed(settings.seed)  # dropout
        trainer = _Trainer(encoder_dir, settings)
        train_rows, too_long = trainer.rows(train)
        validation_rows, more = trainer.rows(validation)
        if not train_rows or not validation_rows:
            raise DataError("no report fits the encoder's positions; use one with more")
        losses, best = trainer.fit(train_rows, validation_rows, progress)
    trained = TrainedJudge(
        len(train), len(validation), len(held_out), too_long + more, tuple(losses), best
    )
    with publishing(out) as staging:
        trainer.model.save_pretrained(staging)
        trainer.tokenizer.save_pretrained(staging)
        digests = {path.name: file_sha256(path) for path in sorted(staging.iterdir())}
        manifest = {
            "schema": JUDGE_SCHEMA,
            "encoder": encoder_dir.name,
            "encoder_digest": base_digest(encoder_dir),
            "data_digest": fingerprint(
                sorted([e.event_id, e.group, list(e.row)] for e in examples)
            ),
            "files": digests,
        }
        # Last, so that a folder with a manifest is a whole one.
        write_json(staging / MANIFEST, manifest | asdict(settings) | asdict(trained) | provenance)
    return trained
