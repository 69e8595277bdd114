"""Policy, reference and completion head: which weights compute what."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, Gemma2Config, GraniteConfig, PreTrainedConfig

from negalign_train.storage.workspace import write_json
from negalign_train.training.forward.head import add_completion_head
from negalign_train.training.forward.packing import model_inputs, pack
from negalign_train.training.policy.loading import load_for_inference, load_policy, load_tokenizer
from negalign_train.training.reference.logps import as_reference, reference_dir, sequence_logps
from negalign_train.training.rows.batches import TokenSequence, unweighted
from negalign_train.vocabulary.errors import NegalignError, TrainingError
from tests.tiny import perturb, write_parent, write_run, write_tiny_model

SEQUENCES = [
    TokenSequence([5, 6, 7], [8, 9, 1], [1.0, 5.0, 1.0]),
    TokenSequence([5, 6], [10, 11, 12, 1], [1.0, 1.0, 0.0, 1.0]),
]


def plain_logps(model: Any, sequence: TokenSequence) -> list[float]:
    """Token log-probabilities by the model's own logits, one sequence at a time."""
    ids = torch.tensor([sequence.prompt_ids + sequence.completion_ids])
    with torch.no_grad():
        logps = model(input_ids=ids).logits[0].log_softmax(dim=1)
    start = len(sequence.prompt_ids)
    return [logps[i - 1, ids[0, i]].item() for i in range(start, len(sequence))]


def expected_logps(model: Any) -> list[float]:
    return [
        sum(w * logp for w, logp in zip(each.token_weights, plain_logps(model, each), strict=True))
        for each in SEQUENCES
    ]


def tiny_config(model_type: str) -> PreTrainedConfig:
    sizes: dict[str, Any] = {
        "vocab_size": 32, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1,
        "num_attention_heads": 2, "num_key_value_heads": 1, "pad_token_id": 0, "eos_token_id": 1,
        "bos_token_id": None,
    }  # fmt: skip
    if model_type == "gemma2":
        return Gemma2Config(**sizes, head_dim=8, final_logit_softcapping=0.2)
    return GraniteConfig(**sizes, logits_scaling=8.0)


@pytest.mark.parametrize("model_type", ["gemma2", "granite"])
def test_the_completion_head_scales_and_caps_logits_as_the_architecture_does(model_type):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(tiny_config(model_type)).eval()
    expected = [plain_logps(model, each) for each in SEQUENCES]
    add_completion_head(model)
    batch = pack([unweighted(each) for each in SEQUENCES], 0, shared=False)
    with torch.no_grad():
        logps = model(**model_inputs(batch))[batch["target_index"]]
    for row, values, each in zip(logps, expected, SEQUENCES, strict=True):
        assert row[: len(each.completion_ids)].tolist() == pytest.approx(values, abs=1e-5)


def test_sequence_logps_are_token_weighted_sums_in_order(base, tmp_path):
    policy = load_policy(write_run(tmp_path, base))
    perturb(policy, seed=1)
    logps = sequence_logps(policy, SEQUENCES, batch_size=1, pad_token_id=0)
    assert logps == pytest.approx(expected_logps(policy), abs=1e-4)


def test_a_fresh_adapter_is_trainable_and_computes_as_the_base(base, tmp_path):
    policy = load_policy(write_run(tmp_path, base))
    trainable = [n for n, p in policy.named_parameters() if p.requires_grad]
    assert len(trainable) == 28
    assert all(".default." in name for name in trainable)
    bare = load_for_inference(base, None)
    logps = sequence_logps(policy, SEQUENCES, 2, 0)
    assert logps == pytest.approx(expected_logps(bare), abs=1e-4)


def test_the_policy_continues_the_parent_unless_told_to_start_fresh(base, parent, tmp_path):
    with_parent = load_for_inference(base, parent)
    assert isinstance(with_parent, PeftModel)
    run = write_run(tmp_path, base, parent_adapter_dir=parent)
    assert sequence_logps(load_policy(run), SEQUENCES, 2, 0) == pytest.approx(
        expected_logps(with_parent), abs=1e-4
    )
    fresh = write_run(tmp_path, base, parent_adapter_dir=parent, candidate={"start": "fresh"})
    assert sequence_logps(load_policy(fresh), SEQUENCES, 2, 0) == pytest.approx(
        expected_logps(load_for_inference(base, None)), abs=1e-4
    )


