"""The last layer computes what is read, and nothing of the result changes for it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers
from transformers import AutoModelForCausalLM

from negalign_train.training.forward.head import add_completion_head
from negalign_train.training.forward.last_layer import ReadRows
from negalign_train.training.forward.packing import completion_logps, model_inputs, pack
from negalign_train.training.rows.batches import TokenSequence, suffix_of
from tests.tiny import relative_difference

PROMPT = list(range(3, 23))
SMALL: dict[str, Any] = {
    "vocab_size": 64, "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2,
    "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16, "pad_token_id": 0,
    "initializer_range": 0.1,
}  # fmt: skip
ARCHITECTURES = [
    "LlamaConfig", "MistralConfig", "Qwen2Config", "Qwen3Config", "Gemma2Config",
    "Gemma3TextConfig", "Phi3Config", "Olmo2Config", "CohereConfig", "GPT2Config", "MixtralConfig",
]  # fmt: skip


def model_of(name: str) -> Any:
    torch.manual_seed(0)
    config = getattr(transformers, name)(**SMALL)
    model = AutoModelForCausalLM.from_config(config).eval()
    # Experts' grouped products have no float64 kernel.
    return model if name == "MixtralConfig" else model.double()


def batch_of(shared: bool) -> dict[str, torch.Tensor]:
    """Two texts that differ in their last three tokens; only those are scored."""
    sides = [[30, 31, 32, 33, 34, 1], [30, 31, 32, 43, 44, 1]]
    return pack([suffix_of(TokenSequence(PROMPT, ids, [1.0] * 6), 3) for ids in sides], 0, shared)


def logps_and_gradients(model: Any, shared: bool) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    batch = batch_of(shared)
    model.get_output_embeddings().weight.requires_grad_(False)
    model.zero_grad()
    logps = completion_logps(model(**model_inputs(batch)), batch)
    (logps[0] - 2 * logps[1]).backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return logps.detach(), {name: each.clone() for name, each in gradients.items()}


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_what_is_read_and_every_gradient_are_those_of_all_positions(name, shared, monkeypatch):
    model = model_of(name)
    add_completion_head(model)
    logps, gradients = logps_and_gradients(model, shared)
    monkeypatch.setattr("negalign_train.training.forward.last_layer._MOST", 0.0)  # all of them
    expected, all_gradients = logps_and_gradients(model, shared)
    # Some norms and soft caps compute in float32 whatever the model's dtype.
    assert logps.tolist() == pytest.approx(expected.tolist(), rel=1e-5)
    assert gradients.keys() == all_gradients.keys()
    largest = max(float(each.abs().max()) for each in all_gradients.values())
    for key, gradient in all_gradients.items():
        assert float((gradients[key] - gradient).abs().max()) < 1e-4 * largest, key


def rows_seen(model: Any, name: str) -> list[int]:
    """How many positions each later call of the module gets."""
    seen: list[int] = []
    module = model.get_submodule(name)
    module.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[:-1].numel()))
    return seen


@pytest.mark.parametrize("part", ["mlp.down_proj", "mlp.gate_proj", "self_attn.k_proj"])
def test_the_last_layer_sees_the_scored_rows_and_only_its_keys_and_values_all(part):
    model = model_of("LlamaConfig")
    add_completion_head(model)
    last, first = rows_seen(model, f"model.layers.1.{part}"), rows_seen(model, "model.layers.0.mlp")
    batch = batch_of(shared=True)
    positions, scored = batch["input_ids"].numel(), len(batch["scored_rows"])
    assert scored < positions / 2
    model(**model_inputs(batch))
    model(input_ids=batch["input_ids"])  # any other call computes everything,
    model.base_model(input_ids=batch["input_ids"])  # and one that passes the head by
    few = positions if part == "self_attn.k_proj" else scored
    assert last == [few, positions, positions]
    assert first == [positions] * 3


def test_where_most_rows_are_scored_all_are_computed():
    read = ReadRows()
    with read.only(torch.arange(4), positions=10):
        assert read.rows is not None
    with read.only(torch.arange(5), positions=10):
        assert read.rows is None


def test_recomputing_layers_in_the_backward_gives_the_same_gradients():
    model = model_of("LlamaConfig").train()
    add_completion_head(model)
    _, expected = logps_and_gradients(model, shared=True)
    # transformers from 5.20 on warns at the name "gradient_checkpointing".
    word = "activation" if hasattr(model, "activation_checkpointing_enable") else "gradient"
    enable = getattr(model, f"{word}_checkpointing_enable")
    enable(**{f"{word}_checkpointing_kwargs": {"use_reentrant": False}})
    seen = rows_seen(model, "model.layers.1.mlp.down_proj")
    _, actual = logps_and_gradients(model, shared=True)
    assert seen == [batch_of(shared=True)["input_ids"].numel()] * 2
    assert actual.keys() == expected.keys()
    for name, gradient in expected.items():
        assert relative_difference(actual[name], gradient) < 1e-12, name
