"""Log-probabilities of scored tokens, with only the positions they are predicted from at the head.

TRL's fused head skips prompt and padding positions only where Triton runs; on a CPU it projects all
of them and adds metrics nobody reads, and everywhere it computes the logits a second time in the
backward (trl 1.16.0, trainer/utils.py:1642-1660, kernels/chunked_logprob.py).
"""

from __future__ import annotations

import functools
import types
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from trl.trainer.utils import maybe_gather_lm_head_ctx

from negalign_train.training.forward.last_layer import read_only, recomputes
from negalign_train.training.forward.tree_mask import tree_mask

_TILE_BYTES = {"cpu": 2**24}
_TILE_BYTES_ELSEWHERE = 2**28
"""Logits held at a time."""


@dataclass(frozen=True)
class LogitTransform:
    """What follows the LM head: ``softcap * tanh(scale * logits / softcap) / temperature``."""

    scale: float
    softcap: float | None
    temperature: float = 1.0

    def apply(self, logits: Tensor) -> Tensor:
        """Transformed logits, in place."""
        if self.softcap is None:
            factor = self.scale / self.temperature
            return logits if factor == 1.0 else logits.mul_(factor)
        return logits.mul_(self.scale / self.softcap).tanh_().mul_(self.softcap / self.temperature)

    def slope(self, transformed: Tensor) -> Tensor | float:
        """Derivative by the raw logits, from the transformed ones."""
        if self.softcap is None:
            return self.scale / self.temperature
        capped = transformed * (self.temperature / self.softcap)
        return (1 - capped.square()) * (self.scale / self.temperature)


def logit_transform(model: PreTrainedModel) -> LogitTransform:
    """What the architecture does to its logits (as trl 1.16.0, trainer/utils.py:1577-1590)."""
    config = model.config.get_text_config()
    softcap = getattr(config, "final_logit_softcapping", None)
    for name in ("logit_scale", "output_multiplier", "lm_head_multiplier"):
        if (scale := getattr(config, name, None)) is not None:
            return LogitTransform(float(scale), softcap)
    scaling = getattr(config, "logits_scaling", None)
    if scaling is None:
        return LogitTransform(1.0, softcap)
    scale = scaling if config.model_type == "hyperclovax" else 1 / scaling
    return LogitTransform(float(scale), softcap)


