"""How far a policy has moved: exact KL per token, and the log-probability of reference reports."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from peft import PeftModel
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from negalign_train.evaluation.metrics import Divergence
from negalign_train.generation.decode import left_padded, positions_of
from negalign_train.generation.packed_linear import packed_linears
from negalign_train.progress import Tick, no_tick
from negalign_train.recipe.estimate import HEAD_CELLS
from negalign_train.training.forward.head import logit_transform
from negalign_train.training.policy.loading import load_for_inference
from negalign_train.training.rows.tokenise import render_prompt
from negalign_train.training.rows.turns import end_of_turn
from negalign_train.vocabulary.errors import GateError
from negalign_train.vocabulary.records import Prompt

View = Callable[[], AbstractContextManager[None]]
"""Inside it the model computes as candidate, parent or base."""

_PARENT_ADAPTER = "parent"
_FORWARD_TOKENS = 2048
_FORWARD_TOKENS_ON_GPU = 32768
"""Tokens of one forward, padding counted."""


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
    """``ids``, ``mask``, ``positions`` (batch, tokens), padded left; ``scored`` (completion
    tokens,), the places in the flattened rows from which ``targets`` (completion tokens,) are
    predicted.
    """

    ids: Tensor
    mask: Tensor
    positions: Tensor
    scored: Tensor
    targets: Tensor


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


def divergence(
    model: PeftModel, sequences: Sequences, batch_size: int, tick: Tick = no_tick
) -> Divergence:
    """Exact KL(candidate || parent) and KL(candidate || base), a sum over the whole vocabulary.

    ``model`` comes from ``load_beside_parent`` and stands on the candidate before and after.
    Without a parent adapter the parent is the base, and the two are one number.

    Raises:
        GateError: there is no completion, or a divergence is not finite.
    """
    has_parent = _PARENT_ADAPTER in model.peft_config
    views: list[View] = [nullcontext, model.disable_adapter]
    if has_parent:
        views.append(lambda: _as_parent(model))
    sums = torch.zeros(len(views) - 1, dtype=torch.float64)
    with torch.inference_mode(), packed_linears(model):
        for batch in _batches(sequences, batch_size, model, tick):
            states = [_scored_states(model, batch, view) for view in views]
            for part in _tiles(len(batch.targets), model):
                own, *others = (
                    _logps(model, rows[part], view)
                    for rows, view in zip(states, views, strict=True)
                )
                sums += torch.tensor([_kl_sum(own, other) for other in others])
    means = (sums / _tokens_of(sequences)).tolist()
    if not (sums.isfinite().all()):
        raise GateError(
            "the KL divergence of the candidate is not finite; its adapter holds NaN or "
            "infinite weights: discard it and train again"
        )
    return Divergence(means[-1], means[0], sequences.num_tokens)


@contextmanager
def _as_parent(model: PeftModel) -> Iterator[None]:
    candidate = model.active_adapter
    model.set_adapter(_PARENT_ADAPTER, inference_mode=True)
    try:
        yield
    finally:
        model.set_adapter(candidate, inference_mode=True)


def reference_logps(
    model: PreTrainedModel | PeftModel,
    sequences: Sequences,
    batch_size: int,
    tick: Tick = no_tick,
) -> float:
    """Mean log-probability, in nats per token, that ``model`` gives to reference reports.

    Raises:
        GateError: there is no completion.
    """
    total = 0.0
    with torch.inference_mode(), packed_linears(model):
        for batch in _batches(sequences, batch_size, model, tick):
            states = _scored_states(model, batch, nullcontext)
            for part in _tiles(len(batch.targets), model):
                logps = _logps(model, states[part], nullcontext)
                taken = logps.gather(-1, batch.targets[part].unsqueeze(-1))
                total += float(taken.sum(dtype=torch.float64))
    return total / _tokens_of(sequences)


def _tokens_of(sequences: Sequences) -> int:
    if not sequences.num_tokens:
        raise GateError("there is no completion to measure; give at least one held-out case")
    return sequences.num_tokens


def _batches(
    sequences: Sequences, size: int, model: PreTrainedModel | PeftModel, tick: Tick
) -> Iterator[_Batch]:
    """Length-sorted batches of at most ``size`` rows and ``_FORWARD_TOKENS`` tokens, padding
    counted, but at least one row: the sums do not depend on the order or the batches.
    """
    pairs = sorted(
        zip(sequences.prompts, sequences.completions, strict=True),
        key=lambda pair: len(pair[0]) + len(pair[1]),
    )
    limit = _FORWARD_TOKENS if model.device.type == "cpu" else _FORWARD_TOKENS_ON_GPU
    first = 0
    tick(0, len(pairs))
    while first < len(pairs):
        last = first + 1
        while last < min(len(pairs), first + size) and (
            (last + 1 - first) * len(pairs[last][0] + pairs[last][1]) <= limit
        ):
            last += 1
        part = pairs[first:last]
        ids, mask = left_padded([prompt + done for prompt, done in part], sequences.pad_token_id)
        # A token is predicted at the position before it.
        ends = ids.shape[1] - 1
        scored = [
            row * ids.shape[1] + column
            for row, (_, done) in enumerate(part)
            for column in range(ends - len(done), ends)
        ]
        yield _Batch(
            ids.to(model.device),
            mask.to(model.device),
            positions_of(mask).to(model.device),
            torch.tensor(scored, device=model.device),
            torch.tensor([token for _, done in part for token in done], device=model.device),
        )
        first = last
        tick(first, len(pairs))


def _tiles(tokens: int, model: PreTrainedModel | PeftModel) -> Iterator[slice]:
    """Parts of the scored tokens whose log-probabilities keep to ``HEAD_CELLS``."""
    size = max(1, HEAD_CELLS // model.config.get_text_config().vocab_size)
    return (slice(first, first + size) for first in range(0, tokens, size))


def _scored_states(model: PreTrainedModel | PeftModel, batch: _Batch, view: View) -> Tensor:
    """Hidden states (scored tokens, hidden) from which the head predicts them."""
    with view():
        output = _base_of(model).base_model(
            input_ids=batch.ids,
            attention_mask=batch.mask,
            position_ids=batch.positions,
            use_cache=False,
        )
    hidden: Tensor = output.last_hidden_state
    return hidden.flatten(0, 1).index_select(0, batch.scored.to(hidden.device))


def _logps(model: PreTrainedModel | PeftModel, states: Tensor, view: View) -> Tensor:
    """Log-probabilities (tokens, vocabulary), float32."""
    base = _base_of(model)
    head = base.get_output_embeddings()  # type: ignore[no-untyped-call]
    with view():  # the head may carry an adapter, too
        logits = head(states).float()
    return F.log_softmax(logit_transform(base).apply(logits), dim=-1)


def _base_of(model: PreTrainedModel | PeftModel) -> PreTrainedModel:
    return model.get_base_model() if isinstance(model, PeftModel) else model


def _kl_sum(logps: Tensor, other_logps: Tensor) -> float:
    """Sum over tokens of KL(p || q) = sum_v p (log p - log q), in nats."""
    kl = (logps - other_logps).mul_(logps.exp()).sum(-1)
    return float(kl.sum(dtype=torch.float64))
