"""What a base model's files say of it: its size, its context, the linear maps it really has."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from negalign_train.recipe.base_kind import refuse_kind
from negalign_train.recipe.estimate import Architecture, read_architecture
from negalign_train.vocabulary.errors import RecipeError

_LAYER = re.compile(r"\.\d+\.")
_NOT_ADAPTED = re.compile(r"embed|lm_head|\.experts\.|router|gate\.weight$|\.gate\.")
"""Embeddings and heads (the loss reads the head's own weights), and the parts of a mixture of
experts whose names are shared by many small maps."""
_ORDER = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True)
class BaseFiles:
    """``context`` is in tokens; ``linear_maps`` are the leaf names that a LoRA can sit on."""

    name: str
    folder: Path
    architecture: Architecture
    context: int
    linear_maps: tuple[str, ...]


def read_base_files(name: str, folder: Path) -> BaseFiles:
    """Reads config.json and the headers of the safetensors files; no weight is loaded.

    Raises:
        RecipeError: one of them is missing, or the model is not of Llama's shape.
    """
    config = _read_config(folder)
    refuse_kind(config, name)
    if "quantization_config" in config:
        raise RecipeError(
            f"{folder} holds weights that are quantised already; give the whole model, "
            "negalign trains on 4 bits by itself where it must (model.quantisation)"
        )
    context = config.get("max_position_embeddings")
    if not isinstance(context, int):
        raise RecipeError(
            f"{folder / 'config.json'} has no max_position_embeddings, so that the longest prompt "
            "is unknown; copy a recipe of recipes/ and set trainer.max_length by hand"
        )
    return BaseFiles(name, folder, read_architecture(config), context, _linear_maps(folder))


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RecipeError(
            f"{path} cannot be read ({type(error).__name__}); give a base model's folder, as "
            "save_pretrained writes it"
        ) from error
    if not isinstance(config, dict):
        raise RecipeError(f"{path} holds no object; give a base model's folder")
    return config


def _linear_maps(folder: Path) -> tuple[str, ...]:
    """Leaf names of the matrices that stand in numbered layers."""
    names: set[str] = set()
    for path in sorted(folder.glob("*.safetensors")):
        for key, entry in _header(path).items():
            matrix = key.endswith(".weight") and len(entry["shape"]) == 2
            if matrix and _LAYER.search(key) and not _NOT_ADAPTED.search(key):
                names.add(key.removesuffix(".weight").rsplit(".", 1)[-1])
    if not names:
        raise RecipeError(
            f"{folder} holds no safetensors file with a model's layers; convert the model with "
            "save_pretrained(..., safe_serialization=True)"
        )
    known = [name for name in _ORDER if name in names]
    return (*known, *sorted(names - set(known)))


def _header(path: Path) -> dict[str, Any]:
    """The JSON header of a safetensors file: eight bytes of length, then the text."""
    try:
        with path.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            header = json.loads(stream.read(length))
    except (OSError, ValueError, OverflowError, MemoryError) as error:
        raise RecipeError(
            f"{path} is no safetensors file ({type(error).__name__}); download the model again"
        ) from error
    assert isinstance(header, dict)
    return header
