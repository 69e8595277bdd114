"""Reference log-probabilities on disk, by content: computed once per cycle.

The candidates of a cycle share their reference and most of their completions, and a run that goes
on after a crash needs the very numbers it started with. One file holds the log-probabilities under
one reference; it is whole or not there, and one that is damaged is computed anew.
"""

from __future__ import annotations

import hashlib
import json
import logging
import struct
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from peft import PeftModel
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from negalign_train.recipe.candidate import CandidateRun
from negalign_train.storage.fingerprint import file_sha256, fingerprint
from negalign_train.storage.workspace import replacing
from negalign_train.training.rows.batches import TokenSequence

_SCHEMA = "negalign.reference/1"
_DIGEST_BYTES = 32
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class ReferenceCache:
    """The file of one reference, and the fingerprint of all that decides its numbers."""

    path: Path
    identity: str


def reference_cache(
    run: CandidateRun, policy: PeftModel, adapter_dir: Path | None
) -> ReferenceCache | None:
    """The run's cache under the reference in ``adapter_dir`` (None: the bare base); None where the
    run keeps none.

    Its identity is the base's digest, the adapter's two files, and what else changes a
    log-probability: dtype, quantisation and kind of device.
    """
    if run.reference_cache_dir is None:
        return None
    files = ("adapter_config.json", "adapter_model.safetensors")
    quantisation = getattr(policy.get_base_model().config, "quantization_config", None)
    identity = fingerprint(
        {
            "schema": _SCHEMA,
            "base_digest": run.base_digest,
            "adapter": adapter_dir and [file_sha256(adapter_dir / name) for name in files],
            "dtype": run.dtype,
            "quantisation": quantisation and str(quantisation),
            "device": next(policy.parameters()).device.type,
        }
    )
    return ReferenceCache(run.reference_cache_dir / f"{identity[:16]}.safetensors", identity)


def sequence_digest(sequence: TokenSequence) -> bytes:
    """SHA-256 of prompt ids, completion ids and token weights, each after its length."""
    digest = hashlib.sha256()
    for typecode, values in (
        ("q", sequence.prompt_ids),
        ("q", sequence.completion_ids),
        ("d", sequence.token_weights),
    ):
        digest.update(struct.pack("<q", len(values)))
        digest.update(array(typecode, values).tobytes())
    return digest.digest()


def cached_logps(
    cache: ReferenceCache | None,
    sequences: Sequence[TokenSequence],
    compute: Callable[[Sequence[TokenSequence]], list[float]],
) -> list[float]:
    """Log-probability of each sequence, in order. ``compute`` scores those that the cache lacks,
    each once, and is not called where it lacks none.

    The first process reads and writes; all must call, and all get the same numbers.
    """
    if cache is None:
        return compute(sequences)
    keys = [sequence_digest(sequence) for sequence in sequences]
    known = _read_on_main(cache)
    missing = {
        key: sequence for key, sequence in zip(keys, sequences, strict=True) if key not in known
    }
    if missing:
        logps = compute(list(missing.values()))
        known |= dict(zip(missing, logps, strict=True))
        if PartialState().is_main_process:
            # What another run added meanwhile stays; both computed what both needed.
            write_cache(cache, read_cache(cache) | known)
        PartialState().wait_for_everyone()
    return [known[key] for key in keys]


def _read_on_main(cache: ReferenceCache) -> dict[bytes, float]:
    message: list[dict[bytes, float]] = [{}]
    if PartialState().is_main_process:
        message = [read_cache(cache)]
    broadcast_object_list(message, from_process=0)
    return message[0]


def read_cache(cache: ReferenceCache) -> dict[bytes, float]:
    """Log-probabilities by sequence digest; none, with a message, where the file is damaged."""
    if not cache.path.is_file():
        return {}
    try:
        with safe_open(cache.path, framework="pt") as stream:
            metadata: dict[str, str] = stream.metadata() or {}
            digests, logps = stream.get_tensor("digests"), stream.get_tensor("logps")
    except SafetensorError:
        return _damaged(cache, "it is cut or no safetensors file")
    if metadata != _metadata(cache, digests, logps):
        return _damaged(cache, "its content does not have the checksum it was written with")
    rows = digests.numpy().tobytes()
    keys = [rows[at : at + _DIGEST_BYTES] for at in range(0, len(rows), _DIGEST_BYTES)]
    return dict(zip(keys, logps.tolist(), strict=True))


def write_cache(cache: ReferenceCache, logps: Mapping[bytes, float]) -> None:
    """Writes the whole file under a temporary name, then renames it."""
    keys = sorted(logps)
    digests = torch.frombuffer(bytearray(b"".join(keys)), dtype=torch.uint8)
    digests = digests.reshape(len(keys), _DIGEST_BYTES)
    values = torch.tensor([logps[key] for key in keys], dtype=torch.float64)
    with replacing(cache.path) as temporary:
        save_file(
            {"digests": digests, "logps": values}, temporary, _metadata(cache, digests, values)
        )


def _metadata(cache: ReferenceCache, digests: torch.Tensor, logps: torch.Tensor) -> dict[str, str]:
    """Identity and a checksum of both tensors: safetensors itself notices no flipped bit."""
    content = hashlib.sha256(digests.numpy().tobytes() + logps.numpy().tobytes())
    facts = {"identity": cache.identity, "sha256": content.hexdigest()}
    return {"schema": _SCHEMA, "facts": json.dumps(facts, sort_keys=True)}


def _damaged(cache: ReferenceCache, why: str) -> dict[bytes, float]:
    _LOG.warning(
        "reference log-probabilities in %s cannot be used, %s; they are computed again",
        cache.path, why,
    )  # fmt: skip
    return {}