class _TargetLogProbs(torch.autograd.Function):
    """log p(target | row) under a frozen head, and each row's entropy (no gradient) if asked for.

    With p the softmax of row r and W the head, ``d log p(t) / d row = W_t - sum_v p_v W_v``: both
    terms are known in the forward, so no logits are kept and none are computed again; the head
    costs its two matrix products and the backward none. Logits exist one tile of rows at a time.
    """

    @staticmethod
    def forward(
        ctx: Any,
        rows: Tensor,
        head: tuple[Tensor, Tensor | None],
        target_rows: Tensor,
        targets: Tensor,
        transform: LogitTransform,
        with_entropies: bool,
    ) -> tuple[Tensor, Tensor | None]:
        weight, bias = head
        compute = torch.float32 if weight.dtype in (torch.bfloat16, torch.float16) else weight.dtype
        wanted = ctx.needs_input_grad[0]
        rows = rows.to(weight.dtype)
        normalisers = rows.new_empty(len(rows), dtype=compute)
        entropies = torch.empty_like(normalisers) if with_entropies else None
        expected = rows.new_empty(rows.shape, dtype=compute) if wanted else None
        limit = _TILE_BYTES.get(rows.device.type, _TILE_BYTES_ELSEWHERE)
        tile = max(1, limit // (len(weight) * normalisers.element_size()))
        for start in range(0, len(rows), tile):
            part = slice(start, start + tile)
            logits = transform.apply(nn.functional.linear(rows[part], weight, bias).to(compute))
            slope = transform.slope(logits) if wanted else None
            shift = logits.amax(dim=1, keepdim=True)
            logits = logits.sub_(shift)
            odds = logits.exp_() if entropies is None else logits.exp()
            total = odds.sum(dim=1, keepdim=True)
            normalisers[part] = (shift + total.log()).squeeze(1)
            if entropies is not None:
                mean = torch.linalg.vecdot(odds, logits) / total.squeeze(1)
                entropies[part] = total.log().squeeze(1) - mean
            if expected is not None and slope is not None:
                odds = odds.div_(total).mul_(slope).to(weight.dtype)
                expected[part] = (odds @ weight).to(compute)
        target_weight = weight[targets].to(compute)
        target_logits = torch.linalg.vecdot(rows[target_rows].to(compute), target_weight)
        if bias is not None:
            target_logits += bias[targets].to(compute)
        target_logits = transform.apply(target_logits)
        if expected is not None:
            slope = transform.slope(target_logits)
            target_weight *= slope.unsqueeze(1) if isinstance(slope, Tensor) else slope
            ctx.save_for_backward(target_weight, expected, target_rows)
        if entropies is not None:
            ctx.mark_non_differentiable(entropies)
        return target_logits - normalisers[target_rows], entropies

    @staticmethod
    def backward(ctx: Any, grad_logps: Tensor, _: Tensor | None) -> tuple[Tensor | None, ...]:
        target_weight, expected, target_rows = ctx.saved_tensors
        grad_logps = grad_logps.to(expected.dtype)
        per_row = expected.new_zeros(len(expected)).index_add_(0, target_rows, grad_logps)
        grad_rows = expected * -per_row.unsqueeze(1)
        grad_rows.index_add_(0, target_rows, target_weight * grad_logps.unsqueeze(1))
        return grad_rows, None, None, None, None, None


def target_logps(
    head: nn.Linear,
    rows: Tensor,
    target_rows: Tensor,
    targets: Tensor,
    transform: LogitTransform,
    with_entropies: bool,
) -> tuple[Tensor, Tensor | None]:
    """log p of each target, (targets,), and the entropy of each row, (rows,) or None, in nats.

    ``rows`` is (rows, hidden), the hidden states that are scored; ``target_rows`` and ``targets``
    are (targets,). The head gets no gradient: it is frozen in every policy of this package. Half
    precision is computed in float32 from the logits on.
    """
    with (
        torch.autocast(rows.device.type, enabled=False),
        maybe_gather_lm_head_ctx(head.weight, head.bias),
    ):
        weights = (head.weight.detach(), None if head.bias is None else head.bias.detach())
        result: tuple[Tensor, Tensor | None] = _TargetLogProbs.apply(  # type: ignore[no-untyped-call]
            rows, weights, target_rows, targets, transform, with_entropies
        )
    return result


def add_completion_head(model: PreTrainedModel) -> None:
    """Lets ``model(**packing.model_inputs(batch))`` return the targets' log-probabilities.

    The result is (targets,), position k holding log p(targets[k] | the tokens on the way to its
    row); with ``entropies=True`` the pair of it and the entropy of each target's row. Rows are
    prefix trees with ``subtree_ends``, else plain right-padded sequences. All other calls
    reach the original forward. Patching the forward, as TRL does, keeps the call one forward of the
    wrapped model, so that DDP, ZeRO, checkpointing and PEFT need not know.
    """
    original_forward = model.forward
    transform = logit_transform(model)
    read = read_only(model)

    @functools.wraps(type(model).forward)
    def forward(self: PreTrainedModel, *args: Any, **kwargs: Any) -> Any:
        if "targets" not in kwargs:
            return original_forward(*args, **kwargs)
        scored_rows, target_rows = kwargs.pop("scored_rows"), kwargs.pop("target_rows")
        positions = kwargs["input_ids"].numel()
        targets, subtree_ends = kwargs.pop("targets"), kwargs.pop("subtree_ends", None)
        temperature, entropies = kwargs.pop("temperature", 1.0), kwargs.pop("entropies", False)
        inputs = {name: value for name, value in kwargs.items() if value is not None}
        if subtree_ends is not None:
            inputs["attention_mask"] = tree_mask(subtree_ends, self.dtype)
        with nullcontext() if recomputes(self) else read.only(scored_rows, positions):
            hidden = self.base_model(*args, **inputs, use_cache=False).last_hidden_state
        rows = hidden.flatten(0, 1).index_select(0, scored_rows)
        head: nn.Linear = self.get_output_embeddings()  # type: ignore[no-untyped-call]
        after = LogitTransform(transform.scale, transform.softcap, temperature)
        logps, of_rows = target_logps(head, rows, target_rows, targets, after, entropies)
        return logps if of_rows is None else (logps, of_rows[target_rows])

    model.forward = types.MethodType(forward, model)
