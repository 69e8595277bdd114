"""SHA-256 fingerprints of records, files and base models: what "the same" means here."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from negalign_train.vocabulary.errors import RegistryError

_CHUNK_BYTES = 1 << 20
_BASE_FILES = (
    "config.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "chat_template.jinja",
)


_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: the text that fingerprints are taken of."""
    return _CANONICAL.encode(value)


def fingerprint(value: Any) -> str:
    """SHA-256, as 64 hex digits, of a JSON-able value's canonical form."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def file_sha256(path: Path) -> str:
    """SHA-256, as 64 hex digits, of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_CHUNK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def base_digest(model_dir: Path) -> str:
    """What an adapter belongs to: config, tokenizer, chat template and weights of a base model.

    Hashes every byte of the safetensors files, so two bases of one shape differ.

    Raises:
        RegistryError: ``model_dir`` holds no config.json or no safetensors weights.
    """
    weights = sorted(model_dir.glob("*.safetensors"))
    if not (model_dir / "config.json").is_file() or not weights:
        raise RegistryError(
            f"{model_dir} is not a base model folder: it needs config.json and *.safetensors; "
            "give a folder written by save_pretrained, or download the model first"
        )
    names = [model_dir / name for name in _BASE_FILES if (model_dir / name).is_file()]
    return fingerprint({path.name: file_sha256(path) for path in [*names, *weights]})
