"""Which kinds of base models can be trained, by config.json alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from negalign_train.vocabulary.errors import RecipeError

_RECURRENT = (
    "mamba", "rwkv", "xlstm", "recurrent_gemma", "jamba", "bamba", "zamba", "nemotron_h",
    "falcon_h1", "granitemoehybrid", "kimi_linear", "olmo_hybrid", "bailing_hybrid", "qwen3_next",
    "lfm2",
)  # fmt: skip
"""What a ``model_type`` of a state-space, recurrent, convolutional or hybrid model holds."""
_NO_ATTENTION = frozenset(
    ["conv", "linear_attention", "mamba", "recurrent", "hybrid", "hybrid_sliding"]
)
"""Kinds of layers (``layer_types``) that keep a state instead of keys and values."""
RECURRENT = "recurrent, or partly so"
_DECODERS = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")
"""How the name of a class that writes text ends."""


def kind_against(config: Mapping[str, Any]) -> str | None:
    """The kind of a base that cannot be trained here, or None where config.json names none.

    Decoding drops finished rows from the cache, and completions share prefixes in the attention
    mask: both need attention throughout. Pairs are scored as one text: that needs a decoder alone.
    """
    model_type = str(config.get("model_type", ""))
    if config.get("is_encoder_decoder"):
        return "an encoder-decoder"
    text_part = config.get("text_config") or {}
    layers = [*(config.get("layer_types") or ()), *(text_part.get("layer_types") or ())]
    if any(name in model_type for name in _RECURRENT) or _NO_ATTENTION.intersection(layers):
        return RECURRENT
    architectures = config.get("architectures") or []
    if architectures and not any(str(name).endswith(_DECODERS) for name in architectures):
        return "no generator of text (an encoder only)"
    return None


def refuse_kind(config: Mapping[str, Any], name: str) -> None:
    """Refuses a base of a kind that cannot be trained; ``config`` is its config.json.

    Raises:
        RecipeError: in one line, with what is needed.
    """
    if kind := kind_against(config):
        raise RecipeError(kind_message(kind, str(config.get("model_type")), name))


def kind_message(kind: str, model_type: str, name: str) -> str:
    return (
        f"the base {name} ({model_type}) is {kind}; negalign trains decoder-only transformers, "
        "such as Llama, Qwen, Mistral or Gemma: set model.model_name_or_path to one"
    )
