"""Log-probabilities of completion tokens, with only completion positions going through the LM head.

TRL's fused head skips prompt and padding positions only where Triton runs; on a CPU it projects all
of them and adds metrics nobody reads (trl 1.16.0, trainer/utils.py:1642-1660). Here every device
projects completion positions alone.
"""

from __future__ import annotations

import functools
import types
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from trl.kernels import ChunkedLogProbFunction

from negalign_train.training.shards import is_shard

IGNORED = -100
"""Label of a position that is not scored, as everywhere in transformers."""

_VOCABULARY_CHUNK = 32768
"""Columns of the LM head per tile on a GPU, TRL's own figure."""


def _logit_transform(model: PreTrainedModel) -> tuple[float, float | None]:
    """What the architecture does to its logits: (scale, soft cap or None).

    Follows trl 1.16.0, trainer/utils.py:1577-1590.
    """
    config = model.config.get_text_config()
    softcap = getattr(config, "final_logit_softcapping", None)
    for name in ("logit_scale", "output_multiplier", "lm_head_multiplier"):
        if (scale := getattr(config, name, None)) is not None:
            return float(scale), softcap
    scaling = getattr(config, "logits_scaling", None)
    if scaling is None:
        return 1.0, softcap
    return float(scaling if config.model_type == "hyperclovax" else 1 / scaling), softcap


def _row_logps(
    head: nn.Linear, rows: Tensor, targets: Tensor, transform: tuple[float, float | None]
) -> Tensor:
    """log p(target) of each row, (rows,): ``rows`` is (rows, hidden), ``targets`` (rows,).

    On a GPU the logits are never held as a whole (TRL's chunked kernel); elsewhere they are: its
    tiles accumulate in float32 whatever the input. Under ZeRO-3 only a call of the head's module
    gathers its weight, which the kernel would read as empty.
    """
    scale, softcap = transform
    if rows.is_cuda and not is_shard(head.weight):
        chunked: Tensor = ChunkedLogProbFunction.apply(
            rows, head.weight, head.bias, targets, 1.0, _VOCABULARY_CHUNK, softcap, scale, ()
        )[0]
        return chunked
    logits = head(rows)
    if logits.dtype in (torch.bfloat16, torch.float16):
        logits = logits.float()
    if scale != 1.0:
        logits = logits * scale
    if softcap is not None:
        logits = softcap * torch.tanh(logits / softcap)
    target_logits: Tensor = logits.gather(1, targets.unsqueeze(1)).squeeze(1)
    normalisers: Tensor = logits.logsumexp(dim=1)
    return target_logits - normalisers


def add_completion_head(model: PreTrainedModel) -> None:
    """Lets ``model(..., completion_labels=labels)`` return token log-probabilities.

    ``labels`` is (batch, length), the input ids with ``IGNORED`` off the completion. The result is
    (batch, length - 1): position t holds log p(token t + 1 | tokens to t), zero where ignored. All
    other calls reach the original forward. Patching the forward, as TRL does, keeps the call one
    forward of the wrapped model, so that DDP and PEFT need not know.
    """
    original_forward = model.forward
    transform = _logit_transform(model)

    @functools.wraps(type(model).forward)
    def forward(
        self: PreTrainedModel, *args: Any, completion_labels: Tensor | None = None, **kwargs: Any
    ) -> Any:
        if completion_labels is None:
            return original_forward(*args, **kwargs)
        given = {name: value for name, value in kwargs.items() if value is not None}
        hidden = self.base_model(*args, **given, use_cache=False).last_hidden_state[:, :-1]
        targets = completion_labels[:, 1:]
        mask = targets != IGNORED
        head: nn.Linear = self.get_output_embeddings()  # type: ignore[no-untyped-call]
        logps = _row_logps(head, hidden[mask], targets[mask], transform)
        return logps.new_zeros(mask.shape).masked_scatter(mask, logps)

    model.forward = types.MethodType(forward, model)
