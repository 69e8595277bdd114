"""What a recipe will need, from the model's config.json alone: arithmetic, and no measurement.

For decoder-only models of Llama's shape (Llama, Qwen2, Mistral): attention with grouped keys and
values, and a gated MLP. Memory in bytes, GB being 1e9 of them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from negalign_train.recipe.base_kind import refuse_kind
from negalign_train.recipe.candidate import LoraSettings, Quantisation
from negalign_train.vocabulary.errors import RecipeError

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
_NF4_BYTES = 0.5 + 0.127 / 8
"""Four bits, and 0.127 for doubly quantised scales (QLoRA, arXiv 2305.14314, Sec. 3)."""
_TRAINED_BYTES = 16
"""Weight, gradient and Adam's two moments of an adapter parameter, float32."""
HEAD_CELLS = 2**22
"""Tokens times vocabulary of which the gate holds log-probabilities: 17 MB a float32 tensor, of
which about six are alive at once. A single token stands alone, however large the vocabulary.
"""
HEAD_TILE_BYTES = 3 * 4096 * 32768 * 4
"""Three float32 tiles of TRL 1.16's chunked head (trl/kernels/chunked_logprob.py)."""


@dataclass(frozen=True)
class Architecture:
    """The numbers of a config.json that decide its size."""

    num_layers: int
    hidden: int
    intermediate: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    vocabulary: int
    tied: bool

    def shapes(self) -> dict[str, tuple[int, int]]:
        """(inputs, outputs) of each linear map of a layer."""
        queries, keys = self.num_heads * self.head_dim, self.num_kv_heads * self.head_dim
        return {
            "q_proj": (self.hidden, queries),
            "k_proj": (self.hidden, keys),
            "v_proj": (self.hidden, keys),
            "o_proj": (queries, self.hidden),
            "gate_proj": (self.hidden, self.intermediate),
            "up_proj": (self.hidden, self.intermediate),
            "down_proj": (self.intermediate, self.hidden),
        }

    @property
    def trunk(self) -> int:
        """N: parameters of all layers' linear maps."""
        return self.num_layers * sum(rows * columns for rows, columns in self.shapes().values())

    @property
    def head(self) -> int:
        """H: parameters of the head."""
        return self.vocabulary * self.hidden

    @property
    def parameters(self) -> int:
        """All but the norms and biases, a thousandth of the rest."""
        return self.trunk + self.head * (1 if self.tied else 2)


