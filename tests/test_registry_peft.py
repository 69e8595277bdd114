"""What PEFT really writes can be published, and what is published PEFT really loads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

from negalign_train.database import open_database
from negalign_train.registry.adapters import Registry
from negalign_train.workspace import Workspace
from tests.registries import RECORD

CONFIG = LlamaConfig(
    vocab_size=32,
    hidden_size=16,
    intermediate_size=16,
    num_hidden_layers=1,
    num_attention_heads=2,
)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_peft_adapter_survives_publication(tmp_path: Path, dtype: torch.dtype) -> None:
    """The logits of the published adapter on a fresh copy of its base are those it had before."""
    torch.manual_seed(0)
    base = LlamaForCausalLM._from_config(CONFIG, dtype=dtype)
    base.save_pretrained(tmp_path / "base")
    targets = ["q_proj", "down_proj"]
    lora = LoraConfig(r=4, target_modules=targets, init_lora_weights=False, task_type="CAUSAL_LM")
    model = get_peft_model(base, lora, autocast_adapter_dtype=False).eval()
    model.peft_config["default"].base_model_name_or_path = "embedded"
    model.save_pretrained(tmp_path / "candidate", save_embedding_layers=False)

    workspace = Workspace(tmp_path / "workspace")
    registry = Registry(workspace, open_database(workspace.database_url))
    registry.publish(tmp_path / "candidate", replace(RECORD, base_name="embedded"))
    registry.promote(RECORD.adapter_id, by="test", reason="test")

    fresh = LlamaForCausalLM.from_pretrained(tmp_path / "base", dtype=dtype).eval()
    input_ids = torch.arange(8)[None]
    with torch.no_grad():
        plain = fresh(input_ids).logits
        loaded = PeftModel.from_pretrained(
            fresh, str(registry.path("champion")), autocast_adapter_dtype=False
        )
        found, expected = loaded(input_ids).logits, model(input_ids).logits
    assert torch.equal(found, expected)
    assert not torch.allclose(found, plain, atol=1e-3)