@pytest.mark.parametrize("reference", ["previous", "approved", "base"])
def test_each_reference_computes_with_its_own_adapter(base, parent, tmp_path, reference):
    approved = write_parent(tmp_path / "approved", base, seed=9)
    run = write_run(
        tmp_path, base, parent_adapter_dir=parent, approved_adapter_dir=approved,
        candidate={"reference": reference},
    )  # fmt: skip
    folder = {"previous": parent, "approved": approved, "base": None}[reference]
    assert reference_dir(run) == folder
    policy = load_policy(run)
    perturb(policy, seed=1)
    before = sequence_logps(policy, SEQUENCES, 2, 0)
    with as_reference(policy, run):
        actual = sequence_logps(policy, SEQUENCES, 2, 0)
    assert actual == pytest.approx(expected_logps(load_for_inference(base, folder)), abs=1e-4)
    assert sequence_logps(policy, SEQUENCES, 2, 0) == before
    assert list(policy.peft_config) == ["default"]
    assert sum(p.requires_grad for p in policy.parameters()) == 28


def test_reference_approved_needs_an_approved_adapter(base, tmp_path):
    run = write_run(tmp_path, base, candidate={"reference": "approved"})
    with pytest.raises(TrainingError, match="needs approved_adapter_dir"):
        reference_dir(run)


def test_another_base_is_refused_by_digest(base, tmp_path):
    write_tiny_model(tmp_path / "other", seed=5)
    run = write_run(tmp_path, base).model_copy(update={"model_dir": tmp_path / "other"})
    with pytest.raises(TrainingError, match="has base digest"):
        load_policy(run)


def test_a_parent_of_another_base_is_refused_by_its_manifest(base, parent, tmp_path):
    folder = Path(shutil.copytree(parent, tmp_path / "adapter"))
    write_json(folder / "manifest.json", {"adapter": {"base_digest": "f" * 64}})
    run = write_run(tmp_path, base, parent_adapter_dir=folder)
    with pytest.raises(TrainingError, match="was trained on base ffffffffffff"):
        load_policy(run)


def test_a_parent_of_another_shape_is_refused(base, parent, tmp_path):
    run = write_run(
        tmp_path, base, parent_adapter_dir=parent, candidate={"lora": {"r": 8, "lora_alpha": 8}}
    )
    with pytest.raises(TrainingError, match="has r=4, lora_alpha=8"):
        load_policy(run)


def test_a_parent_with_a_nan_is_refused(base, tmp_path):
    policy = load_policy(write_run(tmp_path / "made", base))
    with torch.no_grad():
        next(p for p in policy.parameters() if p.requires_grad).fill_(math.nan)
    policy.save_pretrained(tmp_path / "adapter")
    run = write_run(tmp_path, base, parent_adapter_dir=tmp_path / "adapter")
    with pytest.raises(TrainingError, match="is not finite; restore the file"):
        load_policy(run)


def test_a_parent_without_safetensors_is_refused(base, tmp_path):
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text("{}")
    run = write_run(tmp_path, base, parent_adapter_dir=tmp_path / "adapter")
    with pytest.raises(TrainingError, match=r"holds no adapter_model\.safetensors"):
        load_policy(run)


def test_target_modules_the_base_lacks_are_refused(base, tmp_path):
    lora = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "qkv"]}
    with pytest.raises(TrainingError, match=r"\['qkv'\] do not exist in LlamaForCausalLM"):
        load_policy(write_run(tmp_path, base, candidate={"lora": lora}))


def test_a_missing_base_folder_is_refused(tmp_path):
    with pytest.raises(NegalignError, match="does not exist"):
        load_for_inference(tmp_path / "nowhere", None)


def test_a_tokenizer_without_chat_template_is_refused(base, tmp_path):
    folder = Path(shutil.copytree(base, tmp_path / "base"))
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(TrainingError, match="needs a chat template"):
        load_tokenizer(folder)


def test_a_tokenizer_without_pad_token_pads_with_eos(base, tmp_path):
    folder = Path(shutil.copytree(base, tmp_path / "base"))
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text())
    del config["pad_token"]
    path.write_text(json.dumps(config))
    assert load_tokenizer(folder).pad_token == "<|eos|>"
