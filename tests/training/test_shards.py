"""What DeepSpeed changes, as far as one process can see it; the rest is in _distributed."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from transformers.integrations.deepspeed import set_hf_deepspeed_config, unset_hf_deepspeed_config

from negalign_train.training.distributed.shards import (
    ExactInputs,
    base_is_sharded,
    even_share,
    loaded_whole,
    whole_adapter,
)
from negalign_train.training.policy.loading import POLICY_ADAPTER, load_policy
from tests.tiny import write_run, write_tiny_model


@pytest.mark.parametrize("processes", [1, 2, 3, 8])
@pytest.mark.parametrize("count", [0, 1, 5, 6])
def test_every_process_has_as_many_items_and_none_is_left_out(count, processes):
    items = list(range(count))
    shares = [even_share(items, process, processes) for process in range(processes)]
    assert len({len(share) for share in shares}) == 1
    assert {item for share in shares for item in share} == set(items)
    assert len(shares[0]) == -(-count // processes)


def test_a_batch_keeps_its_dtypes_on_the_way_to_the_device():
    trainer = ExactInputs()
    trainer.args = SimpleNamespace(device=torch.device("cpu"))  # type: ignore[attr-defined]
    reference = torch.tensor([-153.3], dtype=torch.float64)
    batch = {"ref_logps": reference, "label": torch.tensor([True]), "parts": [reference]}
    moved = trainer._prepare_input(batch)
    assert moved["ref_logps"].dtype == moved["parts"][0].dtype == torch.float64
    assert moved["ref_logps"].item() == -153.3
    assert moved["label"].dtype == torch.bool


def test_a_judge_is_loaded_whole_while_the_policy_lies_in_pieces():
    """ZeRO-3 is what transformers finds in a weak reference when it loads a model."""

    class Config:
        def is_zero3(self) -> bool:
            return True

    config = Config()
    set_hf_deepspeed_config(config)
    try:
        assert base_is_sharded()
        with loaded_whole():
            assert not base_is_sharded()
        assert base_is_sharded()
        with pytest.raises(KeyError), loaded_whole():
            raise KeyError
        assert base_is_sharded()
    finally:
        unset_hf_deepspeed_config()
    with loaded_whole():
        pass
    assert not base_is_sharded()


def test_an_adapter_in_half_precision_is_handed_over_in_float32(tmp_path):
    write_tiny_model(tmp_path / "base")
    policy = load_policy(write_run(tmp_path, tmp_path / "base"))
    for parameter in policy.parameters():
        parameter.data = parameter.data.to(torch.bfloat16)
    weights = whole_adapter(policy, POLICY_ADAPTER)
    assert len(weights) == 28
    assert {str(value.dtype) for value in weights.values()} == {"torch.float32"}
    assert all(f".{POLICY_ADAPTER}." in name for name in weights)
