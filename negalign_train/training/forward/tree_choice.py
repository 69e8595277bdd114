"""Whether a model can take prefix trees, tested before training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from peft import PeftModel
from transformers import PretrainedConfig

from negalign_train.training.forward.packing import completion_logps, model_inputs, pack
from negalign_train.training.rows.batches import TokenSequence

_MASKED_ATTENTION = ("sdpa", "eager")
"""Attention implementations that add a 4D mask to their scores."""

_WINDOWED = {"sliding_attention": "sliding_window", "chunked_attention": "attention_chunk_size"}
"""Kinds of layers that see a part of the context, and the config's name for how much."""

_TOLERANCE = {torch.float64: 1e-7, torch.float32: 1e-5}
_HALF_TOLERANCE = 0.02
"""Of a log-probability, for what only the shape of the computation may change."""


@dataclass(frozen=True)
class Sharing:
    """How completions of one prompt are computed: as one prefix tree, or each on its own.

    ``reason`` says why not as trees, None where they are.
    """

    mode: Literal["tree", "plain"] = "tree"
    reason: str | None = None

    @property
    def trees(self) -> bool:
        return self.mode == "tree"


def plain(reason: str) -> Sharing:
    return Sharing("plain", reason)


def find_sharing(policy: PeftModel, longest: int, pad_token_id: int) -> Sharing:
    """Whether ``policy`` computes a tree as it computes its branches one by one.

    ``longest`` is the longest prompt with completion, tokens. The config tells of windows and
    attention kernels; what it does not tell (recurrent layers, a forward that ignores masks or
    positions) shows on a small tree.
    """
    if reason := _reason_in_config(policy.config.get_text_config(), longest):
        return plain(reason)
    try:
        return _probe(policy, pad_token_id)
    except (TypeError, ValueError, RuntimeError) as error:
        return plain(f"its forward refuses a tree mask ({type(error).__name__})")


def _reason_in_config(config: PretrainedConfig, longest: int) -> str | None:
    """What the config says against trees of ``longest`` tokens, or None."""
    attention = config._attn_implementation
    if attention not in _MASKED_ATTENTION:
        return f"attention {attention} takes no tree mask"
    kinds = set(getattr(config, "layer_types", None) or ())
    if other := sorted(kinds - {"full_attention", *_WINDOWED}):
        return f"layers of type {', '.join(other)} carry state along the row"
    window = getattr(config, "sliding_window", None)
    if not kinds and window is not None and getattr(config, "use_sliding_window", True):
        kinds = {"sliding_attention"}
    for kind in sorted(kinds & _WINDOWED.keys()):
        window = getattr(config, _WINDOWED[kind], None)
        if window is not None and window < longest:
            return f"{kind} of {window} tokens is shorter than the longest example ({longest})"
    return None


def _probe(policy: PeftModel, pad_token_id: int) -> Sharing:
    """Two branches in a row: the second must be what it is alone, and not feel the first."""
    vocabulary = policy.config.get_text_config().vocab_size
    ids = [vocabulary * (2 * index + 1) // 32 for index in range(16)]
    # Ids rise, so that the second branch comes last in the row and could see all of the first.
    prompt, second = ids[:4], TokenSequence(ids[:4], ids[12:], [1.0] * 4)
    first = TokenSequence(prompt, ids[4:8], [1.0] * 4)
    other = TokenSequence(prompt, [ids[4], *ids[9:12]], [1.0] * 4)
    parameter = next(policy.parameters())
    dtype = policy.get_base_model().dtype
    logps = []
    was_training = policy.training
    policy.eval()
    with torch.no_grad():
        for neighbours, shared in (([first], True), ([other], True), ([], False)):
            batch = pack([*neighbours, second], pad_token_id, shared)
            batch = {name: value.to(parameter.device) for name, value in batch.items()}
            logps.append(completion_logps(policy(**model_inputs(batch)), batch)[-1].item())
    policy.train(was_training)
    beside_first, beside_other, alone = logps
    tolerance = _TOLERANCE.get(dtype, _HALF_TOLERANCE) * abs(alone)
    # Where the mask holds, what it hides is added times 0: the neighbour changes no bit.
    if abs(beside_first - beside_other) > 1e-3 * tolerance:
        return plain("a branch feels its neighbour: the model does not follow a tree mask")
    if abs(beside_first - alone) > tolerance:
        return plain("a branch in a tree is not what it is alone: positions are not followed")
    return Sharing()
