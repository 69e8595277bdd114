"""What may be published, checked without torch on files written here."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from negalign_train.registry.weights import AdapterShape, check_adapter_weights
from negalign_train.vocabulary.errors import RegistryError

CONFIG = {
    "peft_type": "LORA",
    "base_model_name_or_path": "embedded",
    "r": 2,
    "lora_alpha": 4,
    "target_modules": ["v_proj", "q_proj"],
}
LORA_A = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
LORA_B = "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight"


def candidate(
    folder: Path, tensors: Mapping[str, np.ndarray[Any, Any]] | None = None, **config: Any
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps(CONFIG | config))
    if tensors is None:
        tensors = {LORA_A: np.ones((2, 3), np.float32), LORA_B: np.zeros((3, 2), np.float16)}
    save_file(dict(tensors), folder / "adapter_model.safetensors")
    return folder


def raw_tensor(folder: Path, dtype: str, bits: list[int]) -> Path:
    """A folder whose one LoRA factor has exactly these 16-bit patterns."""
    candidate(folder)
    data = struct.pack(f"<{len(bits)}H", *bits)
    tensor = {"dtype": dtype, "shape": [1, len(bits)], "data_offsets": [0, len(data)]}
    header = json.dumps({LORA_A: tensor}).encode()
    weights = struct.pack("<Q", len(header)) + header + data
    (folder / "adapter_model.safetensors").write_bytes(weights)
    return folder


def test_a_plain_lora_adapter_is_described(tmp_path: Path) -> None:
    assert check_adapter_weights(candidate(tmp_path), "embedded") == AdapterShape(
        r=2, lora_alpha=4, target_modules=("q_proj", "v_proj"), num_parameters=12
    )


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_non_finite_tensor_is_refused_by_name(tmp_path: Path, dtype: Any, value: float) -> None:
    factor = np.ones((2, 3), dtype)
    factor[1, 2] = value
    with pytest.raises(RegistryError, match=r"q_proj\.lora_A\.weight holds NaN or Inf"):
        check_adapter_weights(candidate(tmp_path, {LORA_A: factor}), "embedded")


def test_bfloat16_is_checked_by_its_bits(tmp_path: Path) -> None:
    """0x3F80 is 1, 0xFF7F the lowest finite number, 0x7F80 Inf, 0xFFC0 NaN."""
    assert check_adapter_weights(raw_tensor(tmp_path / "a", "BF16", [0x3F80, 0xFF7F]), "embedded")
    for bits in (0x7F80, 0xFFC0, 0x7F81):
        with pytest.raises(RegistryError, match="NaN or Inf"):
            check_adapter_weights(raw_tensor(tmp_path / "b", "BF16", [0x3F80, bits]), "embedded")


def test_the_largest_finite_numbers_pass(tmp_path: Path) -> None:
    factor = np.array([[np.finfo(np.float32).max, np.finfo(np.float32).min]], np.float32)
    check_adapter_weights(candidate(tmp_path, {LORA_A: factor}), "embedded")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"peft_type": "IA3"}, "only LORA can be published"),
        ({"base_model_name_or_path": "/home/me/model"}, "the record says 'embedded'"),
        ({"megatron_core": "/home/me/model"}, "megatron_core is a path on this machine"),
        ({"revision": "C:/models"}, "revision is a path on this machine"),
        ({"target_modules": []}, "needs r and target_modules"),
    ],
)
def test_a_config_that_does_not_fit_is_refused(
    tmp_path: Path, config: dict[str, Any], message: str
) -> None:
    with pytest.raises(RegistryError, match=message):
        check_adapter_weights(candidate(tmp_path, **config), "embedded")


@pytest.mark.parametrize("name", ["training_args.bin", "adapter_model.pt", "state.pkl"])
def test_a_pickle_beside_the_adapter_is_refused(tmp_path: Path, name: str) -> None:
    (candidate(tmp_path) / name).write_bytes(b"")
    with pytest.raises(RegistryError, match=rf"{name} may be a pickle"):
        check_adapter_weights(tmp_path, "embedded")


def test_the_reference_adapter_is_refused(tmp_path: Path) -> None:
    candidate(candidate(tmp_path) / "ref")
    with pytest.raises(RegistryError, match="reference adapter, which must not be published"):
        check_adapter_weights(tmp_path, "embedded")


@pytest.mark.parametrize(
    "name",
    [
        "base_model.model.lm_head.weight",
        "base_model.model.model.layers.0.self_attn.q_proj.lora_magnitude_vector",
        "base_model.model.model.layers.0.self_attn.q_proj.lora_A.ref.weight",
    ],
)
def test_a_tensor_that_is_no_lora_factor_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(RegistryError, match="is no LoRA factor"):
        check_adapter_weights(candidate(tmp_path, {name: np.ones((2, 2), np.float32)}), "embedded")


def test_integer_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="dtype I8"):
        check_adapter_weights(candidate(tmp_path, {LORA_A: np.ones((2, 2), np.int8)}), "embedded")


def test_missing_empty_and_cut_weights_are_refused(tmp_path: Path) -> None:
    weights = candidate(tmp_path) / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(RegistryError, match="is damaged"):
        check_adapter_weights(tmp_path, "embedded")
    save_file({}, weights)
    with pytest.raises(RegistryError, match="holds no tensors"):
        check_adapter_weights(tmp_path, "embedded")
    weights.unlink()
    with pytest.raises(RegistryError, match=r"lacks adapter_model\.safetensors"):
        check_adapter_weights(tmp_path, "embedded")


def test_a_config_that_is_no_json_object_is_refused(tmp_path: Path) -> None:
    for content in ("{", "[]"):
        (candidate(tmp_path) / "adapter_config.json").write_text(content)
        with pytest.raises(RegistryError, match="save the adapter again"):
            check_adapter_weights(tmp_path, "embedded")
