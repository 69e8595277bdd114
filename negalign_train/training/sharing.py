"""Whether a model can take prefix trees, found out before training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from peft import PeftModel
from transformers import PretrainedConfig

from negalign_train.training.batches import TokenSequence
from negalign_train.training.packing import completion_logps, model_inputs, pack

_MASKED_ATTENTION = ("sdpa", "eager")
"""Attention implementations that add a 4D mask to their scores."""

_WINDOWED = {"sliding_attention": "sliding_window", "chunked_attention": "attention_chunk_size"}
"""Kinds of layers that see a part of the context, and the config's name for how much."""

_LEAK_NATS = {torch.float64: 1e-9, torch.float32: 1e-5}
_ERROR_NATS = {torch.float64: 1e-6, torch.float32: 1e-3}
_HALF_LEAK_NATS, _HALF_ERROR_NATS = 1e-3, 0.25


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
    if reason := _stated(policy.config.get_text_config(), longest):
        return plain(reason)
    try:
        return _probe(policy, pad_token_id)
    except (TypeError, ValueError, RuntimeError) as error:
        return plain(f"its forward refuses a tree mask ({type(error).__name__})")


def _stated(config: PretrainedConfig, longest: int) -> str | None:
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
    ids = [(11 + 7 * index) % vocabulary for index in range(15)]
    prompt, second = ids[:4], TokenSequence(ids[:4], ids[8:12], [1.0] * 4)
    first = TokenSequence(prompt, ids[4:8], [1.0] * 4)
    other = TokenSequence(prompt, [ids[4], *ids[12:15]], [1.0] * 4)
    parameter = next(policy.parameters())
    dtype = policy.get_base_model().dtype
    logps = []
    was_training = policy.training
    policy.eval()
    with torch.no_grad():
        for sequences, shared in (([first, second], True), ([other, second], True), ([second], False)):
            batch = pack(sequences, pad_token_id, shared)
            batch = {name: value.to(parameter.device) for name, value in batch.items()}
            logps.append(completion_logps(policy(**model_inputs(batch)), batch)[-1].item())
    policy.train(was_training)
    beside_first, beside_other, alone = logps
    if abs(beside_first - beside_other) > _LEAK_NATS.get(dtype, _HALF_LEAK_NATS):
        return plain("a branch feels its neighbour: the model does not follow a tree mask")
    if abs(beside_first - alone) > _ERROR_NATS.get(dtype, _HALF_ERROR_NATS):
        return plain("a branch in a tree differs from the branch alone: positions are not followed")
    return Sharing()
