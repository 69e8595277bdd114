"""GRPO on prefix trees: TRL's loss, gradients and entropies from one row per group."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from negalign_train.training.policy.loading import load_policy, load_tokenizer
from negalign_train.training.settings.arguments import trainer_config
from negalign_train.training.trainers.grpo import severity_grpo_trainer
from tests.tiny import perturb
from tests.training import test_grpo as test_training_grpo
from tests.training.test_tree_trainers import ALONE, TREES, assert_equal, of_batch

pytestmark = pytest.mark.usefixtures("exact")


def test_a_group_of_rollouts_gives_trls_loss_and_gradients_from_one_row(
    base, parent, tmp_path, monkeypatch
):
    run = test_training_grpo.make_run(
        tmp_path, base, parent_adapter_dir=parent, dtype="float64", trainer={"beta": 0.1}
    )
    policy = load_policy(run).double()
    trainer = severity_grpo_trainer(
        run, policy, trainer_config(run), test_training_grpo.PROMPTS, load_tokenizer(base)
    )
    perturb(policy, seed=11)
    trainer.current_gradient_accumulation_steps = 1
    inputs = rollouts()
    rows: list[int] = []
    forward = policy.forward

    def recording(*args: Any, **inputs: Any) -> Any:
        rows.append(len(inputs["input_ids"]))
        return forward(*args, **inputs)

    monkeypatch.setattr(policy, "forward", recording)
    results = {}
    for name, sharing in (("trl", ALONE), ("tree", TREES)):
        trainer.sharing = sharing
        results[name] = of_batch(trainer, dict(inputs))
    assert_equal(results["tree"], results["trl"])
    assert rows == [8, 2]


def rollouts() -> dict[str, Any]:
    """Two groups of four completions as GRPO holds them: left-padded prompts, ragged completions,
    two of them equal.
    """
    generator = torch.Generator().manual_seed(2)
    prompts = [[0, 0, 5, 6, 7]] * 4 + [[5, 8, 9, 10, 11]] * 4
    completions = torch.randint(5, 60, (8, 6), generator=generator)
    completions[1] = completions[0]
    completions[2, :3] = completions[0, :3]
    lengths = torch.tensor([6, 6, 4, 1, 5, 6, 2, 3])
    mask = (torch.arange(6) < lengths[:, None]).long()
    advantages = torch.linspace(-1.0, 1.0, 8, dtype=torch.float64)
    return {
        "prompt_ids": torch.tensor(prompts),
        "prompt_mask": (torch.tensor(prompts) != 0).long(),
        "completion_ids": completions * mask,
        "completion_mask": mask,
        "advantages": advantages,
        "num_items_in_batch": mask.sum(),
        "ref_per_token_logps": -4 * torch.rand(8, 6, generator=generator).double(),
        "old_per_token_logps": -4 * torch.rand(8, 6, generator=generator).double(),
    }


def test_entropies_of_rollouts_are_those_of_the_logits(base, tmp_path):
    run = test_training_grpo.make_run(tmp_path, base, dtype="float64")
    policy = load_policy(run).double()
    trainer = severity_grpo_trainer(
        run, policy, trainer_config(run), test_training_grpo.PROMPTS, load_tokenizer(base)
    )
    inputs = rollouts()
    ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], dim=1)
    mask = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], dim=1)
    with torch.no_grad():
        _, entropies, _ = trainer._get_per_token_logps_and_entropies(
            policy, ids, mask, 6, batch_size=3, compute_entropy=True
        )
        positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
        logits = policy(input_ids=ids, attention_mask=mask, position_ids=positions).logits
    logps = logits[:, 4:-1].log_softmax(dim=2)
    expected = -(logps.exp() * logps).sum(dim=2) * inputs["completion_mask"]
    assert entropies is not None
    assert torch.allclose(entropies, expected, rtol=1e-9)
