"""LoRA layers as one node: PEFT's result and gradients, and its own forward where needed."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora.layer import Linear
from transformers import LlamaConfig, LlamaForCausalLM

from negalign_train.training.forward.lora_forward import add_updates_in_place
from negalign_train.training.policy.loading import load_policy
from tests.tiny import relative_difference, write_run

IDS = torch.tensor([[3, 4, 5, 6, 7], [8, 9, 10, 11, 12]])


def policy_of(**lora: Any) -> PeftModel:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=16, hidden_size=16, intermediate_size=24, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=1, pad_token_id=0, attention_bias=True,
    )  # fmt: skip
    options = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear"} | lora
    model: Any = LlamaForCausalLM(config).double()
    policy = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **options)).double()
    for name, parameter in policy.named_parameters():
        if "lora_B" in name or name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.3)
    return policy


def loss_and_gradients(policy: PeftModel) -> tuple[float, dict[str, torch.Tensor]]:
    policy.zero_grad()
    loss = policy(input_ids=IDS).logits.log_softmax(dim=-1)[..., 3].sum()
    loss.backward()
    actual = {name: p.grad for name, p in policy.named_parameters() if p.grad is not None}
    return loss.item(), {name: each.clone() for name, each in actual.items()}


@pytest.fixture
def peft_calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Filled at each call of PEFT's own forward."""
    calls: list[str] = []
    original = Linear.forward

    def counted(self: Linear, *args: Any, **kwargs: Any) -> Any:
        calls.append("peft")
        return original(self, *args, **kwargs)

    monkeypatch.setattr(Linear, "forward", counted)
    return calls


def test_loss_and_every_gradient_are_pefts(peft_calls):
    policy = policy_of()
    expected, gradients = loss_and_gradients(policy)
    assert len(peft_calls) == 14
    add_updates_in_place(policy)
    loss, actual = loss_and_gradients(policy)
    assert len(peft_calls) == 14  # none more
    assert loss == pytest.approx(expected, rel=1e-12)
    assert actual.keys() == gradients.keys()
    assert len(gradients) == 28
    for name, gradient in gradients.items():
        assert relative_difference(actual[name], gradient) < 1e-11, name


@pytest.mark.parametrize("options", [{"lora_dropout": 0.5}, {"use_dora": True}])
def test_what_is_more_than_plain_lora_is_left_to_peft(options, peft_calls):
    policy = policy_of(**options).eval()
    expected, _ = loss_and_gradients(policy)
    add_updates_in_place(policy)
    calls = len(peft_calls)
    assert loss_and_gradients(policy)[0] == pytest.approx(expected, rel=1e-12)
    assert len(peft_calls) == 2 * calls


def test_an_adapter_switched_off_merged_or_joined_by_another_is_pefts_affair(peft_calls):
    policy = policy_of()
    add_updates_in_place(policy)
    with torch.no_grad():
        alone = policy(input_ids=IDS).logits
        with policy.disable_adapter():
            bare = policy(input_ids=IDS).logits
        assert len(peft_calls) == 14
        assert (alone - bare).abs().max() > 1e-3
        policy.merge_adapter()
        assert torch.allclose(policy(input_ids=IDS).logits, alone, rtol=1e-9)
        policy.unmerge_adapter()
    assert len(peft_calls) == 28


def test_a_base_that_is_trained_is_pefts_affair(peft_calls):
    policy = policy_of()
    add_updates_in_place(policy)
    layer = policy.get_base_model().model.layers[1].mlp.down_proj
    layer.base_layer.weight.requires_grad_()
    _, gradients = loss_and_gradients(policy)
    assert len(peft_calls) == 1
    assert any(name.endswith("layers.1.mlp.down_proj.base_layer.weight") for name in gradients)


@pytest.mark.parametrize("name", ["base_layer", "lora_A.default", "lora_B.default"])
def test_a_layer_of_which_zero_3_holds_pieces_is_pefts_affair(name, peft_calls):
    """Its own modules' forwards gather them; the node would see what is left of them."""
    policy = policy_of()
    add_updates_in_place(policy)
    layer = policy.get_base_model().model.layers[1].mlp.down_proj
    layer.get_submodule(name).weight.ds_id = 1
    with torch.no_grad():
        policy(input_ids=IDS)
    assert len(peft_calls) == 1


def test_inputs_of_another_dtype_are_pefts_affair(peft_calls):
    policy = policy_of().float()
    for name, parameter in policy.named_parameters():
        if "lora_" not in name:
            parameter.data = parameter.data.bfloat16()
    add_updates_in_place(policy)
    with torch.no_grad():
        assert torch.isfinite(policy(input_ids=IDS).logits).all()
    assert len(peft_calls) == 14


def test_the_policy_of_a_run_has_it(base, tmp_path, peft_calls):
    policy = load_policy(write_run(tmp_path, base))
    with torch.no_grad():
        policy(input_ids=IDS)
    assert peft_calls == []
