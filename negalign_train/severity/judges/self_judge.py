"""The generator itself as judge: asked category by category how severe an error is.

When this can be trusted is a question to measure (``negalign judge compare``), not to assume: a
model that makes an error often does not see it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import NamedTuple

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from negalign_train.recipe.context_length import context_length
from negalign_train.severity.judges.base import MIN_SEVERITY, Judgement, ReportPair, predicted_score
from negalign_train.severity.pricing.score import explain_unscorable
from negalign_train.storage.fingerprint import fingerprint
from negalign_train.vocabulary.errors import DataError
from negalign_train.vocabulary.special_tokens import quotable
from negalign_train.vocabulary.taxonomy import Category, taxonomy

PROMPT = (
    "Compare a draft radiology report with the approved report of the same study.\n\n"
    "Approved report:\n{reference}\n\nDraft report:\n{candidate}\n\n"
    "How severe is this kind of error in the draft? {label}: {definition}\n"
    "0 none, 1 minor, 2 moderate, 3 serious, 4 dangerous. Answer with one digit."
)
DIGITS = ("0", "1", "2", "3", "4")
_BATCH = 9
_DETAIL = "the generator's own expected answer"


class LoadedGenerator(NamedTuple):
    """A generator in evaluation mode, its tokenizer, and what that takes for control tokens."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    control_tokens: tuple[str, ...]


def render(pair: ReportPair, category: Category, own: Sequence[str] = ()) -> str:
    """The fixed question on one category. Control tokens in a report, those of the tokenizer
    (``own``) too, are taken out: none may end the question and begin an answer.
    """
    reference, candidate = (
        quotable(text, own).strip() for text in (pair.reference, pair.candidate)
    )
    return PROMPT.format(
        reference=reference,
        candidate=candidate,
        label=category.name.replace("_", " "),
        definition=category.definition,
    )


def digit_tokens(tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """The token of each digit.

    Raises:
        DataError: the tokenizer has no token of its own for each digit.
    """
    ids = [tokenizer(digit, add_special_tokens=False)["input_ids"][-1:] for digit in DIGITS]
    tokens = [row[0] for row in ids if row]
    decoded = [str(tokenizer.decode([token])).strip() for token in tokens]
    if decoded != list(DIGITS):
        raise DataError(
            "the generator's tokenizer has no token of its own for each of the digits 0 to 4, so "
            "that it cannot be asked for one; use another judge"
        )
    return tuple(tokens)


class SelfJudge:
    """Expected answer over the five digits, as severity in [0, 1].

    Args:
        load: gives the generator with its adapter, in evaluation mode, and its tokenizer; called
            when the first pair comes.
        digest: what identifies its weights; goes into ``version``.
    """

    name = "self"

    def __init__(
        self, load: Callable[[], LoadedGenerator], digest: str, batch_size: int = _BATCH
    ) -> None:
        self._load, self._batch_size = load, batch_size
        self._version = fingerprint([digest, PROMPT, DIGITS, MIN_SEVERITY])[:12]

    @property
    def version(self) -> str:
        return self._version

    @cached_property
    def _loaded(self) -> LoadedGenerator:
        return self._load()

    @property
    def _model(self) -> PreTrainedModel:
        return self._loaded.model

    @property
    def _tokenizer(self) -> PreTrainedTokenizerBase:
        return self._loaded.tokenizer

    @cached_property
    def _digits(self) -> torch.Tensor:
        return torch.tensor(digit_tokens(self._tokenizer))

    def judge(self, pairs: Sequence[ReportPair]) -> list[Judgement]:
        """One judgement per pair. The context is not used: the question leaves it out."""
        judgements: list[Judgement] = []
        for pair in pairs:
            reason = explain_unscorable(pair.reference, pair.candidate)
            rows = [] if reason else [self._ids(text) for text in self._questions(pair)]
            limit = context_length(self._model.config)
            if limit is not None and any(len(row) >= limit for row in rows):
                reason = "too_long_for_model"
            score = (
                None if reason else predicted_score(self._expected(rows), _DETAIL, pair.reference)
            )
            judgements.append(Judgement(self.name, self.version, score, reason))
        return judgements

    def _questions(self, pair: ReportPair) -> list[str]:
        own = self._loaded.control_tokens
        return [render(pair, category, own) for category in taxonomy()]

    def _ids(self, question: str) -> list[int]:
        text = self._tokenizer.apply_chat_template(
            [{"role": "user", "content": question}], tokenize=False, add_generation_prompt=True
        )
        ids: list[int] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def _expected(self, rows: list[list[int]]) -> list[float]:
        """Expected digit / 4 of each question, in order."""
        expected: list[float] = []
        for first in range(0, len(rows), self._batch_size):
            batch = rows[first : first + self._batch_size]
            longest = max(len(row) for row in batch)
            # Padded on the right: a causal model's last real token does not see what follows it.
            ids = torch.tensor([row + [row[-1]] * (longest - len(row)) for row in batch])
            ends = torch.tensor([len(row) - 1 for row in batch])
            device = self._model.device
            with torch.inference_mode():
                logits = self._model(input_ids=ids.to(device), use_cache=False).logits
            last = logits[torch.arange(len(batch)), ends.to(device)][:, self._digits.to(device)]
            steps = torch.arange(len(DIGITS), dtype=torch.float32, device=device)
            expected += (last.float().softmax(dim=1) @ steps / (len(DIGITS) - 1)).tolist()
        return expected
