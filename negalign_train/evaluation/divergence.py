"""How far a policy has moved: exact KL per token, and the log-probability of reference reports."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from peft import PeftModel
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from negalign_train.evaluation.metrics import Divergence
from negalign_train.generation.decode import left_padded, positions_of
from negalign_train.recipe.estimate import HEAD_CELLS
from negalign_train.training.policy.loading import load_for_inference
from negalign_train.training.rows.tokenise import render_prompt
from negalign_train.training.rows.turns import end_of_turn
from negalign_train.vocabulary.errors import GateError
from negalign_train.vocabulary.records import Prompt

_PARENT_ADAPTER = "parent"


@dataclass(frozen=True)
class Sequences:
    """Prompts with completions as token ids; a completion ends in the template's end of turn."""

    prompts: tuple[tuple[int, ...], ...]
    completions: tuple[tuple[int, ...], ...]
    pad_token_id: int

    @property
    def num_tokens(self) -> int:
        return sum(len(completion) for completion in self.completions)


@dataclass(frozen=True)
class _Batch:
    """``ids``, ``mask``, ``positions`` (batch, tokens), padded left; ``targets`` and ``kept``
    (batch, longest completion), ``kept`` False on padding.
    """

    ids: Tensor
    mask: Tensor
    positions: Tensor
    targets: Tensor
    kept: Tensor


def tokenise_completions(
    tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Prompt], completions: Sequence[str]
) -> Sequences:
    """Token ids of completions as the policy learns to write them: after the generation prompt,
    with the end of turn behind.
    """
    end = end_of_turn(tokenizer)
    encoded = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in completions]
    return Sequences(
        tuple(tuple(render_prompt(tokenizer, prompt)) for prompt in prompts),
        tuple((*ids, end) for ids in encoded),
        tokenizer.pad_token_id,
    )


def load_beside_parent(
    model_dir: Path, adapter_dir: Path | None, parent_dir: Path | None, dtype: str = "float32"
) -> PreTrainedModel | PeftModel:
    """One base with ``adapter_dir`` active (None: the bare base) and, where there is one, the
    parent beside it.
    """
    model = load_for_inference(model_dir, adapter_dir, dtype)
    if parent_dir is not None and adapter_dir is not None:
        assert isinstance(model, PeftModel)
        model.load_adapter(str(parent_dir), adapter_name=_PARENT_ADAPTER, is_trainable=False)
        model.requires_grad_(False)
    return model.eval()


def divergence(model: PeftModel, sequences: Sequences, batch_size: int) -> Divergence:
    """Exact KL(candidate || parent) and KL(candidate || base), a sum over the whole vocabulary.

    ``model`` comes from ``load_beside_parent`` and stands on the candidate before and after.
    Without a parent adapter the parent is the base, and the two are one number.

    Raises:
        GateError: there is no completion, or a divergence is not finite.
    """
    candidate = model.active_adapter
    has_parent = _PARENT_ADAPTER in model.peft_config
    sums = torch.zeros(2, dtype=torch.float64)
    with torch.inference_mode():
        for batch in _batches(sequences, batch_size, model):
            logps = _logps(model, batch, nullcontext)
            to_base = _kl_sum(logps, _logps(model, batch, model.disable_adapter), batch.kept)
            to_parent = to_base
            if has_parent:
                model.set_adapter(_PARENT_ADAPTER, inference_mode=True)
                to_parent = _kl_sum(logps, _logps(model, batch, nullcontext), batch.kept)
                model.set_adapter(candidate, inference_mode=True)
            sums += torch.tensor([to_parent, to_base], dtype=torch.float64)
    to_parent, to_base = (sums / _tokens_of(sequences)).tolist()
    if not (sums.isfinite().all()):
        raise GateError(
            "the KL divergence of the candidate is not finite; its adapter holds NaN or "
            "infinite weights: discard it and train again"
        )
    return Divergence(to_parent, to_base, sequences.num_tokens)


def reference_logps(
    model: PreTrainedModel | PeftModel, sequences: Sequences, batch_size: int
) -> float:
    """Mean log-probability, in nats per token, that ``model`` gives to reference reports.

    Raises:
        GateError: there is no completion.
    """
    total = 0.0
    with torch.inference_mode():
        for batch in _batches(sequences, batch_size, model):
            logps = _logps(model, batch, nullcontext)
            taken = logps.gather(-1, batch.targets.unsqueeze(-1)).squeeze(-1)
            total += float(taken[batch.kept].sum(dtype=torch.float64))
    return total / _tokens_of(sequences)


def _tokens_of(sequences: Sequences) -> int:
    if not sequences.num_tokens:
        raise GateError("there is no completion to measure; give at least one held-out case")
    return sequences.num_tokens


def _batches(
    sequences: Sequences, size: int, model: PreTrainedModel | PeftModel
) -> Iterator[_Batch]:
    """Length-sorted batches of at most ``size`` rows, fewer where their logits would exceed
    ``HEAD_CELLS``: the sums do not depend on the order or the batches, padding is kept small.
    """
    pairs = sorted(
        zip(sequences.prompts, sequences.completions, strict=True),
        key=lambda pair: len(pair[0]) + len(pair[1]),
    )
    vocabulary = model.config.get_text_config().vocab_size
    first = 0
    while first < len(pairs):
        last = first + _rows_that_fit(pairs[first : first + size], vocabulary)
        part, first = pairs[first:last], last
        ids, mask = left_padded([prompt + done for prompt, done in part], sequences.pad_token_id)
        targets, kept = left_padded([done for _, done in part], sequences.pad_token_id)
        yield _Batch(
            ids.to(model.device),
            mask.to(model.device),
            positions_of(mask).to(model.device),
            targets.to(model.device),
            kept.bool().to(model.device),
        )


def _rows_that_fit(
    pairs: Sequence[tuple[tuple[int, ...], tuple[int, ...]]], vocabulary: int
) -> int:
    """How many of the first rows, padded to their longest completion, keep to ``HEAD_CELLS``."""
    longest = 0
    for number, (_, completion) in enumerate(pairs):
        longest = max(longest, len(completion) + 1)  # the head sees the position before, too
        if number and (number + 1) * longest * vocabulary > HEAD_CELLS:
            return number
    return len(pairs)


def _logps(
    model: PreTrainedModel | PeftModel,
    batch: _Batch,
    using: Callable[[], AbstractContextManager[None]],
) -> Tensor:
    """Log-probabilities (batch, longest completion, vocabulary), float32.

    Rows are padded on the left, so the completions are the last columns and only those reach the
    language-model head.
    """
    length = batch.targets.shape[1]
    with using():
        logits = model(
            input_ids=batch.ids,
            attention_mask=batch.mask,
            position_ids=batch.positions,
            logits_to_keep=length + 1,
            use_cache=False,
        ).logits
    return F.log_softmax(logits[:, :-1].float(), dim=-1)


def _kl_sum(logps: Tensor, other_logps: Tensor, kept: Tensor) -> float:
    """Sum over kept tokens of KL(p || q) = sum_v p (log p - log q), in nats."""
    kl = (logps.exp() * (logps - other_logps)).sum(-1)
    return float(kl[kept].sum(dtype=torch.float64))
