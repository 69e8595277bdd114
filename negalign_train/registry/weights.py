"""What may be published: one plain LoRA adapter in safetensors, every number finite. No torch."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
from safetensors import SafetensorError, deserialize

from negalign_train.vocabulary.errors import RegistryError

CONFIG_NAME = "adapter_config.json"
WEIGHTS_NAME = "adapter_model.safetensors"

_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt")
_LORA_TENSOR = re.compile(r"\.lora_(A|B|embedding_A|embedding_B)(\.weight)?$")
# Safetensors dtype: (numpy view of its bits, mask of the exponent). A number is Inf or NaN exactly
# if its exponent bits are all 1 (IEEE 754; bfloat16 has float32's 8 exponent bits).
_EXPONENTS: dict[str, tuple[type[np.unsignedinteger[Any]], int]] = {
    "F64": (np.uint64, 0x7FF0_0000_0000_0000),
    "F32": (np.uint32, 0x7F80_0000),
    "BF16": (np.uint16, 0x7F80),
    "F16": (np.uint16, 0x7C00),
}


@dataclass(frozen=True)
class AdapterShape:
    """What a LoRA adapter looks like: for the model card."""

    r: int
    lora_alpha: float
    target_modules: tuple[str, ...]
    num_parameters: int


def check_adapter_weights(folder: Path, base_name: str) -> AdapterShape:
    """Checks a folder written by PEFT's ``save_pretrained`` before it is published.

    Raises:
        RegistryError: a file is missing, a pickle or a ``ref/`` folder lies there, the adapter is
            no LoRA, names another base or holds a path, or a tensor is damaged, foreign, NaN or
            Inf.
    """
    _check_files(folder)
    config = _read_config(folder / CONFIG_NAME)
    if config.get("peft_type") != "LORA":
        raise RegistryError(
            f"{folder / CONFIG_NAME}: peft_type is {config.get('peft_type')!r}, only LORA can be "
            "published; train with a LoraConfig"
        )
    named = config.get("base_model_name_or_path")
    if named != base_name:
        raise RegistryError(
            f"{folder / CONFIG_NAME}: base_model_name_or_path is {named!r}, the record says "
            f"{base_name!r}; write the served name into the config before publishing"
        )
    _refuse_paths(folder / CONFIG_NAME, config)
    targets = config.get("target_modules")
    if not isinstance(config.get("r"), int) or not targets:
        raise RegistryError(f"{folder / CONFIG_NAME}: needs r and target_modules; save it again")
    return AdapterShape(
        r=config["r"],
        lora_alpha=config.get("lora_alpha", config["r"]),
        target_modules=tuple(sorted([targets] if isinstance(targets, str) else targets)),
        num_parameters=_count_finite(folder / WEIGHTS_NAME),
    )


def _check_files(folder: Path) -> None:
    for name in (CONFIG_NAME, WEIGHTS_NAME):
        if not (folder / name).is_file():
            raise RegistryError(
                f"{folder} lacks {name}; save the trained adapter there with save_pretrained"
            )
    if (folder / "ref").exists():
        raise RegistryError(
            f"{folder / 'ref'} holds the reference adapter, which must not be published; "
            "save with selected_adapters=['default']"
        )
    for path in sorted(folder.iterdir()):
        if path.suffix in _PICKLES:
            raise RegistryError(
                f"{path} may be a pickle, which can run code when loaded; save the adapter alone, "
                "as safetensors"
            )


def _read_config(path: Path) -> Mapping[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RegistryError(f"{path} is not JSON; save the adapter again") from error
    if not isinstance(config, dict):
        raise RegistryError(f"{path} is not a JSON object; save the adapter again")
    return config


def _refuse_paths(path: Path, config: Mapping[str, Any]) -> None:
    """A path of this machine means nothing where the adapter is loaded, and tells who made it."""
    for key, value in config.items():
        if isinstance(value, str) and (
            PurePosixPath(value).is_absolute() or PureWindowsPath(value).is_absolute()
        ):
            raise RegistryError(
                f"{path}: {key} is a path on this machine, which no published adapter may hold; "
                "write the base model's name"
            )


def _count_finite(path: Path) -> int:
    """Number of parameters in a safetensors file, all of them finite."""
    try:
        tensors = deserialize(path.read_bytes())  # type: ignore[no-untyped-call]
    except SafetensorError as error:
        raise RegistryError(f"{path} is damaged ({error}); save the adapter again") from error
    if not tensors:
        raise RegistryError(f"{path} holds no tensors; save the trained adapter again")
    count = 0
    for name, tensor in tensors:
        if not _LORA_TENSOR.search(name):
            raise RegistryError(
                f"{path}: tensor {name} is no LoRA factor; publish a plain LoRA adapter, without "
                "modules_to_save, DoRA or a second adapter"
            )
        if tensor["dtype"] not in _EXPONENTS:
            raise RegistryError(
                f"{path}: tensor {name} has dtype {tensor['dtype']}; save it in one of "
                f"{', '.join(_EXPONENTS)}"
            )
        view, mask = _EXPONENTS[tensor["dtype"]]
        bits = np.frombuffer(tensor["data"], dtype=view)
        if ((bits & view(mask)) == mask).any():
            raise RegistryError(
                f"{path}: tensor {name} holds NaN or Inf; the training diverged, lower the "
                "learning rate and train again"
            )
        count += math.prod(tensor["shape"])
    return count