def read_architecture(config: Mapping[str, Any]) -> Architecture:
    """The architecture that a config.json describes, its text part where it is a composite's.

    Raises:
        RecipeError: the model is no decoder, or not of Llama's shape.
    """
    refuse_kind(config, str(config.get("_name_or_path") or "model"))
    config = {**config, **(config.get("text_config") or {})}
    try:
        heads = int(config["num_attention_heads"])
        return Architecture(
            num_layers=int(config["num_hidden_layers"]),
            hidden=int(config["hidden_size"]),
            intermediate=int(config["intermediate_size"]),
            num_heads=heads,
            num_kv_heads=int(config.get("num_key_value_heads") or heads),
            head_dim=int(config.get("head_dim") or config["hidden_size"] // heads),
            vocabulary=int(config["vocab_size"]),
            tied=bool(config.get("tie_word_embeddings", False)),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise RecipeError(
            f"config.json lacks or garbles {error}; the estimate knows models of Llama's shape only"
        ) from error


def architecture_of(model_dir: Path) -> Architecture:
    """The architecture of a local model folder.

    Raises:
        RecipeError: there is no config.json, or it is of another shape.
    """
    path = model_dir / "config.json"
    if not path.is_file():
        raise RecipeError(f"{model_dir} holds no config.json; give a base model folder")
    return read_architecture(json.loads(path.read_text(encoding="utf-8")))


@dataclass(frozen=True)
class Training:
    """How it is trained. ``shards`` is the number of GPUs that share the base (ZeRO-3), else 1;
    ``tokens`` those of one micro-batch on one GPU, padding included.
    """

    dtype: str
    quantisation: Quantisation
    lora: LoraSettings
    tokens: int
    shards: int = 1
    checkpointing: bool = False


@dataclass(frozen=True)
class Memory:
    """Bytes on one GPU while it trains, by what holds them."""

    base: float
    gathered: float
    adapter: float
    activations: float
    head: float

    @property
    def total(self) -> float:
        return self.base + self.gathered + self.adapter + self.activations + self.head


def lora_parameters(architecture: Architecture, lora: LoraSettings) -> int:
    """``r (inputs + outputs)`` summed over the adapted maps of all layers."""
    shapes = architecture.shapes()
    sides = sum(sum(shapes[name]) for name in lora.target_modules if name in shapes)
    return architecture.num_layers * lora.r * sides


def _layer_bytes_per_token(architecture: Architecture, width: int) -> float:
    """What a layer's backward keeps of a token: about eight vectors of the hidden size (norms,
    queries, attention and its output), keys and values, and four of the MLP's inner size.
    """
    keys = architecture.num_kv_heads * architecture.head_dim
    return width * (8 * architecture.hidden + 2 * keys + 4 * architecture.intermediate)


def memory(architecture: Architecture, training: Training) -> Memory:
    """Memory of one training process, without the allocator's waste (add a tenth)."""
    width = BYTES[training.dtype]
    embeddings = width * (architecture.parameters - architecture.trunk)
    four_bits = training.quantisation == "nf4"
    trunk = architecture.trunk * (_NF4_BYTES if four_bits else width)
    layer = _layer_bytes_per_token(architecture, width)
    kept = width * architecture.hidden * architecture.num_layers + layer
    per_token = kept if training.checkpointing else layer * architecture.num_layers
    # ZeRO-3 holds the layer at work and the next, and the embedding or head, whole.
    gathered = 2 * trunk / architecture.num_layers + width * architecture.head
    return Memory(
        base=(trunk + embeddings) / training.shards,
        gathered=gathered if training.shards > 1 else 0.0,
        adapter=float(_TRAINED_BYTES * lora_parameters(architecture, training.lora)),
        activations=training.tokens * per_token,
        head=float(HEAD_TILE_BYTES),
    )


def gate_memory(
    architecture: Architecture, dtype: str, lora: LoraSettings, rows: int, tokens: int
) -> float:
    """Bytes at the gate: one base, never quantised, the candidate's and the parent's adapter, the
    keys and values of ``rows`` reports of ``tokens`` (prompt included), six tensors of logits and,
    in float32, the packed copy of the linear maps with which a CPU writes reports.
    """
    width = BYTES[dtype]
    packed = width * (architecture.trunk + architecture.head) if dtype == "float32" else 0
    cache = rows * tokens * 2 * architecture.num_layers
    cache *= architecture.num_kv_heads * architecture.head_dim * width
    adapters = 2 * 4 * lora_parameters(architecture, lora)
    logits = 6 * 4 * HEAD_CELLS
    return float(width * architecture.parameters + packed + adapters + cache + logits)


def pair_flops(
    architecture: Architecture,
    prompt: int,
    completion: int,
    epochs: float,
    checkpointing: bool = False,
) -> float:
    """Floating-point operations for one preference pair over a training, and its reference once.

    LoRA: forward 2N and backward 2N a token, the frozen weights having no gradient, and 2N again
    where checkpointing computes the forward twice; head 6H a completion token, its logits computed
    twice. Both sides whole, as without prefix sharing: sharing saves up to half of it.
    """
    tokens, scored = 2 * (prompt + completion), 2 * completion
    step = (
        6 if checkpointing else 4
    ) * architecture.trunk * tokens + 6 * architecture.head * scored
    reference = 2 * architecture.trunk * tokens + 2 * architecture.head * scored
    return epochs * step + reference
