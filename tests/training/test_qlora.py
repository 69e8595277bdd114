"""QLoRA: adapters trained on a 4-bit base, on a CPU."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from peft import PeftModel
from safetensors.torch import load_file

from negalign_train.recipe.candidate import CandidateRun
from negalign_train.training.policy.loading import adapter_kept, load_for_inference, load_policy
from negalign_train.training.reference.logps import sequence_logps
from negalign_train.training.rows.batches import TokenSequence
from negalign_train.training.run import main
from tests.tiny import write_run

pytest.importorskip("bitsandbytes", reason="bitsandbytes is an optional extra (qlora)")

SEQUENCE = TokenSequence([5, 6, 7], [8, 9, 1], [1.0, 1.0, 1.0])


def train(folder: Path, base: Path, **overrides: Any) -> CandidateRun:
    run = write_run(folder, base, quantisation="nf4", **overrides)
    config = folder / "candidate.yaml"
    config.write_text(yaml.safe_dump(run.model_dump(mode="json", by_alias=True)))
    assert main(["--config", str(config)]) == 0
    return run


def test_linear_layers_are_held_in_four_bits_and_the_head_is_not(base, tmp_path):
    policy = load_policy(write_run(tmp_path, base, quantisation="nf4"))
    whole = load_policy(write_run(tmp_path, base))
    weight = policy.get_base_model().model.layers[0].mlp.up_proj.base_layer.weight
    assert (str(weight.dtype), weight.quant_type, weight.numel()) == ("torch.uint8", "nf4", 4096)
    assert policy.get_output_embeddings().weight.dtype == torch.float32
    actual, exact = (sequence_logps(each, [SEQUENCE], 1, 0)[0] for each in (policy, whole))
    assert 0 < abs(actual - exact) < 0.1  # rounded, and not another model


@pytest.mark.parametrize("method", ["dpo", "kto"])
def test_an_adapter_trained_on_four_bits_also_improves_the_whole_base(
    base, parent, tmp_path, method
):
    run = train(tmp_path, base, parent_adapter_dir=parent, candidate={"method": method})
    metrics = json.loads((run.output_dir / "metrics.json").read_text())
    # The policy starts where its reference is: TRL has not rounded the parent.
    assert metrics["loss_start"] == pytest.approx({"dpo": 0.6931, "kto": 0.5}[method], abs=1e-3)
    assert metrics["loss_end"] < 0.6 * metrics["loss_start"]
    tensors = load_file(run.output_dir / "adapter" / "adapter_model.safetensors")
    assert {str(tensor.dtype) for tensor in tensors.values()} == {"torch.float32"}
    assert len(tensors) == 28

    model = load_for_inference(base, run.output_dir / "adapter")
    assert isinstance(model, PeftModel)
    again = write_run(
        tmp_path / "again", base, parent_adapter_dir=run.output_dir / "adapter",
        candidate={"reference": "base", "method": method},
    )  # fmt: skip
    config = tmp_path / "again.yaml"
    config.write_text(yaml.safe_dump(again.model_dump(mode="json", by_alias=True)))
    assert main(["--config", str(config)]) == 0
    first = json.loads((again.output_dir / "log.jsonl").read_text().splitlines()[0])
    # On the whole base, against the bare base: it already prefers what it was taught.
    assert first["rewards/chosen"] > first["rewards/rejected"] + 0.2


def test_every_layer_has_a_gradient_after_the_reference_was_scored(base, parent, tmp_path):
    policy = load_policy(write_run(tmp_path, base, quantisation="nf4", parent_adapter_dir=parent))
    policy.eval()
    with torch.no_grad():
        policy(input_ids=torch.tensor([[5, 6, 7]]))
    policy.train()
    policy(input_ids=torch.tensor([[5, 6, 7]])).logits.logsumexp(-1).sum().backward()
    gradients = [p.grad for p in policy.parameters() if p.requires_grad]
    assert all(gradient is not None and bool(gradient.any()) for gradient in gradients)


def test_an_adapter_that_a_trainer_rounds_is_put_back(base, parent, tmp_path):
    policy = load_policy(write_run(tmp_path, base, parent_adapter_dir=parent))
    before = {n: p.detach().clone() for n, p in policy.named_parameters() if p.requires_grad}
    with adapter_kept(policy):
        for name in before:
            policy.get_parameter(name).data = before[name].to(torch.bfloat16)
    assert len(before) == 28
    assert all(policy.get_parameter(name).equal(value) for name, value in before.items())
